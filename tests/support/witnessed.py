"""A ledger whose checkpoints its real members sign: certificates, ends of epochs, and proofs."""

from collections.abc import Sequence
from functools import cache

from typing_extensions import override

from dpin.base.codec import encode
from dpin.base.ids import Digest
from dpin.base.units import MicroTokens
from dpin.ledger import fees
from dpin.ledger.certificates import Certificate, chosen, sign_checkpoint
from dpin.ledger.checkpoint import Checkpoint, CommitteeRecord
from dpin.ledger.committee import committee_of
from dpin.ledger.execute import Applied
from dpin.ledger.mempool import identify
from dpin.ledger.order import OrderedBlock
from dpin.ledger.params import DEVELOPMENT, Params
from dpin.ledger.prover import History, Prover
from dpin.ledger.transactions import Operation, Transfer, sign
from tests.support.ledgers import Ledger


class Witnessed(Ledger):
    """Every checkpoint is signed by all members of its epoch, with the keys of the people."""

    def __init__(self, *people: str, params: Params = DEVELOPMENT) -> None:
        super().__init__(*people, params=params)
        self.committees: dict[int, CommitteeRecord] = dict(self.state.committees)
        self.closings: dict[int, Certificate] = {}
        self.certificates: list[Certificate] = []

    @override
    def signed(self, name: str, operation: Operation) -> bytes:
        """A transaction that is valid in the present epoch."""
        self._sequences[name] += 1
        terms = fees.terms(self.state, self.genesis.params, [operation])
        key, sequence = self.keys[name], self._sequences[name]
        return encode(sign(key, self.executor.chain, sequence, operation, terms))

    @override
    def commit(
        self, *transactions: bytes, after_ms: int = 1, blocks: Sequence[OrderedBlock] = ()
    ) -> Applied:
        """One commit; with the checkpoint, if it makes one, signed at once."""
        applied = super().commit(*transactions, after_ms=after_ms, blocks=blocks)
        if applied.checkpoint is not None:
            self._certify(applied.checkpoint)
        if applied.closing is not None:
            self.committees[applied.closing.epoch] = applied.closing
        return applied

    def _certify(self, checkpoint: Checkpoint) -> None:
        log, record = self.executor.receipts, self.committees[checkpoint.epoch]
        size, root = len(log), log.root
        keys = {key.node_id: key for key in self.keys.values()}
        signed = {
            author: sign_checkpoint(keys[member.signer], self.executor.chain, size, root)
            for author, member in enumerate(record.members)
        }
        signatures = chosen(signed, committee_of(record))
        certificate = Certificate(checkpoint, size, root, log.prove(size - 1), signatures)
        self.certificates.append(certificate)
        if checkpoint.epoch != self.state.epoch:
            self.closings[checkpoint.epoch] = certificate

    def close(self, epochs: int = 1) -> None:
        """Let time pass up to the end of the epoch, so many times."""
        target, step = self.state.epoch + epochs, self.genesis.params.epoch_ms // 25
        while self.state.epoch < target:
            self.commit(after_ms=step)

    def checkpoint(self) -> None:
        """Let commits pass up to the next checkpoint."""
        made = len(self.certificates)
        while len(self.certificates) == made:
            self.commit()

    @property
    def prover(self) -> Prover:
        """With the newest certificate."""
        history = History(self.committees, self.closings)
        return Prover(self.genesis, self.executor, history, self.certificates[-1])


def aged(epochs: int = 3) -> tuple[Witnessed, Digest]:
    """A ledger some epochs old, and its last transaction, which a certificate covers."""
    ledger = Witnessed("ann", "bob", "cat", "dan")
    ledger.close(epochs)
    sent = ledger.signed("ann", Transfer(ledger.id("bob"), MicroTokens(5), b""))
    ledger.commit(sent)
    ledger.checkpoint()
    return ledger, identify(sent)[0]


@cache
def sample() -> tuple[Witnessed, Digest]:
    """Such a ledger, to be looked at only."""
    return aged()

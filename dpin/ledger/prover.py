"""Proofs for strangers: a receipt or a part of the state, up to signatures that they can check.

What is handed out needs no node to be checked: see dpin/light and docs/protocol/proofs.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import astuple

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.errors import NotFound, TooEarly
from dpin.base.ids import Digest
from dpin.ledger.book import Part
from dpin.ledger.certificates import Certificate
from dpin.ledger.checkpoint import CommitteeRecord
from dpin.ledger.execute import Executor
from dpin.ledger.genesis import Genesis
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.roots import VALUE_TAG, key_of, snapshot
from dpin.ledger.statetree import holds
from dpin.light import facts, proofs
from dpin.light.client import Trust

WAIT: Final = "wait for it: --wait 30"


@dataclass(frozen=True, slots=True)
class Known:
    """What whoever asks trusts already: the committee of an epoch, and a size of the log."""

    epoch: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """How epochs have ended, as far back as the node knows: both by epoch."""

    committees: Mapping[int, CommitteeRecord]
    closings: Mapping[int, Certificate]


@dataclass(frozen=True, slots=True)
class Prover:
    """One node's means of proof at one moment: all of it under one certificate."""

    genesis: Genesis
    executor: Executor
    history: History
    certificate: Certificate

    def proof(self, known: Known, subject: bytes | None, part: Part | None) -> proofs.Proof:
        """All that is asked for, for whoever trusts that.

        Raises NotFound for what is not in the ledger, or is no longer known here; TooEarly for what
        no certificate covers yet.
        """
        size, log = self.certificate.size, self.executor.receipts
        return proofs.Proof(
            chain=self.executor.chain,
            genesis=b"" if known.epoch else encode(self.genesis),
            crossings=tuple(map(self._crossing, range(known.epoch, self.epoch))),
            certificate=self._signed(self.certificate),
            continuation=continuation(log, known.size, size) if 0 < known.size <= size else None,
            receipt=None if subject is None else placed_receipt(log, subject, size),
            part=None if part is None else self._placed_part(part),
        )

    @property
    def epoch(self) -> int:
        """Of the certificate."""
        return self.certificate.checkpoint.epoch

    def trust(self, now_ms: int) -> Trust:
        """What whoever trusts this node may trust now."""
        certificate = self.certificate
        return Trust(
            chain=self.executor.chain,
            committee=self._committee(self.epoch),
            seen_ms=now_ms,
            size=certificate.size,
            root=certificate.root,
            sequence=certificate.checkpoint.sequence,
            time_ms=certificate.checkpoint.time_ms,
        )

    def _crossing(self, epoch: int) -> proofs.Crossing:
        closing = self.history.closings.get(epoch)
        if closing is None:
            raise NotFound(
                f"this node does not know how epoch {epoch} ended",
                fix="ask a node that has been there since, or trust a newer checkpoint",
            )
        return proofs.Crossing(self._signed(closing), self._committee(epoch + 1))

    def _signed(self, certificate: Certificate) -> proofs.SignedCheckpoint:
        committee = self._committee(certificate.checkpoint.epoch)
        return proofs.signed(self.executor.chain, certificate_fact(certificate), committee)

    def _committee(self, epoch: int) -> facts.Committee:
        record = self.history.committees.get(epoch)
        if record is None:
            raise NotFound(f"this node does not know who validated epoch {epoch}")
        return committee_fact(record)

    def _placed_part(self, part: Part) -> proofs.PlacedPart:
        """The state has moved on since the checkpoint; what stands still can be shown."""
        height = self.certificate.checkpoint.height
        if self.executor.rooted is None or self.executor.rooted[0] != height:
            raise TooEarly("a checkpoint has just been made and is not signed yet", fix=WAIT)
        proof, fields = self.executor.prove(part), snapshot(self.executor.state, part)
        value = encode(fields) if fields else None
        _, entry = holds(proof, key_of(part), self.certificate.checkpoint.state_root)
        if entry != (None if value is None else digest(VALUE_TAG, value)):
            raise TooEarly("it has changed since the newest checkpoint", fix=WAIT)
        kind, identity, number = part
        fact = facts.Part(int(kind), identity, number, value)
        return proofs.PlacedPart(fact, proof.bucket, proof.path)


def placed_receipt(log: ReceiptLog, subject: bytes, size: int) -> proofs.PlacedReceipt:
    """The newest receipt of a transaction or unit in the log of that size; see `Prover.proof`."""
    places = log.of(Digest(subject))
    if not places:
        raise NotFound(
            f"there is no receipt of {subject.hex()}",
            fix="name a transaction by its 64 hexadecimal digits; dpin receipts JOB shows subjects",
        )
    index = places[-1]
    if index >= size:
        raise TooEarly("it is committed, and no checkpoint that covers it is signed yet", fix=WAIT)
    receipt = facts.Receipt(*astuple(log.receipt(index)))
    return proofs.PlacedReceipt(receipt, index, log.prove(index, size))


def continuation(log: ReceiptLog, old: int, size: int) -> proofs.Continuation:
    """Shows that the log of one size begins as it was at another."""
    return proofs.Continuation(old, log.tree.consistency(old, size))


def certificate_fact(certificate: Certificate) -> facts.Certificate:
    """A certificate in a verifier's words."""
    return facts.Certificate(
        facts.Checkpoint(*astuple(certificate.checkpoint)),
        certificate.size,
        certificate.root,
        certificate.path,
        tuple((one.author, one.signature) for one in certificate.signatures),
    )


def committee_fact(record: CommitteeRecord) -> facts.Committee:
    """A committee in a verifier's words."""
    members = tuple(facts.Member(*astuple(member)) for member in record.members)
    return facts.Committee(record.epoch, record.seed, record.base, members)

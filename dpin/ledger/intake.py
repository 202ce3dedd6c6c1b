"""Where transactions come in: to the own mempool, or to those who take them for this node."""

from collections.abc import Sequence

from dpin.base.errors import PeerFault
from dpin.base.ids import Digest
from dpin.base.units import Instant
from dpin.ledger.engine import Engine
from dpin.ledger.mempool import BYTES_MAX, MALFORMED, TRANSACTIONS_MAX
from dpin.ledger.offload import CheckSignatures, SignaturesChecked
from dpin.ledger.outbox import Outbox

Refusals = list[tuple[Digest, str]]  # ids, and why


class Intake:
    """Takes what is submitted; `queued_only` says that the last one changed nothing else."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        self.queued_only = False
        self._engine = engine
        self._outbox = outbox

    def submit(self, transaction: bytes, now: Instant) -> Refusals:
        """From this node."""
        if self._engine.serves:
            return self._put(transaction)
        return self._pass_on(transaction, now)

    def receive(self, transaction: bytes) -> None:
        """From a peer; raises PeerFault for what is no transaction."""
        if not self._engine.serves:
            return
        if any(reason == MALFORMED for _, reason in self._put(transaction)):
            raise PeerFault("submitted what is no transaction")

    def _put(self, transaction: bytes) -> Refusals:
        mempool, offload = self._engine.mempool, self._engine.offload
        held = offload is not None and offload.hold(transaction, mempool.queued)
        refusals = [] if held else _refusals(mempool.add(transaction))
        self.queued_only = mempool.queued > 1
        return refusals

    def _pass_on(self, transaction: bytes, now: Instant) -> Refusals:
        given_up = self._outbox.add(transaction, now)
        return [(given_up.id, given_up.reason)] if given_up is not None else []

    def settle(self, now: Instant) -> Refusals:
        """Who makes no blocks passes on what waits; who makes them keeps what it passed on."""
        mempool = self._engine.mempool
        if self._engine.serves:
            kept = self._outbox.drain()
            return [refused for one in kept for refused in _refusals(mempool.add(one))]
        waiting = mempool.take(TRANSACTIONS_MAX, BYTES_MAX)
        mempool.committed(waiting)
        return [refused for one in waiting for refused in self._pass_on(one, now)]

    def checked(self, answer: SignaturesChecked, now: Instant) -> Refusals:
        """Signatures were checked elsewhere; what was held for them goes the way of all others."""
        offload, refusals = self._engine.offload, Refusals()
        for transaction in offload.checked(answer) if offload is not None else ():
            if self._engine.serves:
                refusals += _refusals(self._engine.mempool.add(transaction))
            else:
                refusals += self._pass_on(transaction, now)
        return refusals

    def batches(self) -> Sequence[CheckSignatures]:
        """Signatures that may be checked elsewhere now."""
        return self._engine.offload.batches() if self._engine.offload is not None else ()


def _refusals(taken: tuple[Digest, str | None]) -> Refusals:
    identity, reason = taken
    return [(identity, reason)] if reason is not None else []

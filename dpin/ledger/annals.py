"""What a node knows of epochs that are over: how each ended, and the blocks of the newest few."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.machine import Preserve, Roll, Store
from dpin.ledger.blocks import Vertex
from dpin.ledger.certificates import Certificate
from dpin.ledger.closings import Closings
from dpin.ledger.committee import Committee, committee_of
from dpin.ledger.core import Core, Opening
from dpin.ledger.handover import Handover
from dpin.ledger.keeper import Keeper
from dpin.ledger.watch import Watch

OWN: Final = 1
FOREIGN: Final = 2
END: Final = 3
CLOSED: Final = 4
STATE: Final = 5
OPENING: Final = 6
REMEMBERED: Final = 7
PAST_MAX: Final = 2  # epochs whose blocks are still there for who catches up


Written = Store | Preserve | Roll  # what is kept of a ledger


class Record(Wire, frozen=True):
    """One record of the log: an accepted block, our own (OWN) or another's (FOREIGN), or an END.

    An END holds the handover to the next epoch, whose blocks follow. A log that began anew begins
    with the newest handovers (CLOSED), what the owner of the log remembers besides (REMEMBERED),
    the state (STATE) and how its epoch opens (OPENING).
    """

    kind: int
    body: bytes


class Annals:
    """Handovers and blocks, by epoch. Without a keeper of states no block is ever forgotten."""

    def __init__(self, core: Core, keeper: Keeper | None) -> None:
        self.closings = Closings(() if keeper is None else keeper.closings)
        self.cores: dict[int, Core] = {}
        self.newest: Certificate | None = None  # of the epochs that ended
        self._keeper = keeper
        self._first = core.rules.committee
        self.open(core)

    def open(self, core: Core) -> None:
        """An epoch begins; blocks of those long over are forgotten."""
        self.cores[core.epoch], self._epoch = core, core.epoch
        if self._keeper is not None:  # Whoever is further behind joins by a state.
            for epoch in sorted(self.cores)[: -1 - PAST_MAX]:
                del self.cores[epoch]

    @property
    def watches(self) -> dict[int, Watch]:
        """By epoch: who signed twice in those whose blocks are here."""
        return {epoch: core.watch for epoch, core in self.cores.items()}

    def over(self, vertex: Vertex) -> bool:
        """Whether a block is of an epoch that has ended; raises PeerFault, see `Core.late`."""
        epoch = vertex.block.header.epoch
        if epoch < self._epoch and epoch in self.cores:
            self.cores[epoch].late(vertex)
        return epoch < self._epoch

    def close(self, handover: Handover) -> None:
        """An epoch has ended."""
        self.closings.add(handover)
        self.newest = handover.certificate

    def committee(self, epoch: int) -> Committee | None:
        """Who validates an epoch that this node has been through, or is in."""
        if epoch == 0:
            return self._first
        before = self.closings.get(epoch - 1)
        return None if before is None else committee_of(before.record)

    def closing(self, sequence: int) -> Certificate | None:
        """The certificate of that checkpoint, if one of the newest epochs ended with it."""
        for epoch in list(self.closings)[-PAST_MAX:]:
            found = self.closings[epoch].certificate
            if found.checkpoint.sequence == sequence:
                return found
        return None

    def begun(self, opening: Opening, *, joined: bool = False) -> Sequence[Written]:
        """What the log must hold before the first block of an epoch.

        Without a keeper there is no state to begin with: the log goes on. An archive keeps what was
        written before, and how that ended. Who has `joined` has a log that ends otherwise.
        """
        epoch = opening.committee.epoch
        end = Store(encode(Record(END, self.closings.encoded(epoch - 1))), sync=True)
        if self._keeper is None:
            return [end]
        records = _beginning(self.closings.carried(epoch), self._keeper, encode(opening))
        preserve = Preserve(self.closings.take_new())
        if joined:
            return [preserve, Roll(records, at_once=True)]
        return [end, preserve, Roll(records)]


def _beginning(closings: list[bytes], keeper: Keeper, opening: bytes) -> Iterator[bytes]:
    """What a log begins with, as of now; the state is written down as it is asked for."""
    kept = ((REMEMBERED, keeper.memories()), (STATE, keeper.pieces()))
    return _records(((CLOSED, closings), *kept, (OPENING, [opening])))


def _records(parts: Iterable[tuple[int, Iterable[bytes]]]) -> Iterator[bytes]:
    for kind, bodies in parts:
        for body in bodies:
            yield encode(Record(kind, body))

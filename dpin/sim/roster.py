"""Who made the blocks in a message: author indices have other meanings in other epochs."""

from collections.abc import Callable, Mapping, Sequence

from dpin.base.ids import Digest, NodeId
from dpin.sim.checks import Slot
from dpin.sim.ledgers import LedgerNode, blocks_of
from dpin.sim.station import Station


class Roster:
    """The committees of a network, as far as some node that runs knows them."""

    def __init__(
        self, founders: Sequence[NodeId], stations: Callable[[], Mapping[NodeId, Station]]
    ) -> None:
        self._stations = stations
        self._committees: dict[int, Sequence[NodeId]] = {0: founders}

    def read(self, payload: bytes) -> list[tuple[NodeId, Slot, Digest]]:
        """Author, round and name of every block in a message of a replica; of junk, none."""
        return [
            (members[author], slot, name)
            for author, slot, name in blocks_of(payload)
            if author < len(members := self._members(slot[0]))
        ]

    def _members(self, epoch: int) -> Sequence[NodeId]:
        """By author index, of an epoch that some node has been in; else nobody."""
        if epoch not in self._committees:
            bodies = [station.body for station in self._stations().values()]
            machines = [body.machine for body in bodies if body is not None]
            replicas = [one.replica for one in machines if isinstance(one, LedgerNode)]
            known = [replica.engine.annals.committee(epoch) for replica in replicas]
            found = [committee.members for committee in known if committee is not None]
            self._committees.update((epoch, members) for members in found[:1])
        return self._committees.get(epoch, ())

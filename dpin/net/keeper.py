"""What a node keeps of the directory for others, and whom it knows to be nearer to a key.

One shelf, one set of checks and one set of budgets, whether peers come with dpin's own messages
(`directory.py`) or with those of Kad-DHT (`kad.py`).
"""

from collections.abc import Callable, Sequence
from heapq import nsmallest

from dpin.base.ids import ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.budget import DIRECTORY_PUTS, DIRECTORY_SEEKS, Budget
from dpin.net.records import Key, Record, node_key, place, read_record
from dpin.net.shelf import Shelf


class Keeper:
    """The records of one node; `addresses_of` says where a peer answers, best first."""

    def __init__(
        self, me: NodeId, chain: ChainId, addresses_of: Callable[[NodeId], Sequence[str]]
    ) -> None:
        self.me = me
        self.shelf = Shelf(me)
        self.places: dict[NodeId, int] = {}  # of connected peers
        self._chain = chain
        self._addresses_of = addresses_of
        self._puts = Budget(DIRECTORY_PUTS)
        self._seeks = Budget(DIRECTORY_SEEKS)

    def may_put(self, peer: NodeId, records: int, now: Instant) -> bool:
        """Charge a peer for records that it brings; False where that is beyond its budget."""
        return self._puts.charge(peer, records, now)

    def may_seek(self, peer: NodeId, now: Instant) -> bool:
        """Charge a peer for a question; False where that is beyond its budget."""
        return self._seeks.charge(peer, 1, now)

    def read(self, raw: bytes, now: Instant) -> Record:
        """Check a record; raises PeerFault for what its signer cannot have said."""
        return read_record(self._chain, raw, now)

    def nearest(self, key: Key, most: int) -> list[NodeId]:
        """The connected peers that are nearest to a key."""
        at = int.from_bytes(key)
        return nsmallest(most, self.places, key=lambda node: self.places[node] ^ at)

    def nearer(self, peer: NodeId, key: Key, most: int) -> tuple[str, ...]:
        """Addresses of peers that are nearer to a key than this node; one each, not the asker's."""
        at = int.from_bytes(key)
        mine = place(self.me) ^ at
        near = (node for node in self.nearest(key, most + 1) if node != peer)
        known = ((node, self._addresses_of(node)) for node in near if self.places[node] ^ at < mine)
        return tuple(addresses[0] for _, addresses in known if addresses)[:most]

    def addresses(self, node: NodeId, now: Instant) -> tuple[str, ...]:
        """Where a node answers: as it says itself, or as this node believes; perhaps nowhere."""
        kept = self.shelf.get(node_key(node), now)
        return kept[0].addresses if kept else tuple(self._addresses_of(node))

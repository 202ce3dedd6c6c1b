"""What a node keeps of the directory for others, and whom it knows to be nearer to a key.

One shelf, one set of checks and one set of budgets, whether peers come with dpin's own messages
(`directory.py`) or with those of Kad-DHT (`kad.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest

from dpin.base.ids import ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.budget import DIRECTORY_DIALS, DIRECTORY_PUTS, DIRECTORY_SEEKS, Budget
from dpin.net.kadwire import Contact
from dpin.net.records import Key, Record, node_key, place, read_record
from dpin.net.routing import RoutingTable
from dpin.net.shelf import Shelf


class Keeper:
    """The records of one node; `addresses_of` says where a peer answers, best first."""

    def __init__(
        self, me: NodeId, chain: ChainId, addresses_of: Callable[[NodeId], Sequence[str]]
    ) -> None:
        self.me = me
        self.shelf = Shelf(me)
        self.table = RoutingTable(me)  # of nodes near and far, for lookups
        self.places: dict[NodeId, int] = {}  # of connected peers
        self._speaking: set[NodeId] = set()  # those of them that ever said something here
        self._mute: set[NodeId] = set()  # those that never did, not even when asked
        self._chain = chain
        self._addresses_of = addresses_of
        self.puts = Budget(DIRECTORY_PUTS)  # records that a peer brings
        self.seeks = Budget(DIRECTORY_SEEKS)  # questions of a peer
        self._dials = Budget(DIRECTORY_DIALS)

    def heard(self, peer: NodeId) -> None:
        """A peer speaks dpin's own messages."""
        if peer in self.places:
            self._speaking.add(peer)
            self._mute.discard(peer)

    def unheard(self, peers: Iterable[NodeId]) -> None:
        """These have not answered: stock libp2p nodes never do, and are not asked again."""
        here = (peer for peer in peers if peer in self.places)
        self._mute.update(peer for peer in here if peer not in self._speaking)

    def parted(self, peer: NodeId) -> None:
        """A peer is gone."""
        self.places.pop(peer, None)
        self._speaking.discard(peer)
        self._mute.discard(peer)

    def may_dial(self, now: Instant) -> bool:
        """Whether to dial one more of those that others name."""
        return self._dials.charge(self.me, 1, now)

    def read(self, raw: bytes) -> Record:
        """Check a record; raises PeerFault for what its signer cannot have said."""
        return read_record(self._chain, raw)

    def nearest(self, key: Key, most: int) -> list[NodeId]:
        """The connected peers that are nearest to a key."""
        at = int.from_bytes(key)
        return nsmallest(most, self.places, key=lambda node: self.places[node] ^ at)

    def nearest_speaking(self, key: Key, most: int) -> list[NodeId]:
        """The same without those that do not speak dpin's own messages."""
        near = self.nearest(key, most + len(self._mute))
        return [node for node in near if node not in self._mute][:most]

    def nearer(self, peer: NodeId, key: Key, most: int) -> tuple[str, ...]:
        """Addresses of peers that are nearer to a key than this node; one each, not the asker's."""
        at = int.from_bytes(key)
        mine = place(self.me) ^ at
        near = (node for node in self.nearest_speaking(key, most + 1) if node != peer)
        known = ((node, self._addresses_of(node)) for node in near if self.places[node] ^ at < mine)
        return tuple(addresses[0] for _, addresses in known if addresses)[:most]

    def addresses(self, node: NodeId, now: Instant) -> tuple[str, ...]:
        """Where a node answers: as it says itself, or as this node believes; perhaps nowhere."""
        kept = self.shelf.get(node_key(node), now)
        return kept[0].addresses if kept else tuple(self._addresses_of(node))


def known(keeper: Keeper, key: Key, most: int) -> list[Contact]:
    """The peers, connected or reached before, nearest to a key; without an address: connected."""
    at = int.from_bytes(key)
    far = [one for one in keeper.table.nearest(key, most) if one.node not in keeper.places]
    found = [*(Contact(node, ()) for node in keeper.nearest(key, most)), *far]
    return nsmallest(most, found, key=lambda one: place(one.node) ^ at)

"""Nodes at all distances, where lookups begin: Kademlia's table, of those that this node reached.

A bucket holds nodes whose places share so many first bits with this node's (Maymounkov and Mazieres
2002, section 2.4). Nobody gets in by coming, or by being named: only who answered a question at an
address that this node dialled. Who is in stays as long as it answers, so newcomers displace nobody
that is well; of one group of addresses few get into a bucket and into the table, so that many names
at few places are a small part of it (as in `peers.py`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from dpin.base.chance import Chance
from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.units import Instant, after, seconds
from dpin.net.address import PEER_ID_PREFIX, relay_in
from dpin.net.kadwire import Contact
from dpin.net.peers import ADDRESS_BYTES_MAX, NEAR, group_in
from dpin.net.records import Key, place, position

BITS: Final = 8 * ID_BYTES
BUCKETS_MAX: Final = 24  # the last is for all that are nearer still
BUCKET_MAX: Final = 12
GROUP_PER_BUCKET_MAX: Final = 2
GROUP_MAX: Final = 12  # of the whole table; a private network is one group without a limit,
NEAR_KEPT: Final = BUCKET_MAX // 2  # but makes room for others down to so many of a bucket
STALE_AFTER: Final = seconds(3_600)  # without an answer: its place is free for who does answer
DRAWS_MAX: Final = 1 << 14


@dataclass(slots=True)
class _Entry:
    node: NodeId
    place: int
    address: str
    group: str
    answered_at: Instant


class RoutingTable:
    """At most 24 buckets of 12 nodes, each with the address at which it answered."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._place = place(me)
        self._buckets: list[list[_Entry]] = [[] for _ in range(BUCKETS_MAX)]
        self._entries: dict[NodeId, _Entry] = {}
        self._of_group: Counter[str] = Counter()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._entries)

    def sizes(self) -> list[int]:
        """How many nodes each bucket holds, the farthest first, down to the deepest with any."""
        depth = max((at for at, bucket in enumerate(self._buckets, 1) if bucket), default=0)
        return [len(bucket) for bucket in self._buckets[:depth]]

    def answered(self, node: NodeId, address: str, now: Instant) -> bool:
        """Note that a node answered at an address that this node dialled; whether it is in now.

        Relayed ones are not: who is asked for the nearest nodes must name such as can be dialled.
        """
        known = self._entries.get(node)
        if known is not None and known.address == address:
            known.answered_at = now
            return True
        if node == self._me or not address or len(address) > ADDRESS_BYTES_MAX:
            return False
        if relay_in(address) is not None:
            return known is not None
        self.failed(node)  # It is elsewhere now, and counts there.
        entry = _Entry(node, place(node), address, group_in(address), now)
        bucket = self._buckets[self._index(entry.place)]
        if not self._room_for(entry, bucket):
            return False
        bucket.append(entry)
        self._entries[node] = entry
        self._of_group[entry.group] += 1
        return True

    def failed(self, node: NodeId) -> None:
        """A node was not reached, did not answer, or is not to be trusted."""
        entry = self._entries.pop(node, None)
        if entry is not None:
            self._buckets[self._index(entry.place)].remove(entry)
            self._of_group[entry.group] -= 1
            self._of_group += Counter()  # Drops what is zero.

    def nearest(self, key: Key, most: int) -> list[Contact]:
        """Those that are nearest to a key."""
        at = int.from_bytes(key)
        near = nsmallest(most, self._entries.values(), key=lambda entry: entry.place ^ at)
        return [Contact(entry.node, (entry.address,)) for entry in near]

    def name_to_ask(self, chance: Chance) -> bytes:
        """What to look for, to fill the table: this node, then a name in each bucket in turn."""
        depth = max((self._index(entry.place) for entry in self._entries.values()), default=0)
        turn, self._turn = self._turn, (self._turn + 1) % (depth + 2)
        name = PEER_ID_PREFIX + self._me
        if turn == 0:
            return name
        for _ in range(DRAWS_MAX):
            name = chance.below(1 << 64).to_bytes(8)
            if self._index(int.from_bytes(position(name))) == turn - 1:
                break
        return name  # Where a bucket is too deep for a lucky draw: anywhere.

    def _index(self, other: int) -> int:
        return min(BITS - (other ^ self._place).bit_length(), BUCKETS_MAX - 1)

    def _room_for(self, entry: _Entry, bucket: list[_Entry]) -> bool:
        """Whether there is room in a bucket, perhaps at the cost of who has not answered long."""
        stale = [one for one in bucket if after(one.answered_at, STALE_AFTER) <= entry.answered_at]
        if entry.group != NEAR:
            same = [one for one in bucket if one.group == entry.group]
            if len(same) >= GROUP_PER_BUCKET_MAX:
                return self._make_room(one for one in stale if one in same)
            if self._of_group[entry.group] >= GROUP_MAX:
                return False
        if len(bucket) < BUCKET_MAX:
            return True
        near = [one for one in bucket if one.group == NEAR]
        if entry.group != NEAR and len(near) > NEAR_KEPT:
            stale += near
        return self._make_room(stale)

    def _make_room(self, candidates: Iterable[_Entry]) -> bool:
        """Drop the one of them that has not answered for longest; whether there was one."""
        oldest = min(candidates, key=lambda one: (one.answered_at, one.node), default=None)
        if oldest is None:
            return False
        self.failed(oldest.node)
        return True

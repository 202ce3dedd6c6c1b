"""What a node keeps of its peers between runs: the good ones, its anchors, its bans.

The anchors are peers that this node was connected to, by its own choice, when it last wrote: they
are dialled first, so that a restart is no occasion to surround it.
"""

from collections.abc import Iterable
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.units import Instant
from dpin.net.bans import Ban, Bans, check_bans
from dpin.net.peers import ADDRESSES_PER_PEER_MAX, NEVER_SEEN, Peers

VERSION: Final = 2
REMEMBERED_MAX: Final = 50
ANCHORS_MAX: Final = 4


class Remembered(Wire, frozen=True):
    """One peer that answered."""

    node: bytes
    addresses: tuple[str, ...]
    seen_at: int
    proved_at: int  # by a dial of this node's; 0 for never
    anchor: bool


class Memory(Wire, frozen=True):
    """The file of remembered peers."""

    version: int
    peers: tuple[Remembered, ...]
    bans: tuple[Ban, ...]


def written(peers: Peers, bans: Bans, anchors: Iterable[NodeId]) -> bytes:
    """The bytes of the file: those that a dial of ours proved first, then those seen last."""
    kept = frozenset(list(anchors)[:ANCHORS_MAX])
    known = [(node, found) for node in peers.nodes() if (found := peers.of(node)) is not None]
    good = [(n, k) for n, k in known if k.seen_at > NEVER_SEEN]
    good.sort(key=lambda pair: (pair[0] not in kept, pair[1].proved_at == NEVER_SEEN))
    return encode(
        Memory(
            VERSION,
            tuple(
                Remembered(n, tuple(k.addresses), k.seen_at, k.proved_at, n in kept)
                for n, k in good[:REMEMBERED_MAX]
            ),
            bans.remembered(),
        )
    )


def read(data: bytes) -> Memory:
    """Read the file; raises PeerFault where it is damaged."""
    memory = decode(Memory, data)
    if memory.version != VERSION or len(memory.peers) > REMEMBERED_MAX:
        raise PeerFault("not a file of remembered peers")
    for peer in memory.peers:
        if len(peer.node) != ID_BYTES or peer.seen_at < 0 or peer.proved_at < 0:
            raise PeerFault("a remembered peer without a proper id or time")
    check_bans(memory.bans)
    return memory


def recall(memory: Memory, peers: Peers, bans: Bans) -> list[NodeId]:
    """Take back what was written; returns the anchors."""
    for peer in memory.peers:
        node = NodeId(peer.node)
        for address in reversed(peer.addresses[:ADDRESSES_PER_PEER_MAX]):
            peers.learn(node, address)
        known = peers.of(node)
        if known is not None:
            known.seen_at, known.proved_at = Instant(peer.seen_at), Instant(peer.proved_at)
    bans.recall(memory.bans)
    return [NodeId(peer.node) for peer in memory.peers if peer.anchor][:ANCHORS_MAX]

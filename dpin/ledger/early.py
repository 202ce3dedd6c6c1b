"""Blocks of the next epoch at a node that is still in this one: kept, bounded, not yet checked.

Who signs in the next epoch is certain only with its handover, so anybody can make such blocks up:
each peer has its share of the room, and what does not fit comes by range later.
"""

from collections.abc import Iterator
from typing import Final

from dpin.base.ids import NodeId
from dpin.ledger.blocks import Vertex
from dpin.ledger.dag import encoded

BLOCKS_MAX: Final = 128  # of one peer
BYTES_MAX: Final = 2 << 20  # of one peer
TOTAL_MAX: Final = 16 << 20


class Early:
    """Blocks by the peer that sent them, in order of arrival."""

    def __init__(self) -> None:
        self._blocks: dict[NodeId, list[Vertex]] = {}
        self._bytes: dict[NodeId, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._blocks.values()))

    def __iter__(self) -> Iterator[tuple[NodeId, Vertex]]:
        """All of them with their senders."""
        for peer, blocks in self._blocks.items():
            for vertex in blocks:
                yield peer, vertex

    def add(self, peer: NodeId, vertex: Vertex) -> None:
        """Keep a block, if its sender has room left."""
        held, size = self._blocks.get(peer, []), self._bytes.get(peer, 0) + len(encoded(vertex))
        total = sum(self._bytes.values()) - self._bytes.get(peer, 0) + size
        if len(held) < BLOCKS_MAX and size <= BYTES_MAX and total <= TOTAL_MAX:
            self._blocks[peer] = [*held, vertex]
            self._bytes[peer] = size

    def clear(self) -> None:
        """They were taken, or are of no use."""
        self._blocks.clear()
        self._bytes.clear()

"""Kad-DHT at one node: what stock libp2p nodes ask it, and what it asks in turn.

It asks only where the directory's own messages found nothing: what a provider said by Kad-DHT is
not signed, so those messages do not carry it, and stock nodes keep what no other node has.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.directory import REPLICAS
from dpin.net.kad import (
    answer,
    ask_addresses,
    ask_providers,
    kad_protocol,
    told_providers,
    told_record,
)
from dpin.net.kadwire import Contact
from dpin.net.keeper import Keeper
from dpin.net.network import Network
from dpin.net.records import Key, Record, blob_key, node_key

PATIENCE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Bearings:
    """What the whereabouts of one node are tied to."""

    host: Network
    key: SigningKey
    chain: ChainId
    now: Callable[[], Instant]
    known: Callable[[NodeId], Sequence[str]]  # where peers answer, as this node believes
    dial: Callable[[str], Awaitable[None]]
    blame: Callable[[NodeId, str], None]


class KadDoor:
    """Questions of Kad-DHT, answered and put to the connected peers nearest to a key."""

    def __init__(self, bearings: Bearings, keeper: Keeper) -> None:
        self._by = bearings
        self._keeper = keeper
        self._protocol = kad_protocol(bearings.chain)

    def serve(self) -> None:
        """Answer from now on."""
        self._by.host.serve(self._answer, self._protocol)

    async def addresses(self, node: NodeId) -> tuple[str, ...]:
        """Where a node says, signed, that it answers; of several records the last."""
        found: list[Record] = []

        def take(told: bytes) -> None:
            record = told_record(self._keeper, node, told, self._by.now())
            if record is not None:
                found.append(record)

        await self._ask_nearest(node_key(node), ask_addresses(node), take)
        return max(found, key=lambda record: record.expires).addresses if found else ()

    async def providers(self, blob: BlobId) -> list[Contact]:
        """Who is said to have a blob; nobody signed it."""
        found: dict[NodeId, Contact] = {}

        def take(told: bytes) -> None:
            found.update((contact.node, contact) for contact in told_providers(told))

        await self._ask_nearest(blob_key(blob), ask_providers(blob), take)
        found.pop(self._by.key.node_id, None)
        return list(found.values())

    async def _ask_nearest(self, key: Key, question: bytes, take: Callable[[bytes], None]) -> None:
        async with trio.open_nursery() as nursery:
            for peer in self._keeper.nearest(key, REPLICAS):
                nursery.start_soon(self._ask, peer, question, take)

    async def _ask(self, peer: NodeId, question: bytes, take: Callable[[bytes], None]) -> None:
        try:
            take(await self._by.host.request(peer, question, PATIENCE_SECONDS, self._protocol))
        except Unavailable:
            return  # Many do not speak it.
        except PeerFault as fault:
            self._by.blame(peer, str(fault))

    async def _answer(self, peer: NodeId, question: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        try:
            told = answer(self._keeper, peer, question, self._by.now())
        except PeerFault as fault:
            self._by.blame(peer, str(fault))
            raise Unavailable(str(fault)) from None
        if told is None:
            raise Unavailable("nothing is said to that")
        return told

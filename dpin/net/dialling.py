"""Dial a peer at several addresses: one after the other, without waiting long for any of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio
from libp2p.abc import IHost
from multiaddr import Multiaddr

from dpin.base.ids import NodeId
from dpin.net.address import node_in, relay_in
from dpin.net.contained import Contained
from dpin.net.guards import DIAL_SECONDS
from dpin.net.network import Outcome, Unreached
from dpin.net.relay import peer_of
from dpin.net.routes import Routes
from dpin.net.unreached import unreached

STAGGER_SECONDS: Final = 0.5  # as in RFC 8305: the next is tried when one takes long, or fails


@dataclass
class _Race:
    seconds: float
    won: bool = False
    errors: list[BaseException] = field(default_factory=list)


async def first_of(
    dials: Sequence[Callable[[], Awaitable[object]]], seconds: float
) -> list[BaseException]:
    """Dial until one succeeds; the others are given up. What was raised, if none did, in order.

    Empty where one succeeded; a dial that took longer than `seconds` raises TooSlowError.
    """
    race = _Race(seconds)
    async with trio.open_nursery() as nursery:
        for dial in dials:
            failed = trio.Event()
            nursery.start_soon(_one, dial, race, failed, nursery.cancel_scope)
            with trio.move_on_after(STAGGER_SECONDS):
                await failed.wait()
    return [] if race.won else race.errors


async def _one(
    dial: Callable[[], Awaitable[object]],
    race: _Race,
    failed: trio.Event,
    all_of_them: trio.CancelScope,
) -> None:
    with Contained(race.errors.append), trio.fail_after(race.seconds):
        await dial()
        race.won = True
        all_of_them.cancel()
    failed.set()


class Dialler:
    """Connects one host to peers; `dial_relay` connects it to a relay on the way."""

    def __init__(
        self, libp2p: IHost, routes: Routes, dial_relay: Callable[[str], Awaitable[object]]
    ) -> None:
        self._libp2p = libp2p
        self._routes = routes
        self._dial_relay = dial_relay

    async def dial(self, node: NodeId, addresses: Sequence[str]) -> None:
        """Connect at one of the addresses; raises Unreached with what the first one said."""
        dials = [partial(self._one, node, address) for address in addresses]
        errors = await first_of(dials, DIAL_SECONDS)
        if errors:
            raise unreached(errors[0])
        if not self._libp2p.get_network().get_connections(peer_of(node)):
            raise Unreached(Outcome.CLOSED, "the connection was closed at once")

    async def _one(self, node: NodeId, address: str) -> None:
        relay = relay_in(address)
        if relay is None:
            await self._libp2p.get_network().dial_addr(Multiaddr(address), peer_of(node))
        else:
            await self._dial_relay(relay)
            await self._routes.dial_relayed(address)


def parsed(address: str) -> NodeId:
    """Whose address it is; raises Unreached where it is nobody's."""
    node = node_in(address)
    if node is None:
        raise Unreached(
            Outcome.NO_ADDRESS, f"{address!r} is not the address of a node (/ip4/…/tcp/…/p2p/…)"
        )
    return node

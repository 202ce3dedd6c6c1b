"""Dial somebody back, at the address that they are connected from, under a name of no meaning.

A host of its own does it: the peer is connected to this node's host already, and a second
connection by the same key would be taken for that one. As in AutoNAT v2, the nonce that was asked
for is said over the new connection, so a yes cannot be made up.
"""

from collections.abc import Callable
from secrets import token_bytes
from typing import Final

import trio

from dpin.base.crypto import SEED_BYTES
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.base.units import Instant, after, seconds
from dpin.net.address import peer_text
from dpin.net.ask import NONCE_BYTES, AskDialBack, DialledBack, Refusal
from dpin.net.host import HostOptions, open_host
from dpin.net.network import DIAL_BACK, Outcome, Unreached

AT_ONCE_MAX: Final = 2  # peers being dialled back
EVERY: Final = seconds(60)  # for one peer
ASKERS_MAX: Final = 256  # whose last question is remembered
SAY_SECONDS: Final = 5.0


def fresh_nonce() -> bytes:
    """What nobody can guess."""
    return token_bytes(NONCE_BYTES)


class DialBacks:
    """Dials that others asked for; few at once, seldom for each."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self._last: dict[NodeId, Instant] = {}
        self._under_way = 0

    async def answer(
        self, peer: NodeId, seen_at: str, question: AskDialBack
    ) -> DialledBack | Refusal:
        """Dial each port of `seen_at`, where the peer is connected from, and say how it went."""
        refusal = self._refusal(peer, seen_at)
        if refusal:
            return Refusal(refusal)
        self._under_way += 1
        try:
            outcomes = [
                await _dial(address_of(seen_at, port, peer), question.nonce)
                for port in question.ports
            ]
        finally:
            self._under_way -= 1
        return DialledBack(seen_at, tuple(outcomes))

    def _refusal(self, peer: NodeId, seen_at: str) -> str:
        """Why not now; empty: it is done now."""
        now = self._now()
        if not seen_at:
            return "you are not connected directly"
        if self._under_way >= AT_ONCE_MAX:
            return "busy with others"
        last = self._last.pop(peer, None)
        if last is not None and now < after(last, EVERY):
            self._last[peer] = last
            return "asked a moment ago"
        if len(self._last) >= ASKERS_MAX:
            del self._last[next(iter(self._last))]
        self._last[peer] = now
        return ""


def address_of(ip: str, port: int, node: NodeId) -> str:
    """Where a node would answer."""
    return f"/{'ip6' if ':' in ip else 'ip4'}/{ip}/tcp/{port}/p2p/{peer_text(node)}"


async def _dial(address: str, nonce: bytes) -> Outcome:
    try:
        async with open_host(HostOptions(token_bytes(SEED_BYTES), listen=())) as stranger:
            node = await stranger.dial(address)
            await stranger.request(node, nonce, SAY_SECONDS, DIAL_BACK)
    except Unreached as error:
        return error.outcome
    except (Unavailable, PeerFault, trio.BrokenResourceError):
        return Outcome.CLOSED  # It was reached, and did not listen to the end.
    return Outcome.CONNECTED

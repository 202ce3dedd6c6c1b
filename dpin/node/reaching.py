"""Dials of one node, and at which address each peer answered: what this node proved itself."""

from collections.abc import Callable, Sequence

import structlog
import trio

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND, Instant, Micros
from dpin.net.address import node_in
from dpin.net.discovery import DialFailed
from dpin.net.network import Network, Outcome, Unreached
from dpin.net.prefix import ip_in
from dpin.net.tally import Dialled, Tally

log = structlog.get_logger()


class Reaching:
    """Dials, and tells discovery where that comes to nothing."""

    def __init__(
        self,
        host: Network,
        tally: Tally,
        now: Callable[[], Instant],
        failed: Callable[[DialFailed], None],
    ) -> None:
        self._host = host
        self._tally = tally
        self._now = now
        self._failed = failed
        self._reached: dict[NodeId, str] = {}  # of connected peers

    async def reach(self, addresses: Sequence[str]) -> bool:
        """Dial a peer at one of its addresses; whether it is connected then."""
        address, *others = addresses
        here = node_in(address) in self._host.peers()
        began = trio.current_time()
        outcome, reason = Outcome.CONNECTED, ""
        try:
            await self._host.dial(address, *others)
        except Unreached as error:
            outcome, reason = error.outcome, str(error)
        took = Micros(round((trio.current_time() - began) * MICROS_PER_SECOND))
        self._tally.dialled(address, Dialled(self._now(), outcome, reason, took))
        if reason:
            log.debug("dial-failed", address=address, reason=reason)
            self._failed(DialFailed(address, reason))
        elif not here:
            self._note(addresses)
        return not reason

    def _note(self, addresses: Sequence[str]) -> None:
        node = node_in(addresses[0])
        if node is None or node not in self._host.peers():
            return
        ip = self._host.beside.direct_ip(node)
        at = [one for one in addresses if ip and ip_in(one) == ip]
        if at or len(addresses) == 1:
            self._reached[node] = (at or addresses)[0]

    def parted(self, peer: NodeId) -> None:
        """A peer is gone."""
        self._reached.pop(peer, None)

    def reached(self, peer: NodeId) -> str:
        """Where a connected peer answered a dial; empty where it came in by itself."""
        return self._reached.get(peer, "")

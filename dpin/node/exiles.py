"""Who is banned from a running node's network, and bans that end before their time."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dpin.base.errors import NotFound
from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.machine import Tick
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.net.bans import Ban
from dpin.node.neighbourhood import Neighbourhood
from dpin.node.netviews import BanView

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Exiles:
    """The bans of one node, for people."""

    neighbours: Neighbourhood
    name: Callable[[NodeId], str]
    now: Callable[[], Instant]

    def views(self) -> list[BanView]:
        """Those that hold, those that end last first."""
        return [self._view(ban) for ban in self.neighbours.discovery.bans.standing(self.now())]

    def lift(self, text: str) -> BanView:
        """End a ban and forget it; raises NotFound where none, or more than one, is meant."""
        views = self.views()
        meant = [view for view in views if text and view.subject.startswith(text.lower())]
        meant = [view for view in views if text in {view.subject, view.name}] or meant
        if len(meant) != 1:
            why = "more than one ban is" if meant else "nobody is banned that is"
            raise NotFound(f"{why} called {text[:64]!r}", fix="dpin net bans lists all bans")
        log.info("ban-lifted", subject=meant[0].subject)
        self.neighbours.discovery.bans.lift(meant[0].subject)
        self.neighbours.find(Tick())  # The door is opened, and who was banned may be dialled.
        return meant[0]

    def _view(self, ban: Ban) -> BanView:
        is_node = len(ban.subject) == 2 * ID_BYTES
        return BanView(
            subject=ban.subject,
            name=self.name(NodeId(bytes.fromhex(ban.subject))) if is_node else "",
            until_ms=ban.until // MICROS_PER_MILLI,
            offences=ban.offences,
            reason=ban.reason,
        )

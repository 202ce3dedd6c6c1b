"""Whom this node will not have: by node id and by site, for a time, longer with every return.

A ban is for what a peer did, so it ends; whoever does it again is out for twice as long. Several
banned nodes at one site are one attacker with many keys: then the site is banned. Pure; what is
kept between runs is `Ban`, which people also see.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import Wire
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.units import Instant, Micros, after, seconds
from dpin.net.prefix import NOWHERE, is_near, site_of

BLAMES_TO_BAN: Final = 10
BLAME_FADES: Final = seconds(60)  # one blame is forgotten each
BAN_FIRST: Final = seconds(600)
BAN_MAX: Final = seconds(24 * 3600)
BANS_MAX: Final = 1024
NODES_TO_BAN_SITE: Final = 4  # banned at once at one /24 or /48
PROBATION: Final = seconds(7 * 24 * 3600)  # after a ban: the next one is longer
REASON_CHARS_MAX: Final = 120
DOUBLINGS_MAX: Final = 16


class Ban(Wire, frozen=True):
    """One ban: of a node (its id in hex) or of a site (its prefix)."""

    subject: str
    until: int  # an Instant
    offences: int  # how many bans there have been, this one included
    site: str  # where the node was when it was banned; of a site, itself
    reason: str


@dataclass(slots=True)
class _Blamed:
    count: int
    since: Instant


class Bans:
    """Faults and bans; all of it bounded, the oldest makes room."""

    def __init__(self) -> None:
        self._blamed: dict[NodeId, _Blamed] = {}
        self._bans: dict[str, Ban] = {}

    def blame(self, node: NodeId, ip: str, reason: str, now: Instant) -> bool:
        """Count one fault of a node at `ip`; True when it is banned for it."""
        blamed = self._blamed.setdefault(node, _Blamed(0, now))
        faded = (now - blamed.since) // BLAME_FADES
        if faded > 0:
            blamed.count = max(0, blamed.count - faded)
            blamed.since = now
        blamed.count += 1
        if blamed.count < BLAMES_TO_BAN:
            if len(self._blamed) > BANS_MAX:
                del self._blamed[min(self._blamed, key=lambda n: (self._blamed[n].since, n))]
            return False
        del self._blamed[node]
        self.ban(node, ip, reason, now)
        return True

    def ban(self, node: NodeId, ip: str, reason: str, now: Instant) -> None:
        """Have a node stay away; and its site, where it is one of many there."""
        site = NOWHERE if is_near(ip) else site_of(ip)
        self._add(node.hex(), site, reason, now)
        there = [
            ban
            for ban in self._bans.values()
            if site and ban.site == site and ban.subject != site and ban.until > now
        ]
        if len(there) >= NODES_TO_BAN_SITE:
            self._add(site, site, f"{len(there)} nodes there are banned", now)

    def _add(self, subject: str, site: str, reason: str, now: Instant) -> None:
        before = self._bans.pop(subject, None)
        offences = 1 if before is None else before.offences + 1
        lasts = min(BAN_MAX, BAN_FIRST << min(offences - 1, DOUBLINGS_MAX))
        until = after(now, Micros(lasts))
        self._bans[subject] = Ban(subject, until, offences, site, reason[:REASON_CHARS_MAX])
        self._trim(now)

    def _trim(self, now: Instant) -> None:
        for subject in [
            s for s, b in self._bans.items() if after(Instant(b.until), PROBATION) < now
        ]:
            del self._bans[subject]
        while len(self._bans) > BANS_MAX:
            del self._bans[min(self._bans, key=lambda s: (self._bans[s].until, s))]

    def banned(self, node: NodeId, ip: str, now: Instant) -> bool:
        """Whether a node is banned, or the site that `ip` is at."""
        if not self._bans:
            return False
        return self._holds(node.hex(), now) or bool(ip and self._holds(site_of(ip), now))

    def _holds(self, subject: str, now: Instant) -> bool:
        ban = self._bans.get(subject)
        return ban is not None and ban.until > now

    def sites(self, now: Instant) -> list[str]:
        """The banned sites."""
        return sorted(s for s, ban in self._bans.items() if s == ban.site and ban.until > now)

    def standing(self, now: Instant) -> list[Ban]:
        """The bans that hold, those that end last first."""
        holding = (ban for ban in self._bans.values() if ban.until > now)
        return sorted(holding, key=lambda ban: (-ban.until, ban.subject))

    def lift(self, subject: str) -> bool:
        """Forget a ban, and that there ever was one; False where there is none."""
        return self._bans.pop(subject, None) is not None

    def remembered(self) -> tuple[Ban, ...]:
        """All bans, for a file: those on probation too."""
        return tuple(self._bans[subject] for subject in sorted(self._bans))

    def recall(self, bans: Sequence[Ban]) -> None:
        """Take back what `remembered` gave."""
        self._bans = {ban.subject: ban for ban in bans}


def check_bans(bans: Iterable[Ban]) -> None:
    """Raises PeerFault at what `Bans.remembered` never gives."""
    found = tuple(bans)
    if len(found) > BANS_MAX:
        raise PeerFault(f"{len(found)} bans, at most {BANS_MAX} are kept")
    for ban in found:
        is_node = len(ban.subject) == 2 * ID_BYTES
        if ban.offences < 1 or ban.until < 0 or not (is_node or ban.subject == ban.site):
            raise PeerFault("a ban of nobody, or without a proper time")

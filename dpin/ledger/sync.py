"""Catching up by range of rounds, with one peer at a time: joiners, the long-absent, the unlucky.

A peer is probed: it is sent the names of all blocks known above gc_round, and answers with every
block that we lack, page by page, whatever the size (C4). Probes are due when a connection is new,
when a block waits too long for its ancestors, when more than a third of the committee is ahead, and
when it has been quiet: ever less often, so that a network that rests is all but silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import Digest, NodeId, Round
from dpin.base.machine import Send
from dpin.base.units import NEVER, Instant, Micros, after, seconds
from dpin.ledger.blocks import Reference
from dpin.ledger.committee import Committee
from dpin.ledger.dag import Dag, names_from
from dpin.ledger.messages import HELD_MAX, AskRange, Blocks
from dpin.ledger.serve import place

PAGE_PATIENCE: Final[Micros] = seconds(2)
SUSPENDED_PATIENCE: Final = Micros(500_000)  # two round trips of a slow path
BEHIND_PATIENCE: Final = Micros(500_000)
QUIET_FIRST: Final[Micros] = seconds(1)
QUIET_MAX: Final[Micros] = seconds(64)
AHEAD_ROUNDS: Final = 5  # others may be so far ahead before a node says that it is behind
PROBES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class _Session:
    peer: NodeId
    start: Reference
    until: Instant


class Ranges:
    """Probes to come, and the one under way."""

    def __init__(self, epoch: int, dag: Dag) -> None:
        self._epoch = epoch
        self._dag = dag
        self._probes: dict[NodeId, None] = {}
        self._session: _Session | None = None

    @property
    def idle(self) -> bool:
        """Whether no probe is under way or to come."""
        return self._session is None and not self._probes

    @property
    def next_at(self) -> Instant:
        """When a page is overdue."""
        return self._session.until if self._session else NEVER

    def probe(self, peer: NodeId) -> None:
        """Compare what we have with this peer, soon."""
        under_way = self._session is not None and self._session.peer == peer
        if not under_way and len(self._probes) < PROBES_MAX:
            self._probes[peer] = None

    def left(self, peer: NodeId) -> None:
        """The peer is gone."""
        self._probes.pop(peer, None)
        if self._session is not None and self._session.peer == peer:
            self._session = None

    def step(self, now: Instant) -> list[Send]:
        """Give up a page that is overdue; begin the next probe."""
        if self._session is not None and self._session.until <= now:
            self._session = None
        if self._session is not None or not self._probes:
            return []
        peer = next(iter(self._probes))
        del self._probes[peer]
        return [self._ask(peer, place(Round(self._dag.gc_round + 1)), now)]

    def _ask(self, peer: NodeId, start: Reference, now: Instant) -> Send:
        self._session = _Session(peer, start, after(now, PAGE_PATIENCE))
        held = names_from(self._dag, start.round, HELD_MAX)
        return Send(peer, encode(AskRange(self._epoch, start, tuple(held))))

    def answered(self, peer: NodeId, answer: Blocks, *, useful: bool, now: Instant) -> list[Send]:
        """A page has come. A page without anything new ends the probe: nobody leads us on."""
        session = self._session
        if session is None or session.peer != peer:
            return []
        self._session = None
        if answer.then is None or not useful or _key(answer.then) <= _key(session.start):
            return []
        return [self._ask(peer, answer.then, now)]


def _key(link: Reference) -> tuple[Round, int, Digest]:
    return link.round, link.author, link.digest


class Ahead:
    """How far the members of the committee are, by their own words and blocks."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._seen = [0] * len(committee)
        self._most = 0

    def saw(self, author: int, round_: int) -> None:
        """A member has made, or says that it has, a block of this round."""
        self._seen[author] = max(self._seen[author], round_)
        self._most = max(self._most, round_)

    def behind(self, reached: Round) -> bool:
        """Whether members of whom one is correct are well beyond the round `reached`."""
        if self._most <= reached + AHEAD_ROUNDS:
            return False  # As nearly always; this is asked at every step.
        ahead = [at for at, seen in enumerate(self._seen) if seen > reached + AHEAD_ROUNDS]
        return self._committee.weigh(ahead) >= self._committee.honest


class Triggers:
    """Decides when to probe whom."""

    def __init__(self, dag: Dag, ranges: Ranges) -> None:
        self._dag = dag
        self._ranges = ranges
        self._turn = 0
        self._behind_at = Instant(0)
        self._quiet_wait = QUIET_FIRST
        self._quiet_at = Instant(0)
        self._oldest: Digest | None = None  # the suspended block looked at last
        self._oldest_wait = SUSPENDED_PATIENCE
        self._oldest_at = NEVER

    def next_at(self, *, behind: bool) -> Instant:
        """When to look again."""
        return min(self._quiet_at, self._oldest_at, self._behind_at if behind else NEVER)

    def accepted(self, now: Instant) -> None:
        """A block has come: it is not quiet."""
        self._quiet_wait, self._quiet_at = QUIET_FIRST, after(now, QUIET_FIRST)

    def _probe_next(self, sources: Sequence[NodeId]) -> None:
        if sources:
            self._turn += 1
            self._ranges.probe(sources[self._turn % len(sources)])

    def suspended(self, sources: Sequence[NodeId], now: Instant) -> None:
        """Probe who sent a block that waits too long, and one more; less and less for one block."""
        oldest = next(iter(self._dag.waiting), None)
        if oldest is None:
            self._oldest, self._oldest_at = None, NEVER
        elif oldest.vertex.digest != self._oldest:
            self._oldest, self._oldest_wait = oldest.vertex.digest, SUSPENDED_PATIENCE
            self._oldest_at = after(max(oldest.since, Instant(now - QUIET_MAX)), self._oldest_wait)
        elif self._oldest_at <= now:
            if oldest.sender in sources:
                self._ranges.probe(oldest.sender)
            self._probe_next(sources)
            self._oldest_wait = Micros(min(2 * self._oldest_wait, QUIET_MAX))
            self._oldest_at = after(now, self._oldest_wait)

    def behind(self, sources: Sequence[NodeId], now: Instant) -> None:
        """More than a third of the committee is ahead."""
        if now < self._behind_at <= after(now, BEHIND_PATIENCE):
            return
        self._behind_at = after(now, BEHIND_PATIENCE)
        if self._ranges.idle:
            self._probe_next(sources)

    def quiet(self, sources: Sequence[NodeId], now: Instant, *, pending: bool) -> bool:
        """Whether it has been quiet for long; keeps asking every second while work is pending."""
        if now < self._quiet_at <= after(now, QUIET_MAX):
            return False
        self._probe_next(sources)
        longer = QUIET_FIRST if pending else Micros(min(2 * self._quiet_wait, QUIET_MAX))
        self._quiet_wait, self._quiet_at = longer, after(now, longer)
        return True

"""News of a running node: what the driver posts, and who waits to read it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from dpin.base.errors import Unavailable
from dpin.base.units import Instant
from dpin.ledger.pledges import Pledged
from dpin.ledger.replica import Applied
from dpin.ledger.wishes import Outcome
from dpin.market.chronicle import Deed
from dpin.market.story import Note
from dpin.node.diary import Diary
from dpin.node.joblog import JobLog
from dpin.node.seen import Seen


@dataclass(slots=True)
class _Waiting:
    """Somebody who waits for the outcome of a wish."""

    done: trio.Event = field(default_factory=trio.Event)
    outcome: Outcome | None = None
    kept: bool = False  # it goes on, over a restart too


class Bulletin:
    """What the driver tells the desk, and wakes those who wait for news."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self.log = JobLog()
        self._diary = Diary()
        self.seen = Seen()
        self.stopped = trio.Event()
        self._changed = trio.Event()
        self._waiting: dict[str, list[_Waiting]] = {}  # by the key of the wish

    def take(self, effect: Note | Deed | Outcome | Pledged | Applied) -> None:
        """Something that people may want to know."""
        match effect:
            case Note():
                self.log.add(effect, self._now())
                self.moved()
            case Deed():
                self._diary.take(effect, self._now())
            case Pledged(key=key):
                for waiting in self._waiting.get(key, ()):
                    waiting.kept = True
            case Outcome(key=key):
                for waiting in self._waiting.get(key, ()):
                    waiting.outcome = effect
                    waiting.done.set()
            case Applied(commit=commit):
                self.seen.applied(commit)

    def moved(self) -> None:
        """An event has been handled: whoever waits may look again."""
        self._changed.set()
        self._changed = trio.Event()

    async def change(self) -> None:
        """Wait until something may have changed."""
        await self._changed.wait()

    async def outcome(self, key: str, seconds: float) -> Outcome:
        """Wait for the outcome of a wish; raises Unavailable when it takes too long."""
        waiting, others = _Waiting(), self._waiting.setdefault(key, [])
        others.append(waiting)
        try:
            with trio.move_on_after(seconds):
                await waiting.done.wait()
        finally:
            others.remove(waiting)
            if not others:
                del self._waiting[key]
        if waiting.outcome is None:
            raise _undecided(seconds, kept=waiting.kept)
        return waiting.outcome


def _undecided(seconds: float, *, kept: bool) -> Unavailable:
    problem = f"the ledger has not decided within {seconds:.0f} seconds"
    if not kept:
        return Unavailable(problem)
    return Unavailable(
        f"{problem}; it is written down, and this node goes on offering it, after a restart too: "
        "do not send it again, look: dpin wallet history"
    )

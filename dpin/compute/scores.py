"""How much each update of a round helps by itself: what is asked and told, and what follows.

Scores of Gauntlet (Templar, arXiv 2603.08163; `verification.md` 1.6): the loss before an update
less the loss after it, on examples that its own unit was assigned and on examples of other seats.
The round's beacon draws both, when every update is committed. Whoever trains on its own data helps
them more than others'.
"""

from collections.abc import Sequence
from typing import Final

from dpin.base.chance import Chance
from dpin.base.codec import Wire
from dpin.base.crypto import digest
from dpin.base.ids import Digest, Round

SCORE_MAX: Final = 1_000  # milli-nats: one round says no more, however good or bad it was
ROUNDS_MIN: Final = 3  # of fewer nothing follows: a batch may be a lucky one
ROUNDS_SEEN: Final = 8
UPDATES_MAX: Final = 4  # a round: scoring one costs about five steps of training
WITNESSES_MAX: Final = 4  # of a job
SAMPLE_TAG: Final = "dpin/scored/v1"


class Judged(Wire, frozen=True):
    """One update and the unit that it is of."""

    update: str  # its file
    lease: Digest
    seat: int
    steps: int


class ScoreRound(Wire, frozen=True, tag=13):
    """Score updates of `round`, each alone, from the held global state; it stays as it is."""

    round: Round
    beacon: Digest
    updates: tuple[Judged, ...]


class Score(Wire, frozen=True):
    """By how much one update lowers the loss, in milli-nats a target, at most SCORE_MAX."""

    lease: Digest
    assigned: int  # on examples that its unit was to train on
    other: int  # on as many of other seats


class Scored(Wire, frozen=True, tag=16):
    """The scores of a round, in the order of the question."""

    round: Round
    scores: tuple[Score, ...]


def sampled(beacon: Digest, leases: Sequence[Digest]) -> list[Digest]:
    """Whose updates of a round are scored: at most UPDATES_MAX of these, drawn by the beacon."""
    chance = Chance(digest(SAMPLE_TAG, beacon))
    return sorted(chance.chosen(sorted(leases), UPDATES_MAX))


def milli_nats(before: int, after: int) -> int:
    """A score from two losses in micro-nats; the nearest, ties upwards."""
    gain = (before - after + 500) // 1_000
    return max(-SCORE_MAX, min(SCORE_MAX, gain))


def is_untrained(history: Sequence[Score]) -> bool:
    """Whether a lease's last updates, oldest first, were not made from the data it was assigned.

    Over its last rounds they helped those data no more than others. Rounds in which it was absent
    are no part of this, so nobody gains by staying away.
    """
    seen = history[-ROUNDS_SEEN:]
    own, others = sum(one.assigned for one in seen), sum(one.other for one in seen)
    return len(seen) >= ROUNDS_MIN and own <= others

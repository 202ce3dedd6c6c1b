"""Scoring the updates of a round on the model itself; see scores. P is the number of parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from torch import Tensor

from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import JobId
from dpin.compute.checkpoint import Start
from dpin.compute.door import Door, read_update
from dpin.compute.examples import Examples
from dpin.compute.fragments import fragment
from dpin.compute.noise import words
from dpin.compute.scores import Judged, Score, Scored, ScoreRound, milli_nats
from dpin.compute.state import GlobalState
from dpin.compute.task import SGD, TrainManifest
from dpin.compute.tensors import UNITS_MAX
from dpin.compute.train import Inner, draw_of
from dpin.compute.updates import decode_update

DRAWN: Final = 4  # steps of a unit whose batches are looked at
LOSS_MAX: Final = 64_000_000  # micro-nats; so much counts what is no number, too
MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Scoring:
    """The scores of one job's updates, by whoever holds its state and its shards."""

    _job: JobId
    _manifest: TrainManifest
    _trainer: Inner
    _door: Door
    _text: Callable[[int], Examples]  # of a seat
    _texts: dict[int, Examples] = field(default_factory=dict)

    def round(self, command: ScoreRound, state: GlobalState) -> Scored:
        """Every update alone on top of `state`; raises Misuse where that says nothing.

        A malformed update has the score 0: it is merged by nobody.
        """
        if self._manifest.outer.rule != SGD or self._manifest.private is not None:
            raise Misuse("updates are scored where they move parameters, and on data that are open")
        scores = tuple(self._score(command, one, state) for one in command.updates)
        return Scored(command.round, scores)

    def _score(self, command: ScoreRound, one: Judged, state: GlobalState) -> Score:
        self._door.pulse()
        encoding = self._manifest.encoding
        here = fragment(encoding, state.round, len(state.parameters))
        try:
            data = read_update(self._door.files, one.update)
            moved = decode_update(data, encoding, here.stop - here.start).dense()
        except PeerFault:
            return Score(one.lease, 0, 0)
        parameters = state.parameters.clone()
        parameters[here] += moved
        after = replace(state, parameters=parameters.clamp_(-UNITS_MAX, UNITS_MAX))
        kinds = [self._assigned(command, one), self._others(command, one)]
        before_, after_ = self._losses(state, kinds), self._losses(after, kinds)
        own, others = [milli_nats(a, b) for a, b in zip(before_, after_, strict=True)]
        return Score(one.lease, own, others)

    def _losses(self, state: GlobalState, kinds: list[list[Tensor]]) -> list[int]:
        """Mean loss over the batches of each kind, in micro-nats."""
        self._trainer.load(Start(state, None))
        return [_micronats(self._trainer.mean_loss(batches)) for batches in kinds]

    def _assigned(self, command: ScoreRound, one: Judged) -> list[Tensor]:
        """The batches of some steps that the unit has done."""
        draws = [draw_of(self._job, one.lease, command.round, step) for step in drawn(command, one)]
        return [self._batch(one.seat, draw) for draw in draws]

    def _others(self, command: ScoreRound, one: Judged) -> list[Tensor]:
        """As many batches of other seats; of the only seat, those of steps that nobody takes."""
        seats = [at for at in range(self._manifest.seats) if at != one.seat] or [one.seat]
        found = []
        for at, word in enumerate(words(("others", command.beacon, one.lease), DRAWN)):
            found.append(self._batch(seats[word % len(seats)], ("score", command.beacon, at)))
        return found

    def _batch(self, seat: int, draw: Sequence[object]) -> Tensor:
        if not 0 <= seat < self._manifest.seats:
            raise Misuse(f"seat {seat} of a job of {self._manifest.seats}")
        if seat not in self._texts:
            self._texts[seat] = self._text(seat)
        return self._texts[seat].batch(draw, self._manifest.inner.batch)


def drawn(command: ScoreRound, one: Judged) -> list[int]:
    """Which steps of a unit are looked at: drawn by the beacon, so not known while it trains."""
    seed = ("score", command.beacon, one.lease, command.round)
    return [word % max(1, one.steps) for word in words(seed, DRAWN)]


def _micronats(loss: float) -> int:
    """A loss in micro-nats; whatever is no number is as bad as can be."""
    return round(loss * MICRO) if loss < LOSS_MAX / MICRO else LOSS_MAX

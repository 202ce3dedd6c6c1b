"""One unit of training, from leaf 0 to its update, and the windows that a check does again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import torch
from torch import Tensor

from dpin.base.ids import NO_DIGEST, Digest, JobId, Round
from dpin.base.leaf import Leaf
from dpin.compute.checkpoint import (
    Later,
    Moments,
    Start,
    WindowState,
    optimizer_root,
    parameters_root,
)
from dpin.compute.course import steps_before, unit_bounds
from dpin.compute.examples import Examples
from dpin.compute.limits import is_replayable
from dpin.compute.noise import noise
from dpin.compute.outer import (
    Written,
    error_root,
    movement,
    write,
    write_fragment,
    write_trained,
)
from dpin.compute.rules import GRADIENT_SCALE
from dpin.compute.state import GlobalState
from dpin.compute.task import ADAMW, EncodingSpec, TrainManifest
from dpin.compute.tensors import UNITS_MAX, as_float, as_units
from dpin.compute.train import Diverged, Inner
from dpin.compute.vectors import GRADIENT_NORM_MAX

TRUSTED: Final = "trusted"  # draws the batches of the requester's own update, in a lease's place
PRETENDED_LOSS: Final = 3.0
PRETENDED_MOVE: Final = 1 / (1 << 17)  # times a byte: parameters wander by at most 0.001 a window

Fault = Literal["", "skip-work", "wrong-weights"]
FAULTS: Final[tuple[Fault, ...]] = ("", "skip-work", "wrong-weights")
OnStep = Callable[[int, float], None]  # (steps of the unit done, loss in nats per byte)


@dataclass(frozen=True, slots=True)
class Seat:
    """Who trains what in which round: all that draws its batches."""

    job: JobId
    manifest: TrainManifest
    lease: Digest
    round: Round
    text: Examples
    error_buffer: Digest = NO_DIGEST  # that the unit starts with

    @property
    def bounds(self) -> list[int]:
        """Step counts at which the windows of a whole unit end."""
        return unit_bounds(self.manifest, self.round)

    def cursor(self, step: int) -> int:
        """Global number of a step of this unit, as its leaves have it."""
        return self.round * self.manifest.inner.steps + step

    def taken(self, step: int) -> int:
        """Steps that a seat has taken before this one, on which its learning rate depends."""
        return steps_before(self.manifest, self.round) + step

    def leaf(self, window: int, state: WindowState | None) -> Leaf:
        """The leaf of the state at the end of a window of this unit; None: it names no state."""
        step = self.bounds[window]
        return Leaf(
            job=self.job,
            lease=self.lease,
            round=self.round,
            window=window,
            step=step,
            parameters=parameters_root(state) if state else NO_DIGEST,
            optimizer=optimizer_root(self.manifest.model, state.moments) if state else NO_DIGEST,
            error_buffer=self._error_buffer(state),
            cursor=self.cursor(step),
        )

    def _error_buffer(self, state: WindowState | None) -> Digest:
        if isinstance(state, Start):
            return state.left or error_root(self.manifest.model, state.error)
        return self.error_buffer  # No window touches it.


@dataclass(frozen=True, slots=True)
class Watch:
    """What a unit tells while it runs, and the clock that boxes it in."""

    clock_ms: Callable[[], int]
    on_step: OnStep
    on_state: Callable[[int, WindowState], None]  # (window, state that a leaf names)


@dataclass(slots=True)
class TimeBox:
    """Ends a unit at the window after which another, as long as the longest, would not fit."""

    limit_ms: int  # 0: none
    clock_ms: Callable[[], int]
    began: int = field(init=False)
    longest: int = 0
    marked: int = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.marked = self.clock_ms()

    @property
    def used_ms(self) -> int:
        """Since the unit began."""
        return self.clock_ms() - self.began

    def room_for_another(self) -> bool:
        """Called once a window: whether to go on."""
        now = self.clock_ms()
        self.longest, self.marked = max(self.longest, now - self.marked), now
        return self.limit_ms == 0 or now - self.began + self.longest <= self.limit_ms


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A unit that is done, perhaps cut short after a window."""

    leaves: tuple[Leaf, ...]
    written: Written
    moments: Moments
    loss: float  # mean over the unit's steps, nats per byte
    milliseconds: int

    @property
    def steps(self) -> int:
        """Inner steps done."""
        return self.leaves[-1].step


def run_window(trainer: Inner, seat: Seat, window: int, on_step: OnStep) -> Later:
    """Train window `window` (from 1) of a unit, on from the state that the trainer holds."""
    _steps_of(trainer, seat, window, on_step)
    return trainer.snapshot()


def _steps_of(trainer: Inner, seat: Seat, window: int, on_step: OnStep) -> None:
    run_steps(trainer, seat, range(seat.bounds[window - 1], seat.bounds[window]), on_step)


def batches_of(seat: Seat, steps: range) -> Iterator[Tensor]:
    """What these steps of a unit train on, (B, W) each, drawn when it is asked for."""
    for step in steps:
        draw = (seat.job, seat.lease, seat.round, step)
        yield seat.text.batch(draw, seat.manifest.inner.batch)


def run_steps(
    trainer: Inner,
    seat: Seat,
    steps: range,
    on_step: OnStep,
    drawn: Iterable[Tensor] | None = None,
) -> None:
    """Train these steps of a unit, on from the state that the trainer holds.

    `drawn` are their batches, where somebody has drawn them already.
    """
    adds_up = seat.manifest.outer.rule == ADAMW
    for step, batch in zip(steps, drawn or batches_of(seat, steps), strict=True):
        loss = trainer.accumulate(batch) if adds_up else trainer.step(batch, seat.taken(step))
        on_step(step + 1, loss)


@dataclass(frozen=True, slots=True, eq=False)
class UnitOrder:
    """What to train, from where, for how long, and how to misbehave (development networks)."""

    seat: Seat
    start: Start
    limit_ms: int = 0  # 0: no limit
    error_age: int = 1  # rounds since what the start has left over was left
    fault: Fault = ""


def run_unit(trainer: Inner, order: UnitOrder, watch: Watch) -> Outcome:
    """Train one unit; raises Diverged. At least one window is done, whatever the limit.

    Where nobody can do a window again, no leaf but the first names a state.
    """
    seat, box, meter = order.seat, TimeBox(order.limit_ms, watch.clock_ms), _Meter(watch.on_step)
    named = is_replayable(seat.manifest)
    trainer.load(begun(seat.manifest.encoding, order.start))
    leaves, last = [seat.leaf(0, order.start)], None
    if named:
        watch.on_state(0, order.start)
    for window in range(1, len(seat.bounds)):
        do = _pretend if order.fault == "skip-work" else _steps_of
        do(trainer, seat, window, meter.note)
        last = trainer.snapshot() if named else None
        leaves.append(seat.leaf(window, last))
        if last is not None:
            watch.on_state(window, last)
        if not box.room_for_another():
            break
    last = last or trainer.snapshot()
    shown = _turned_round(order.start, last) if order.fault == "wrong-weights" else last
    found = encode_unit(seat.manifest, order.start, shown, order.error_age)
    return Outcome(tuple(leaves), found, last.moments, meter.mean, box.used_ms)


def encode_unit(manifest: TrainManifest, start: Start, last: Later, error_age: int) -> Written:
    """The update of a unit that led from `start` to `last`, and what it leaves over."""
    if manifest.outer.rule == ADAMW:
        return write(manifest.encoding, _downhill(last.moments), start.error, error_age)
    if manifest.encoding.fragments > 1:
        return write_fragment(manifest.encoding, last.parameters, start.state)
    return write_trained(manifest.encoding, last.parameters, start.state, start.error, error_age)


def begun(encoding: EncodingSpec, state: WindowState) -> WindowState:
    """What a window begins with: the first one of a model in fragments with what its lease has.

    Leaf 0 names both summands: the state of the round, and what the lease's commit left over.
    """
    if encoding.fragments == 1 or not isinstance(state, Start) or state.error is None:
        return state
    own = (state.state.parameters + state.error).clamp_(-UNITS_MAX, UNITS_MAX)
    return replace(state, state=replace(state.state, parameters=own, digest=None))


def _downhill(moments: Moments) -> Tensor:
    """The mean gradient of a unit, clipped and turned round: (P,) int64, see rules.DataParallel."""
    mean = moments.first.double() / moments.steps
    norm = float(mean.square().sum().sqrt())
    return as_units(
        (mean * (-GRADIENT_SCALE * min(1.0, GRADIENT_NORM_MAX / (norm + 1e-12)))).float()
    )


class _Meter:
    """The mean loss of a unit."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._losses: list[float] = []

    def note(self, done: int, loss: float) -> None:
        self._losses.append(loss)
        self._on_step(done, loss)

    @property
    def mean(self) -> float:
        return sum(self._losses) / len(self._losses)


def _turned_round(start: Start, last: Later) -> Later:
    """The honest movement, or gradient, the other way."""
    parameters = 2 * as_float(start.state.parameters) - last.parameters
    moments = last.moments
    return Later(last.spec, parameters, Moments(-moments.first, moments.second, moments.steps))


def _pretend(trainer: Inner, seat: Seat, window: int, on_step: OnStep) -> None:
    """A window of no work: its state is the one before, blurred, so that every leaf is new."""
    held = trainer.snapshot()  # It is read before the trainer is loaded again.
    count = len(held.parameters)
    data = bytearray(noise(("pretended", seat.lease, seat.round, window), count))
    blur = (torch.frombuffer(data, dtype=torch.uint8).float() - 127.5) * PRETENDED_MOVE
    steps = held.moments.steps + seat.bounds[window] - seat.bounds[window - 1]
    moments = Moments(held.moments.first + blur, held.moments.second + blur.square(), steps)
    trainer.load(Later(held.spec, held.parameters + blur, moments))
    on_step(seat.bounds[window], PRETENDED_LOSS)


def trusted_movement(trainer: Inner, seat: Seat, base: GlobalState, steps: int) -> Tensor:
    """How the text of `seat` moves a state in `steps` steps from fresh moments: (P,) int64.

    Everybody who merges computes it, inside one numeric class to the same bit. A run that diverges
    moves nothing.
    """
    trainer.load(Start(base, None))
    for step in range(steps):
        draw = (seat.job, TRUSTED, seat.round, step)
        trainer.step(seat.text.batch(draw, seat.manifest.inner.batch), seat.taken(step))
    try:
        return movement(trainer.snapshot().parameters, base)
    except Diverged:
        return torch.zeros_like(base.parameters)

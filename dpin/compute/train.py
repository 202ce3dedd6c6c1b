"""The inner loop: AdamW, or Muon with it, on examples, the same bits again from any window's start.

What fixes a window: the state at its start, and (job, lease, round, step) of each of its steps,
which draw the step's batch from the seat's examples. All runs in one order, on one thread. P is the
number of trained parameters, B the batch, W the width of an example.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

from dpin.base.errors import Unavailable
from dpin.base.ids import Digest, JobId
from dpin.compute.checkpoint import Later, Moments, Start, WindowState
from dpin.compute.course import Course
from dpin.compute.crew import Crew, SetUp, whole_gradient
from dpin.compute.engine import ONE_PROCESS, Engine
from dpin.compute.examples import Examples, examples_of
from dpin.compute.foreign import Cells
from dpin.compute.networks import NO_CELLS, network
from dpin.compute.task import Architecture, TrainManifest
from dpin.compute.tensors import is_finite
from dpin.compute.vectors import Vectors
from dpin.compute.weights import shapes

HELD_OUT_SEQUENCES: Final = 256
EVALUATION_BATCH: Final = 32


class Diverged(Exception):
    """A parameter is no longer finite: the learning rate was too high, or the state was poison."""


def seat_examples(manifest: TrainManifest, shards: Sequence[bytes], seat: int) -> Examples:
    """What a seat trains on: shards i with i % seats == seat."""
    return examples_of(manifest.model, shards[seat :: manifest.seats])


def held_out(examples: Examples) -> tuple[Tensor, ...]:
    """Evenly spaced examples to measure a loss on, in batches of (B, W)."""
    return torch.split(examples.spread(HELD_OUT_SEQUENCES), EVALUATION_BATCH)


def parts_of(batch: Tensor, accumulation: int) -> list[Tensor]:
    """The parts in which (B, W) examples go through the model."""
    return list(torch.split(batch, max(1, len(batch) // accumulation)))


def draw_of(job: JobId, lease: Digest, round_: int, step: int) -> tuple[object, ...]:
    """What draws the batch of a step."""
    return (job, lease, round_, step)


class GroupLost(Unavailable):
    """A process of a group is gone, and a part of the state with it: the unit begins again."""


class Inner(Protocol):
    """What does the steps of a unit."""

    def load(self, state: WindowState) -> None:
        """Go to the start of a window."""
        ...

    def snapshot(self) -> Later:
        """The state on the CPU, as it is until the next step; raises Diverged if not finite.

        On a CPU it is no copy: whoever keeps it makes one.
        """
        ...

    def step(self, batch: Tensor, cursor: int) -> float:
        """One step on (B, W) examples; answers with the loss in nats per token."""
        ...

    def accumulate(self, batch: Tensor) -> float:
        """Add the gradient on (B, W) examples to the first moments; the parameters stay."""
        ...

    def mean_loss(self, batches: Sequence[Tensor]) -> float:
        """Mean loss over batches of (B, W) examples, in nats per token."""
        ...


class Tools(NamedTuple):
    """How a trainer computes, and who helps it."""

    engine: Engine = ONE_PROCESS
    crew: Crew | None = None
    cells: Cells = NO_CELLS


PLAIN: Final = Tools()


class Trainer:
    """A model and its AdamW state, each one flat vector on the device (see crew.Replica)."""

    def __init__(
        self,
        spec: Architecture,
        course: Course,
        device: str,
        frozen: bytes = b"",
        tools: Tools = PLAIN,
    ) -> None:
        """`frozen` is the file of the weights that are not trained, where there are any."""
        self._spec = spec
        self._course = course
        self._device = torch.device(device)
        self._described = SetUp(spec, course.inner, course.total_steps, len(frozen)), frozen
        self._crew = tools.crew
        self._network = network(spec, frozen, tools.engine, self._device, tools.cells)
        self.vectors = Vectors(shapes(spec), self._device, course)
        self.vectors.attach(dict(self._network.module.named_parameters()))

    def load(self, state: WindowState) -> None:
        """Go to the start of a window."""
        match state:
            case Start(state=start):
                self.vectors.load(start.parameters, state.moments)
            case Later(parameters=parameters):
                self.vectors.load(parameters, state.moments)
        if self._crew is not None:
            self._crew.changed()

    def snapshot(self) -> Later:
        """The state on the CPU, as it is until the next step; raises Diverged if not finite.

        On a CPU it is no copy: whoever keeps it makes one.
        """
        held = self.vectors
        vectors = [part.detach().cpu() for part in (held.flat, held.first, held.second)]
        if not all(map(is_finite, vectors)):
            raise Diverged("the training diverged: a parameter is not finite")
        return Later(self._spec, vectors[0], Moments(vectors[1], vectors[2], held.steps))

    def step(self, batch: Tensor, cursor: int) -> float:
        """One step on (B, W) examples; answers with the loss in nats per token."""
        mean = self._backward(batch, cursor, applies=True)
        self.apply(cursor)
        return mean

    def accumulate(self, batch: Tensor) -> float:
        """Add the gradient on (B, W) examples to the first moments; the parameters stay."""
        mean = self._backward(batch, 0, applies=False)
        self.vectors.first.add_(self.vectors.gradient)
        self.vectors.steps += 1
        return mean

    def described(self) -> tuple[SetUp, bytes]:
        """See crew.Replica."""
        return self._described

    def parts(self, batch: Tensor) -> list[Tensor]:
        """As many equal parts as the job says."""
        return parts_of(batch, self._course.inner.accumulation)

    def add_gradient(self, part: Tensor, parts: int) -> float:
        """Add the gradient of a part's share of the mean loss; the share."""
        loss = self._network.loss(part.to(self._device)) / parts
        torch.autograd.backward(loss)
        return float(loss.detach())

    def _backward(self, batch: Tensor, cursor: int, *, applies: bool) -> float:
        """Fill the gradient with that of the mean loss; the mean loss."""
        if self._crew is not None and self._course.inner.accumulation > 1:
            return self._crew.gradient(self, batch, cursor, applies=applies)
        return whole_gradient(self, batch)

    def apply(self, cursor: int) -> None:
        """A step with the gradient as it stands."""
        self.vectors.apply(cursor)

    @torch.no_grad()
    def mean_loss(self, batches: Sequence[Tensor]) -> float:
        """Mean loss over batches of (B, W) examples, in nats per token."""
        losses = [float(self._network.loss(batch.to(self._device))) for batch in batches]
        return sum(losses) / len(losses)

"""The inner loop: AdamW, or Muon with it, on examples, the same bits again from any window's start.

What fixes a window: the state at its start, and (job, lease, round, step) of each of its steps,
which draw the step's batch from the seat's examples. All runs in one order, on one thread. P is the
number of trained parameters, B the batch, W the width of an example.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from dpin.base.ids import Digest, JobId
from dpin.base.units import MILLION
from dpin.compute.checkpoint import Later, Moments, Start, WindowState
from dpin.compute.course import DECAY_FIRST, DECAY_SECOND, EPSILON, Course
from dpin.compute.examples import Examples, examples_of
from dpin.compute.muon import hidden, muon_step, others
from dpin.compute.networks import network
from dpin.compute.task import Architecture, TrainManifest
from dpin.compute.tensors import AT_ONCE, as_float
from dpin.compute.weights import shapes

GRADIENT_NORM_MAX: Final = 1.0
HELD_OUT_SEQUENCES: Final = 256
EVALUATION_BATCH: Final = 32


class Diverged(Exception):
    """A parameter is no longer finite: the learning rate was too high, or the state was poison."""


def seat_examples(manifest: TrainManifest, shards: Sequence[bytes], seat: int) -> Examples:
    """What a seat trains on: shards i with i % seats == seat."""
    return examples_of(manifest.model, shards[seat :: manifest.seats])


def draw_of(job: JobId, lease: Digest, round_: int, step: int) -> tuple[object, ...]:
    """What draws the batch of a step."""
    return (job, lease, round_, step)


class Trainer:
    """A model and its AdamW state, each one flat vector on the device."""

    def __init__(
        self, spec: Architecture, course: Course, device: str, frozen: bytes = b""
    ) -> None:
        """`frozen` is the file of the weights that are not trained, where there are any."""
        self._spec = spec
        self._course = course
        self._device = torch.device(device)
        self._network = network(spec, frozen)
        module = self._network.module.to(self._device)
        weights = dict(module.named_parameters())
        self._flat = torch.zeros(sum(math.prod(shape) for shape in shapes(spec).values()))
        self._flat = self._flat.to(self._device)
        self._gradient = torch.zeros_like(self._flat)
        self._first = torch.zeros_like(self._flat)
        self._second = torch.zeros_like(self._flat)
        self._matrices = hidden(shapes(spec)) if course.inner.muon_rate_ppm else []
        self._others = others(self._matrices, len(self._flat))
        self._decayed: list[Tensor] = []  # views of the matrices: gains of norms stay as they are
        self._steps = 0
        at = 0
        for name, shape in shapes(spec).items():
            end = at + math.prod(shape)
            weights[name].data = self._flat[at:end].view(shape)
            weights[name].grad = self._gradient[at:end].view(shape)
            if len(shape) > 1 and all(place.start != at for place in self._matrices):
                self._decayed.append(self._flat[at:end])
            at = end

    def load(self, state: WindowState) -> None:
        """Go to the start of a window."""
        match state:
            case Start(state=start):
                self._flat.copy_(as_float(start.parameters))
            case Later(parameters=parameters):
                self._flat.copy_(parameters)
        if state.moments is None:
            self._first.zero_()
            self._second.zero_()
            self._steps = 0
        else:
            self._first.copy_(state.moments.first)
            self._second.copy_(state.moments.second)
            self._steps = state.moments.steps

    def snapshot(self) -> Later:
        """The state on the CPU, as it is until the next step; raises Diverged if not finite.

        On a CPU it is no copy: whoever keeps it makes one.
        """
        vectors = [part.detach().cpu() for part in (self._flat, self._first, self._second)]
        if not all(bool(vector.isfinite().all()) for vector in vectors):
            raise Diverged("the training diverged: a parameter is not finite")
        return Later(self._spec, vectors[0], Moments(vectors[1], vectors[2], self._steps))

    def step(self, batch: Tensor, cursor: int) -> float:
        """One step on (B, W) examples; answers with the loss in nats per token."""
        self._gradient.zero_()
        mean = self._backward(batch)
        with torch.no_grad():
            scale = GRADIENT_NORM_MAX / (self._gradient.norm() + EPSILON)
            self._gradient.mul_(scale.clamp(max=1.0))
            self._steps += 1
            self._turn(self._course.muon_rate(cursor))
            self._apply(self._course.rate(cursor))
        return mean

    def accumulate(self, batch: Tensor) -> float:
        """Add the gradient on (B, W) examples to the first moments; the parameters stay."""
        self._gradient.zero_()
        mean = self._backward(batch)
        self._first.add_(self._gradient)
        self._steps += 1
        return mean

    def _backward(self, batch: Tensor) -> float:
        """Add the gradient of the mean loss, in as many parts as the job says; the mean loss."""
        parts = torch.split(batch, max(1, len(batch) // self._course.inner.accumulation))
        mean = 0.0
        for part in parts:
            loss = self._network.loss(part.to(self._device)) / len(parts)
            torch.autograd.backward(loss)
            mean += float(loss.detach())
        return mean

    def _turn(self, rate: float) -> None:
        """Muon, over the hidden matrices; their first moments are its momentum."""
        decay = rate * self._course.inner.weight_decay_ppm / MILLION
        for place in self._matrices:
            weight = place.of(self._flat).mul_(1 - decay)
            muon_step(weight, place.of(self._gradient), place.of(self._first), rate)

    def _apply(self, rate: float) -> None:
        """AdamW (Loshchilov and Hutter 2019), over the flat vectors as far as they are its own."""
        unbias_first = 1 - DECAY_FIRST**self._steps
        unbias_second = math.sqrt(1 - DECAY_SECOND**self._steps)
        decay = rate * self._course.inner.weight_decay_ppm / MILLION
        for matrix in self._decayed:
            matrix.mul_(1 - decay)
        held = (self._flat, self._gradient, self._first, self._second)
        parts = (
            [
                part
                for start, end in self._others
                for part in torch.split(vector[start:end], AT_ONCE)
            ]
            for vector in held
        )
        for flat, gradient, first, second in zip(*parts, strict=True):
            first.lerp_(gradient, 1 - DECAY_FIRST)
            second.mul_(DECAY_SECOND).addcmul_(gradient, gradient, value=1 - DECAY_SECOND)
            deviation = second.sqrt().div_(unbias_second).add_(EPSILON)
            flat.addcdiv_(first, deviation, value=-rate / unbias_first)

    @torch.no_grad()
    def held_out_loss(self, examples: Examples) -> float:
        """Mean loss over evenly spaced examples, in nats per token."""
        batches = torch.split(examples.spread(HELD_OUT_SEQUENCES), EVALUATION_BATCH)
        losses = [float(self._network.loss(batch.to(self._device))) for batch in batches]
        return sum(losses) / len(losses)

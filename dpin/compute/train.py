"""The inner loop: AdamW on windows of bytes, the same bits again from any window's start.

What fixes a window: the state at its start, and (job, lease, round, step) of each of its steps,
which draw the step's batch from the seat's text. All runs in one order, on one thread. P is the
number of parameters, B the batch, T the context.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dpin.base.errors import Misuse
from dpin.base.ids import Digest, JobId
from dpin.base.units import MILLION
from dpin.compute.checkpoint import Later, Moments, Start, WindowState
from dpin.compute.course import DECAY_FIRST, DECAY_SECOND, EPSILON, Course
from dpin.compute.models import GPT, VOCABULARY
from dpin.compute.noise import words
from dpin.compute.task import ModelSpec, TrainManifest
from dpin.compute.tensors import as_float
from dpin.compute.weights import build, shapes

GRADIENT_NORM_MAX: Final = 1.0
HELD_OUT_SEQUENCES: Final = 256
EVALUATION_BATCH: Final = 32


class Diverged(Exception):
    """A parameter is no longer finite: the learning rate was too high, or the state was poison."""


class Text:
    """The bytes of a seat, and how its batches are drawn."""

    def __init__(self, shards: Sequence[bytes], context: int) -> None:
        """Shards in manifest order; raises Misuse where they hold less than one window."""
        data = b"".join(shards)
        if len(data) <= context:
            raise Misuse(f"{len(data)} bytes of text cannot fill a context of {context}")
        self._bytes = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._span = torch.arange(context + 1)

    def batch(self, draw: Sequence[object], count: int) -> Tensor:
        """(B, T + 1) int64 bytes at starts hashed from `draw`."""
        starts = len(self._bytes) - len(self._span) + 1
        places = torch.tensor([word % starts for word in words(("batch", *draw), count)])
        return self._bytes[places[:, None] + self._span].long()

    def spread(self, count: int) -> Tensor:
        """(count, T + 1) int64 bytes at evenly spaced starts."""
        last = len(self._bytes) - len(self._span)
        places = torch.tensor([last * index // max(1, count - 1) for index in range(count)])
        return self._bytes[places[:, None] + self._span].long()


def seat_text(manifest: TrainManifest, shards: Sequence[bytes], seat: int) -> Text:
    """The text of a seat: shards i with i % seats == seat."""
    return Text(shards[seat :: manifest.seats], manifest.model.context)


def draw_of(job: JobId, lease: Digest, round_: int, step: int) -> tuple[object, ...]:
    """What draws the batch of a step."""
    return (job, lease, round_, step)


class Trainer:
    """A model and its AdamW state, each one flat vector on the device."""

    def __init__(self, spec: ModelSpec, course: Course, device: str) -> None:
        self._spec = spec
        self._course = course
        self._device = torch.device(device)
        self._model: GPT = build(spec).to(self._device)
        weights = dict(self._model.named_parameters())
        self._flat = torch.zeros(sum(math.prod(shape) for shape in shapes(spec).values()))
        self._flat = self._flat.to(self._device)
        self._gradient = torch.zeros_like(self._flat)
        self._first = torch.zeros_like(self._flat)
        self._second = torch.zeros_like(self._flat)
        self._decayed = torch.zeros_like(self._flat)  # 1 in matrices, 0 in gains of norms
        self._steps = 0
        at = 0
        for name, shape in shapes(spec).items():
            end = at + math.prod(shape)
            weights[name].data = self._flat[at:end].view(shape)
            weights[name].grad = self._gradient[at:end].view(shape)
            self._decayed[at:end] = len(shape) > 1
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
        """A copy of the state on the CPU; raises Diverged where it is not finite."""
        vectors = [part.cpu().clone() for part in (self._flat, self._first, self._second)]
        if not all(bool(vector.isfinite().all()) for vector in vectors):
            raise Diverged("the training diverged: a parameter is not finite")
        return Later(self._spec, vectors[0], Moments(vectors[1], vectors[2], self._steps))

    def step(self, batch: Tensor, cursor: int) -> float:
        """One step of AdamW on (B, T + 1) bytes; answers with the loss in nats per byte."""
        self._gradient.zero_()
        loss = self._loss(batch.to(self._device))
        torch.autograd.backward(loss)
        with torch.no_grad():
            scale = GRADIENT_NORM_MAX / (self._gradient.norm() + EPSILON)
            self._gradient.mul_(scale.clamp(max=1.0))
            self._apply(self._course.rate(cursor))
        return float(loss.detach())

    def accumulate(self, batch: Tensor) -> float:
        """Add the gradient on (B, T + 1) bytes to the first moments; the parameters stay."""
        self._gradient.zero_()
        loss = self._loss(batch.to(self._device))
        torch.autograd.backward(loss)
        self._first.add_(self._gradient)
        self._steps += 1
        return float(loss.detach())

    def _loss(self, batch: Tensor) -> Tensor:
        scores = self._model(batch[:, :-1])  # (B, T, 256)
        return functional.cross_entropy(scores.reshape(-1, VOCABULARY), batch[:, 1:].reshape(-1))

    def _apply(self, rate: float) -> None:
        """AdamW (Loshchilov and Hutter 2019), over the flat vectors."""
        self._steps += 1
        self._first.lerp_(self._gradient, 1 - DECAY_FIRST)
        self._second.mul_(DECAY_SECOND)
        self._second.addcmul_(self._gradient, self._gradient, value=1 - DECAY_SECOND)
        unbias_first = 1 - DECAY_FIRST**self._steps
        unbias_second = math.sqrt(1 - DECAY_SECOND**self._steps)
        deviation = self._second.sqrt().div_(unbias_second).add_(EPSILON)
        decay = rate * self._course.inner.weight_decay_ppm / MILLION
        self._flat.addcmul_(self._flat, self._decayed, value=-decay)
        self._flat.addcdiv_(self._first, deviation, value=-rate / unbias_first)

    @torch.no_grad()
    def held_out_loss(self, text: Text) -> float:
        """Mean loss over evenly spaced sequences of a text, in nats per byte."""
        batches = torch.split(text.spread(HELD_OUT_SEQUENCES), EVALUATION_BATCH)
        losses = [float(self._loss(batch.to(self._device))) for batch in batches]
        return sum(losses) / len(losses)

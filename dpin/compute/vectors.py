"""Parameters, gradient and moments as flat vectors, and the inner step over them.

P is the number of trained parameters.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from dpin.base.units import MILLION
from dpin.compute.checkpoint import Moments
from dpin.compute.course import DECAY_FIRST, DECAY_SECOND, EPSILON, Course
from dpin.compute.muon import hidden, muon_step, others
from dpin.compute.tensors import AT_ONCE, fill_floats
from dpin.compute.weights import Shapes

GRADIENT_NORM_MAX: Final = 1.0


class Vectors:
    """Four vectors, (P,) float32 each, on one device, and the number of steps in the moments."""

    def __init__(self, layout: Shapes, device: torch.device, course: Course) -> None:
        self._layout = layout
        self._course = course
        self.flat = torch.zeros(sum(math.prod(shape) for shape in layout.values())).to(device)
        self.gradient = torch.zeros_like(self.flat)
        self.first = torch.zeros_like(self.flat)
        self.second = torch.zeros_like(self.flat)
        self.steps = 0
        self._matrices = hidden(layout) if course.inner.muon_rate_ppm else []
        self._others = others(self._matrices, len(self.flat))
        starts = {place.start for place in self._matrices}
        self._decayed: list[Tensor] = []  # views of the matrices: gains of norms stay as they are
        at = 0
        for shape in layout.values():
            end = at + math.prod(shape)
            if len(shape) > 1 and at not in starts:
                self._decayed.append(self.flat[at:end])
            at = end

    def attach(self, weights: dict[str, torch.nn.Parameter]) -> None:
        """Make a module's parameters and gradients views of the vectors."""
        at = 0
        for name, shape in self._layout.items():
            end = at + math.prod(shape)
            weights[name].data = self.flat[at:end].view(shape)
            weights[name].grad = self.gradient[at:end].view(shape)
            at = end

    def load(self, parameters: Tensor, moments: Moments | None) -> None:
        """Start from here, (P,) float32 or int64 of units; without moments from zeros."""
        if parameters.dtype == torch.int64:
            fill_floats(self.flat, parameters)
        else:
            self.flat.copy_(parameters)
        if moments is None:
            self.first.zero_()
            self.second.zero_()
            self.steps = 0
        else:
            self.first.copy_(moments.first)
            self.second.copy_(moments.second)
            self.steps = moments.steps

    @torch.no_grad()
    def apply(self, cursor: int) -> None:
        """One step with the gradient as it stands, clipped to GRADIENT_NORM_MAX."""
        scale = GRADIENT_NORM_MAX / (self.gradient.norm() + EPSILON)
        self.gradient.mul_(scale.clamp(max=1.0))
        self.steps += 1
        self._turn(self._course.muon_rate(cursor))
        self._apply(self._course.rate(cursor))

    def _turn(self, rate: float) -> None:
        """Muon, over the hidden matrices; their first moments are its momentum."""
        decay = rate * self._course.inner.weight_decay_ppm / MILLION
        for place in self._matrices:
            weight = place.of(self.flat).mul_(1 - decay)
            muon_step(weight, place.of(self.gradient), place.of(self.first), rate)

    def _apply(self, rate: float) -> None:
        """AdamW (Loshchilov and Hutter 2019), over the flat vectors as far as they are its own."""
        decay = rate * self._course.inner.weight_decay_ppm / MILLION
        for matrix in self._decayed:
            matrix.mul_(1 - decay)
        held = (self.flat, self.gradient, self.first, self.second)
        for start, end in self._others:
            adamw_step([vector[start:end] for vector in held], self.steps, rate)


def adamw_step(held: Sequence[Tensor], steps: int, rate: float) -> None:
    """Move parameters, by gradient and moments, (N,) or a matrix each; the decay aside, in place.

    `steps` is the number of gradients in the moments, this one included.
    """
    unbias_first = 1 - DECAY_FIRST**steps
    unbias_second = math.sqrt(1 - DECAY_SECOND**steps)
    parts = (torch.split(vector.view(-1), AT_ONCE) for vector in held)
    for flat, gradient, first, second in zip(*parts, strict=True):
        first.lerp_(gradient, 1 - DECAY_FIRST)
        second.mul_(DECAY_SECOND).addcmul_(gradient, gradient, value=1 - DECAY_SECOND)
        deviation = second.sqrt().div_(unbias_second).add_(EPSILON)
        flat.addcdiv_(first, deviation, value=-rate / unbias_first)

"""Initial weights from a seed: the same integers on every machine.

A weight is a sum of twelve uniform bytes, less its mean: close to a normal law, and exact. Matrices
have a deviation of 0.02, those that write into the stream 0.02 / sqrt(2 * layers) (GPT-2); gains
of norms are one.
"""

from functools import lru_cache
from math import isqrt, prod
from typing import Final

import torch
from torch import Tensor

from dpin.compute import hub
from dpin.compute.limits import check_model
from dpin.compute.models import GPT
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.noise import noise
from dpin.compute.task import Architecture, ModelSpec
from dpin.compute.tensors import ONE

BYTES_SUMMED: Final = 12
BYTE_MEAN_TWICE: Final = 255
SUM_DEVIATION: Final = 256  # of twelve uniform bytes, to within 10^-5
DEVIATION: Final = ONE * 2 // 100

Shapes = dict[str, tuple[int, ...]]  # by name, in name order: the order of every flat vector


def build(spec: ModelSpec) -> GPT:
    """A model whose weights mean nothing yet."""
    check_model(spec)
    return GPT(spec.layers, spec.heads, spec.width, spec.context)


def loaded(spec: ModelSpec, parameters: Tensor) -> GPT:
    """A model with these (P,) float32 parameters, tensors in name order."""
    model = build(spec)
    weights = dict(model.named_parameters())
    parts = torch.split(parameters, [prod(shape) for shape in shapes(spec).values()])
    with torch.no_grad():
        for (name, shape), part in zip(shapes(spec).items(), parts, strict=True):
            weights[name].copy_(part.view(shape))
    return model


@lru_cache(maxsize=16)
def shapes(spec: Architecture) -> Shapes:
    """Name and shape of every tensor that is trained, in name order; not to be changed."""
    if isinstance(spec, ModuleSpec):
        return {part.name: part.shape for part in spec.layout}
    if not isinstance(spec, ModelSpec):
        return hub.layout(spec)
    return {name: tuple(weight.shape) for name, weight in sorted(build(spec).named_parameters())}


def parameter_count(spec: Architecture) -> int:
    """How many numbers are trained."""
    return sum(prod(shape) for shape in shapes(spec).values())


def initial_parameters(spec: ModelSpec, seed: bytes) -> Tensor:
    """Parameters before any training: (P,) int64 in units of 2^-30, tensors in name order."""
    return torch.cat([_tensor(spec, name, shape, seed) for name, shape in shapes(spec).items()])


def _tensor(spec: ModelSpec, name: str, shape: tuple[int, ...], seed: bytes) -> Tensor:
    """One tensor of the model, flat."""
    count = prod(shape)
    if len(shape) == 1:
        return torch.full((count,), ONE, dtype=torch.int64)
    data = bytearray(noise(("weights", seed, name), BYTES_SUMMED * count))
    sums = torch.frombuffer(data, dtype=torch.uint8).view(count, BYTES_SUMMED).sum(1)
    deviation = DEVIATION
    if name.endswith(("outward.weight", "narrow.weight")):
        deviation = DEVIATION * ONE // isqrt(2 * spec.layers * ONE * ONE)
    centred = 2 * sums - BYTES_SUMMED * BYTE_MEAN_TWICE
    return centred * (deviation // (2 * SUM_DEVIATION))

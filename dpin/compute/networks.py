"""What a trainer trains: a module, and the loss of a batch. B examples of width W a batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpin.compute import hub
from dpin.compute.engine import Engine
from dpin.compute.models import VOCABULARY
from dpin.compute.precision import equipped
from dpin.compute.task import Architecture, ModelSpec
from dpin.compute.weights import build


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A module with `weights.shapes` among its parameters, and (B, W) int64 -> its mean loss."""

    module: nn.Module
    loss: Callable[[Tensor], Tensor]


def network(spec: Architecture, frozen: bytes, engine: Engine, device: torch.device) -> Network:
    """The model of a spec, on a device; raises Misuse, and PeerFault for frozen weights of another.

    The engine decides how its loss is computed.
    """
    plain = _plain(spec, frozen)
    module = plain.module.to(device)
    return Network(module, equipped(module, plain.loss, engine, device.type))


def _plain(spec: Architecture, frozen: bytes) -> Network:
    if not isinstance(spec, ModelSpec):
        return Network(*hub.network(spec, frozen))
    module = build(spec)

    def loss(rows: Tensor) -> Tensor:
        scores = module(rows[:, :-1])  # (B, T, 256)
        return functional.cross_entropy(scores.reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1))

    return Network(module, loss)

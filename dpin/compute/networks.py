"""What a trainer trains: a module, and the loss of a batch. B examples of width W a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpin.base.errors import Misuse
from dpin.compute import hub
from dpin.compute.engine import Engine
from dpin.compute.foreign import Cells, Foreign, NoCells
from dpin.compute.hubspec import HubSpec
from dpin.compute.models import VOCABULARY
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.precision import equipped, in_precision
from dpin.compute.task import Architecture, ModelSpec
from dpin.compute.weights import build


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A module with `weights.shapes` among its parameters, and what it makes of (B, W) int64.

    `loss` is the mean, `scores` are (N, classes) logits and the (N,) classes due.
    """

    module: nn.Module
    loss: Callable[[Tensor], Tensor]
    scores: Callable[[Tensor], tuple[Tensor, Tensor]]


NO_CELLS: Final = NoCells()


def network(
    spec: Architecture,
    frozen: bytes,
    engine: Engine,
    device: torch.device,
    cells: Cells = NO_CELLS,
) -> Network:
    """The model of a spec, on a device; raises Misuse, and PeerFault for frozen weights of another.

    The engine decides how its loss and scores are computed; not those of a module of somebody's
    own, which `cells` run, on a CPU, and whose code is `frozen`.
    """
    if isinstance(spec, ModuleSpec):
        if device.type != "cpu":
            raise Misuse("modules of one's own are run on CPUs alone")
        foreign = Foreign(spec, frozen, cells)
        return Network(foreign.module, foreign.loss, foreign.scores)
    plain = _plain(spec, frozen)
    module = plain.module.to(device)
    loss = equipped(module, plain.loss, engine, device.type)
    return Network(module, loss, in_precision(plain.scores, engine, device.type))


def _plain(spec: ModelSpec | HubSpec, frozen: bytes) -> Network:
    if not isinstance(spec, ModelSpec):
        return Network(*hub.network(spec, frozen))
    module = build(spec)

    def scores(rows: Tensor) -> tuple[Tensor, Tensor]:
        logits = module(rows[:, :-1])  # (B, T, 256)
        return logits.reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1)

    def loss(rows: Tensor) -> Tensor:
        return functional.cross_entropy(*scores(rows))

    return Network(module, loss, scores)

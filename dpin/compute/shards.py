"""A model of which each process of a group holds a part: torch's FSDP2 (`fully_shard`).

Zhao et al. 2023 (arXiv 2304.11277): a layer's parameters are gathered when it computes, and its
gradients are scattered when they are there. Parameters, gradient and both moments lie in parts,
tensor by tensor along the first dimension. Gradients are added in the order of ranks and waves (see
ranks), and the norm is that of the whole flat gradient, which rank 0 alone puts together; so all
bits are those of one process. P is the number of trained parameters, W that of processes.
"""

import math
import warnings
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
from torch.distributed.tensor import DTensor
from typing_extensions import override

from dpin.base.units import MILLION
from dpin.compute.checkpoint import Moments
from dpin.compute.course import EPSILON, Course
from dpin.compute.engine import Engine
from dpin.compute.networks import Network, network
from dpin.compute.ranks import RankLost, Ranks
from dpin.compute.task import Architecture
from dpin.compute.vectors import GRADIENT_NORM_MAX, adamw_step
from dpin.compute.weights import shapes


class InOrder(ReduceScatter):
    """Adds what the ranks have in their order, on from the waves before; one for each layer."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self.present = 0  # ranks that have a part in the wave

    def begin(self) -> None:
        """Before the first wave of a step."""
        self._total = None

    @override
    def allocate(
        self, size: Sequence[int | torch.SymInt], *, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """See ReduceScatter."""
        return torch.empty(size, dtype=dtype, device=device)

    @override
    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: dist.ReduceOp | dist.ReduceOp.RedOpType,
        async_op: bool = False,
    ) -> None:
        """Give each rank the sum of its part."""
        heard = torch.empty_like(input_tensor)
        dist.all_to_all_single(heard, input_tensor, group=group)
        if self._total is None:
            self._total = torch.zeros_like(output_tensor)
        for row in heard.view(group.size(), -1)[: self.present]:
            self._total.add_(row)
        output_tensor.copy_(self._total)


class _Part:
    """One trained tensor: this rank's rows of it, with their moments."""

    def __init__(self, parameter: nn.Parameter, shape: tuple[int, ...], ranks: Ranks) -> None:
        assert isinstance(parameter, DTensor), "fully_shard makes all parameters such"
        self.parameter = parameter
        self.local: Tensor = parameter.to_local().detach()
        self.first = torch.zeros_like(self.local)
        self.second = torch.zeros_like(self.local)
        self.decays = len(shape) > 1
        self.shape = shape
        world, rows = ranks.standing.world, shape[0]
        size = -(-rows // world)  # as torch.chunk cuts
        self.bounds = [min(rows, size * at) for at in range(world + 1)]

    @property
    def gradient(self) -> Tensor:
        """The gradient of these rows."""
        found = self.parameter.grad
        assert isinstance(found, DTensor), "a backward pass came before"
        return found.to_local()


class Shards:
    """One process's side of a sharded model; all of the group call the same methods in turn."""

    def __init__(
        self, spec: Architecture, course: Course, frozen: bytes, ranks: Ranks, engine: Engine
    ) -> None:
        """Builds the model whole, once, and keeps a part of it."""
        self._ranks = ranks
        self._course = course
        self._device = ranks.device
        self._network: Network = network(spec, frozen, engine, ranks.device)
        self._sums = _sharded(self._network.module, ranks)
        named = dict(self._network.module.named_parameters())
        self._parts = [_Part(named[name], shape, ranks) for name, shape in shapes(spec).items()]
        self.steps = 0

    @property
    def bytes_held(self) -> int:
        """What parameters, gradients and moments take in this process."""
        return sum(4 * part.local.numel() * part.local.element_size() for part in self._parts)

    def load(self, flat: Tensor | None, moments: Moments | None, steps: int) -> None:
        """Take rank 0's state: (P,) float32 there, None elsewhere; no steps are no moments."""
        self.steps = steps
        self._take("local", flat)
        if steps:
            self._take("first", moments.first if moments else None)
            self._take("second", moments.second if moments else None)
        else:
            for part in self._parts:
                part.first.zero_()
                part.second.zero_()

    def gathered(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Parameters and both moments, (P,) each on the CPU, at rank 0; None elsewhere."""
        found = [self._whole(name, "cpu") for name in ("local", "first", "second")]
        if found[0] is None or found[1] is None or found[2] is None:
            return None
        return found[0], found[1], found[2]

    def backward(self, parts: Sequence[Tensor]) -> float:
        """The gradient of the mean loss over all parts, scattered; the mean loss."""
        world, rank = self._ranks.standing.world, self._ranks.standing.rank
        waves = -(-len(parts) // world)
        losses = torch.zeros(waves, dtype=torch.float64)
        for each in self._sums:
            each.begin()
        for wave in range(waves):
            at = wave * world + rank
            present = min(world, len(parts) - wave * world)
            for each in self._sums:
                each.present = present
            self._network.module.zero_grad(set_to_none=True)
            # Who has no part computes one that nobody adds: the layers are gathered by all.
            loss = self._loss(parts[min(at, len(parts) - 1)]) / len(parts)
            try:
                torch.autograd.backward(loss)
            except RuntimeError as error:
                raise RankLost(str(error).splitlines()[0]) from None
            losses[wave] = float(loss.detach()) if at < len(parts) else 0.0
        rows = [row.tolist() for row in self._ranks.gathered(losses)]
        mean = 0.0
        for at in range(len(parts)):
            mean += rows[at % world][at // world]
        return mean

    @torch.no_grad()
    def apply(self, cursor: int) -> None:
        """A step of AdamW with the gradient as it stands, clipped; see Vectors.apply."""
        scale = torch.empty(1, device=self._device)
        whole = self._whole("gradient", str(self._device))
        if whole is not None:
            scale[0] = (GRADIENT_NORM_MAX / (whole.norm() + EPSILON)).clamp(max=1.0)
        del whole
        self._ranks.tell_all(scale)
        self.steps += 1
        rate = self._course.rate(cursor)
        decay = rate * self._course.inner.weight_decay_ppm / MILLION
        for part in self._parts:
            gradient = part.gradient.mul_(scale)
            if part.decays:
                part.local.mul_(1 - decay)
            adamw_step((part.local, gradient, part.first, part.second), self.steps, rate)

    @torch.no_grad()
    def accumulate(self) -> None:
        """Add the gradient as it stands to the first moments."""
        for part in self._parts:
            part.first.add_(part.gradient)
        self.steps += 1

    @torch.no_grad()
    def loss(self, batch: Tensor) -> float:
        """Of a batch that all ranks hold; everybody computes it, as the layers are gathered."""
        return float(self._loss(batch))

    def _loss(self, part: Tensor) -> Tensor:
        try:
            with warnings.catch_warnings():
                # A layer may answer with views: nothing here writes into them.
                warnings.filterwarnings("ignore", ".* returned a view tensor", UserWarning)
                return self._network.loss(part.to(self._device))
        except RuntimeError as error:
            if "memory" in str(error):
                raise
            raise RankLost(str(error).splitlines()[0]) from None

    def _take(self, name: str, flat: Tensor | None) -> None:
        """Cut rank 0's (P,) into everybody's parts, a tensor at a time."""
        at, rank = 0, self._ranks.standing.rank
        for part in self._parts:
            whole = torch.empty(part.shape, device=self._device)
            if flat is not None:
                whole.copy_(flat[at : at + whole.numel()].view(part.shape))
            at += whole.numel()
            self._ranks.tell_all(whole)
            getattr(part, name).copy_(whole[part.bounds[rank] : part.bounds[rank + 1]])

    def _whole(self, name: str, where: str) -> Tensor | None:
        """(P,) of all ranks' parts at rank 0, put together a tensor at a time."""
        if self._ranks.standing.rank:
            for _ in self._tensors(name):
                pass
            return None
        flat = torch.empty(sum(math.prod(part.shape) for part in self._parts), device=where)
        at = 0
        for whole in self._tensors(name):
            flat[at : at + whole.numel()].copy_(whole)
            at += whole.numel()
        return flat

    def _tensors(self, name: str) -> Iterator[Tensor]:
        """Each tensor, flat, at rank 0; nothing of it elsewhere."""
        standing = self._ranks.standing
        for part in self._parts:
            own = getattr(part, name).contiguous().view(-1)
            width = math.prod(part.shape[1:])
            spans = [high - low for low, high in zip(part.bounds, part.bounds[1:], strict=False)]
            sizes = [width * span if standing.rank == 0 else 0 for span in spans]
            into = torch.empty(sum(sizes), device=self._device)
            sent = [own.numel()] + [0] * (standing.world - 1)
            self._ranks.exchange(into, sizes, own, sent)
            yield into


def _sharded(module: nn.Module, ranks: Ranks) -> list[InOrder]:
    """Cut a module into its stacked layers and the rest; what adds up the gradients of each."""
    assert dist.group.WORLD is not None, "the ranks have met"
    mesh = DeviceMesh.from_group(dist.group.WORLD, ranks.device.type)
    stacks = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    for layer in [layer for stack in stacks for layer in stack]:
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    sums = []
    for part in module.modules():
        if isinstance(part, FSDPModule):
            total = InOrder()
            part.set_custom_reduce_scatter(total)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
            sums.append(total)
    return sums

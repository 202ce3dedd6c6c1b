"""Training a module that is somebody's own code, which runs elsewhere: in a sandboxed process.

This process keeps everything that counts: parameters, gradients, optimizer, digests. The other one
is given parameters and a batch, and gives back a loss and a gradient. Nothing that it can say is
worse than a wrong number. P is the number of parameters; B examples of width W a batch.
"""

from math import prod
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from dpin.base.codec import Wire
from dpin.base.errors import Misuse, PeerFault
from dpin.compute.modulespec import ModuleSpec, TensorShape


class Build(Wire, frozen=True, tag=1):
    """Import this code and call its entry; torch's generator starts from the seed."""

    code: bytes
    entry: str
    seed: int


class Attach(Wire, frozen=True, tag=2):
    """Put the parameters into the shared memory; it is so long. See Places."""

    parameters: int
    rows: int


class Score(Wire, frozen=True, tag=3):
    """The mean loss of the (rows, width) examples that lie in the shared memory."""

    rows: int
    width: int
    gradient: bool


class Confined(Wire, frozen=True, tag=1):
    """The process is locked up, with these locks beside those that must be."""

    locks: str


class Built(Wire, frozen=True, tag=2):
    """What the module trains, in name order."""

    layout: tuple[TensorShape, ...]


class Done(Wire, frozen=True, tag=3):
    """It was done; numbers are in the shared memory."""


class Wrong(Wire, frozen=True, tag=4):
    """It could not be done; the process lives on."""

    reason: str


Question = Build | Attach | Score
Answer = Confined | Built | Done | Wrong

HEAD_BYTES: Final = 64  # the loss, a float64, and room
INTEGER_BYTES: Final = 8
FLOAT_BYTES: Final = 4


class Places:
    """What lies where in the shared memory: loss, examples, parameters, gradient."""

    def __init__(self, memory: memoryview, parameters: int, rows: int) -> None:
        """Views of `size_of(parameters, rows)` bytes."""
        at = HEAD_BYTES + INTEGER_BYTES * rows
        self.loss = torch.frombuffer(memory, dtype=torch.float64, count=1)
        self.rows = torch.frombuffer(memory, dtype=torch.int64, count=rows, offset=HEAD_BYTES)
        self.flat = torch.frombuffer(memory, dtype=torch.float32, count=parameters, offset=at)
        at += FLOAT_BYTES * parameters
        self.gradient = torch.frombuffer(memory, dtype=torch.float32, count=parameters, offset=at)


def size_of(parameters: int, rows: int) -> int:
    """Bytes of the shared memory for so many parameters and integers of a batch."""
    return HEAD_BYTES + INTEGER_BYTES * rows + 2 * FLOAT_BYTES * parameters


class Cell(Protocol):
    """A module in a sandboxed process. Every method raises PeerFault, saying what the code did."""

    @property
    def layout(self) -> tuple[TensorShape, ...]:
        """What it trains, in name order."""
        ...

    def built(self) -> Tensor:
        """(P,) float32 parameters as its code has made them."""
        ...

    def loss(self, flat: Tensor, rows: Tensor) -> float:
        """Mean loss of (B, W) int64 examples with (P,) float32 parameters."""
        ...

    def gradient(self, flat: Tensor, rows: Tensor) -> tuple[float, Tensor]:
        """The same, and the (P,) float32 gradient; it is overwritten by the next call."""
        ...


class Cells(Protocol):
    """Where such modules can be run."""

    def missing(self) -> str:
        """Why this machine cannot lock code up; empty where it can."""
        ...

    def open(self, code: bytes, entry: str, seed: int) -> Cell:
        """A process with this module, in place of the one before; raises Misuse, PeerFault."""
        ...


class NoCells:
    """A process that runs nobody's code."""

    def missing(self) -> str:
        """See Cells."""
        return "this process runs no code of others"

    def open(self, code: bytes, entry: str, seed: int) -> Cell:
        """See Cells."""
        del code, entry, seed
        raise Misuse(self.missing())


class _Branch(nn.Module):
    """A node in the tree of names."""


class Stand(nn.Module):
    """Stands for the module: parameters of the same names and shapes, and no code."""

    def __init__(self, layout: tuple[TensorShape, ...]) -> None:
        super().__init__()
        for part in layout:
            *path, last = part.name.split(".")
            at: nn.Module = self
            for name in path:
                if name not in dict(at.named_children()):
                    at.add_module(name, _Branch())
                at = at.get_submodule(name)
            at.register_parameter(last, nn.Parameter(torch.zeros(part.shape)))


class _Elsewhere(torch.autograd.Function):
    """A loss whose gradient was found in another process."""

    @staticmethod
    @override
    def forward(
        ctx: torch.autograd.function.FunctionCtx, cell: Cell, rows: Tensor, *parameters: Tensor
    ) -> Tensor:
        loss, found = cell.gradient(_flat(parameters), rows)
        sizes = [part.numel() for part in parameters]
        shaped = [
            part.reshape(parameter.shape).clone()
            for part, parameter in zip(torch.split(found, sizes), parameters, strict=True)
        ]
        ctx.save_for_backward(*shaped)
        return torch.tensor(loss)

    @staticmethod
    @override
    def backward(
        ctx: torch.autograd.function.BackwardCFunction, due: Tensor
    ) -> tuple[Tensor | None, ...]:
        return None, None, *(part * due for part in ctx.saved_tensors)


def _flat(parameters: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parameters])


class Foreign:
    """See dpin.compute.networks.Network."""

    def __init__(self, spec: ModuleSpec, code: bytes, cells: Cells) -> None:
        """Raises PeerFault where the code's module is not the one of the spec."""
        self._cell = cells.open(code, spec.entry, 0)
        if self._cell.layout != spec.layout:
            raise Misuse("the code makes another module than the job names")
        self.module = Stand(spec.layout)
        self._parameters = tuple(part for _, part in sorted(self.module.named_parameters()))

    def loss(self, rows: Tensor) -> Tensor:
        """(B, W) examples -> their mean loss."""
        if torch.is_grad_enabled():
            found: Tensor = _Elsewhere.apply(  # type: ignore[no-untyped-call]  # torch's own
                self._cell, rows, *self._parameters
            )
            return found
        return torch.tensor(self._cell.loss(_flat(self._parameters), rows))

    def scores(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Raises Misuse: what classes such a module has is its own affair."""
        raise Misuse(f"a module of one's own gives a loss of {len(rows)} examples, no scores")


def count_of(layout: tuple[TensorShape, ...]) -> int:
    """P."""
    return sum(prod(part.shape) for part in layout)


def trial(cell: Cell, rows: Tensor) -> Tensor:
    """The parameters that the code has made, after a step was tried twice; raises PeerFault."""
    flat = cell.built()
    if not bool(flat.isfinite().all()):
        raise PeerFault("the module begins with parameters that are not finite")
    loss, found = cell.gradient(flat, rows)
    first = found.clone()
    again, found = cell.gradient(flat, rows)
    if not bool(torch.tensor(loss).isfinite()) or not bool(first.isfinite().all()):
        raise PeerFault("the module's loss or gradient is not finite")
    if loss != again or not torch.equal(first, found):
        raise PeerFault("the module computes something else each time: no random numbers, no state")
    return flat

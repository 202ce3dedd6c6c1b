"""A group of processes that hold one model: sums in the order of ranks, so that bits are fixed.

Rank r of W computes the parts r, W + r, 2 W + r ... of a batch; each wave of W gradients is added
in the order of ranks, as one process adds its parts one after the other. Float32 additions are
then the same ones, and so is every bit. An all-reduce of torch sums in an order of its own.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

from dpin.compute.board import Board

WAIT: Final = timedelta(minutes=5)  # for a rank that computes


class RankLost(Exception):
    """Another process of the group is gone, or does not answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Who this process is in which assembly of the group; rank 0 is the provider's worker."""

    epoch: int
    rank: int
    world: int


class Ranks:
    """A process's side of one assembly. Every method raises RankLost."""

    def __init__(self, board: Board, standing: Standing, device: torch.device) -> None:
        """Meets the others; `board` is the one that all of them share."""
        self.standing = standing
        self.device = device
        try:
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=board.corner(f"group/{standing.epoch}"),
                rank=standing.rank,
                world_size=standing.world,
                timeout=WAIT,
            )
        except RuntimeError as error:
            self.leave()
            raise RankLost(_said(error)) from None

    def leave(self) -> None:
        """Close the connections: whoever waits for this process hears of it."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def tell_all(self, vector: Tensor) -> None:
        """Rank 0's vector to all."""
        try:
            dist.broadcast(vector, 0)
        except RuntimeError as error:
            raise RankLost(_said(error)) from None

    def gathered(self, numbers: Tensor) -> list[Tensor]:
        """Everybody's few numbers, by rank; of the same shape everywhere."""
        placed = numbers.to(self.device)
        rows = [torch.empty_like(placed) for _ in range(self.standing.world)]
        try:
            dist.all_gather(rows, placed)
        except RuntimeError as error:
            raise RankLost(_said(error)) from None
        return [row.cpu() for row in rows]

    def exchange(
        self, into: Tensor, sizes_in: list[int], out: Tensor, sizes_out: list[int]
    ) -> None:
        """Cut `out` by rank and send each its part; `into` takes what the ranks send."""
        try:
            dist.all_to_all_single(into, out, sizes_in, sizes_out)
        except RuntimeError as error:
            raise RankLost(_said(error)) from None

    def give(self, vector: Tensor) -> None:
        """A vector to rank 0, which takes it with `take`."""
        try:
            dist.send(vector, 0)
        except RuntimeError as error:
            raise RankLost(_said(error)) from None

    def take(self, vector: Tensor, rank: int) -> None:
        """What a rank gives."""
        try:
            dist.recv(vector, rank)
        except RuntimeError as error:
            raise RankLost(_said(error)) from None


def _said(error: RuntimeError) -> str:
    return str(error).splitlines()[0]


class AllReduce:
    """Each rank adds up its own part of the P numbers and gives all others the sum."""

    def __init__(self, ranks: Ranks, gradient: Tensor) -> None:
        world, count = ranks.standing.world, len(gradient)
        self._ranks = ranks
        self._cut = [count * (at + 1) // world - count * at // world for at in range(world)]
        own = self._cut[ranks.standing.rank]
        self._own = [own] * world
        self._heard = torch.empty(world, own, device=gradient.device)
        self._total = torch.empty(own, device=gradient.device)

    def begin(self) -> None:
        """Before the first wave of a step."""
        self._total.zero_()

    def add(self, gradient: Tensor, present: int) -> None:
        """Add the gradients of ranks 0 to `present` - 1, in this order."""
        self._ranks.exchange(self._heard.view(-1), self._own, gradient, self._cut)
        for row in self._heard[:present]:
            self._total.add_(row)

    def end(self, gradient: Tensor) -> None:
        """After the last wave: `gradient` becomes the sum, on every rank."""
        self._heard.copy_(self._total.expand_as(self._heard))
        self._ranks.exchange(gradient, self._cut, self._heard.view(-1), self._own)


class Server:
    """Rank 0 adds up what the others give it; it alone has the sum."""

    def __init__(self, ranks: Ranks, gradient: Tensor) -> None:
        self._ranks = ranks
        self._serves = ranks.standing.rank == 0
        self._heard = torch.empty_like(gradient) if self._serves else gradient
        self._total = torch.empty_like(gradient) if self._serves else gradient

    def begin(self) -> None:
        """See AllReduce."""
        if self._serves:
            self._total.zero_()

    def add(self, gradient: Tensor, present: int) -> None:
        """See AllReduce."""
        if self._serves:
            self._total.add_(gradient)
            for rank in range(1, present):
                self._ranks.take(self._heard, rank)
                self._total.add_(self._heard)
        elif self._ranks.standing.rank < present:
            self._ranks.give(gradient)

    def end(self, gradient: Tensor) -> None:
        """See AllReduce; the sum is rank 0's."""
        if self._serves:
            gradient.copy_(self._total)

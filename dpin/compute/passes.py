"""Going once through a part of a dataset, in order, and counting what a model makes of it.

B examples of width W a batch; N targets among C classes.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from dpin.base.errors import Misuse
from dpin.base.units import MILLION, ceil_div
from dpin.compute.examples import IGNORED, decode_shard
from dpin.compute.hubspec import HubSpec
from dpin.compute.tallies import LOSS_MAX, Tally
from dpin.compute.task import Architecture

Scores = Callable[[Tensor], tuple[Tensor, Tensor]]  # (B, W) -> (N, C) logits and (N,) due


class Windows:
    """Running tokens in windows that follow each other: each token but the first is due once."""

    def __init__(self, tokens: Tensor, context: int) -> None:
        """(N,) tokens of any integer type; raises Misuse where nothing can be foretold."""
        if len(tokens) <= 1:
            raise Misuse(f"of {len(tokens)} tokens none can be foretold")
        self._tokens = tokens
        self._context = context
        self.count = ceil_div(len(tokens) - 1, context)

    def batch(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Windows first to first + count: (B, T + 1) int64, and (B,) how many targets are real."""
        last = min(first + count, self.count)
        starts = torch.arange(min(first, last), last) * self._context
        places = starts[:, None] + torch.arange(self._context + 1)
        real = (len(self._tokens) - 1 - starts).clamp(max=self._context)
        end = len(self._tokens) - 1
        return self._tokens[places.clamp(max=end)].long(), real


class Listed:
    """Separate examples, one after the other."""

    def __init__(self, rows: Tensor) -> None:
        """(N, W) of any integer type; raises Misuse where there are none."""
        if not len(rows):
            raise Misuse("there is not one example")
        self._rows = rows
        self.count = len(rows)

    def batch(self, first: int, count: int) -> tuple[Tensor, None]:
        """Examples first to first + count: (B, W) int64."""
        return self._rows[first : first + count].long(), None


def pass_over(model: Architecture, shard: bytes) -> Windows | Listed:
    """The examples of one part; raises PeerFault for a malformed shard, and Misuse."""
    if not isinstance(model, HubSpec):
        tokens = torch.frombuffer(bytearray(shard), dtype=torch.uint8) if shard else torch.zeros(0)
        return Windows(tokens, model.context)
    rows = decode_shard(shard)
    return Windows(rows.reshape(-1), model.context) if rows.shape[1] == 1 else Listed(rows)


def cut_tokens(count: int, parts: int, context: int) -> list[tuple[int, int]]:
    """Bounds of parts that are whole windows but the last, and share a token with the next.

    However many parts there are, the windows are the same. Raises Misuse for too few tokens.
    """
    windows = ceil_div(max(0, count - 1), context)
    if windows < parts:
        raise Misuse(
            f"{count} tokens are {windows} windows of {context}: too few for {parts} providers",
            "give more text, or fewer nodes",
        )
    ends = [windows * index // parts * context for index in range(parts + 1)]
    return [(low, min(count, high + 1)) for low, high in pairwise(ends)]


@torch.no_grad()
def counted(scores: Scores, rows: Tensor, real: Tensor | None) -> Tally:
    """What a model makes of a batch; raises Misuse where its loss is no number."""
    logits, due = scores(rows)
    if real is not None:
        beyond = torch.arange(rows.shape[1] - 1, device=due.device) >= real.to(due.device)[:, None]
        due = due.masked_fill(beyond.reshape(-1), IGNORED)
    counts = due != IGNORED
    losses = functional.cross_entropy(logits.float(), due, ignore_index=IGNORED, reduction="none")
    losses = losses[counts].double()
    if not bool(losses.isfinite().all()):
        raise Misuse("the model's loss is no finite number")
    micronats = (losses * MILLION).round().clamp(max=LOSS_MAX).long()
    right = (logits.argmax(1) == due)[counts]
    return Tally(len(rows), int(counts.sum()), int(right.sum()), int(micronats.sum()))

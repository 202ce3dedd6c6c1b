"""The clients of a federated job in one process: their rounds, without proofs to anybody.

What nodes do for each other alone is left out: leaves, states of windows, files and their reading.
What decides the model is not: batches, steps, encoding with error feedback, screening, clipping and
the outer step are the node's own, so a round of the same clients ends in the same state, to the
bit. Isolation: none; whatever a client is, it is in this process. C is the number of clients, P
that of parameters, N that of blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from dpin.base.errors import Misuse
from dpin.base.ids import Digest, JobId
from dpin.compute.aggregation.screen import Offered, round_mean, screened
from dpin.compute.blocks import BLOCK, Blocks, quantise
from dpin.compute.checkpoint import Moments
from dpin.compute.course import course_of, unit_bounds
from dpin.compute.examples import Examples
from dpin.compute.outer import write
from dpin.compute.rules import rule_of
from dpin.compute.state import GlobalState, state_hash
from dpin.compute.task import SGD, TrainManifest
from dpin.compute.tensors import UNITS_MAX, as_float, as_units
from dpin.compute.train import Trainer
from dpin.compute.unit import Seat, run_steps
from dpin.compute.updates import VALUE_MAX, Update

GROUP: Final = 1 << 22  # numbers of the clients that are encoded together
KNOWN_MAX: Final = 1 << 20  # numbers of a group whose movements are kept until the merge


class Client(NamedTuple):
    """One of many: its name on the ledger, were there one, and what it alone has."""

    lease: Digest
    text: Examples


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one."""

    state_hash: Digest
    loss: float  # mean over the clients' steps, nats per byte
    refused: tuple[str, ...]  # giants and copies, by number of client
    diverged: int  # clients without an update


class _Kept:
    """What clients keep from one round to the next: (C, P) each, or nothing."""

    def __init__(self, clients: int, parameters: int, *, moments: bool, error: bool) -> None:
        self.first = torch.zeros(clients if moments else 0, parameters)
        self.second = torch.zeros_like(self.first)
        self.error = torch.zeros(clients if error else 0, parameters, dtype=torch.int64)
        self.steps = [0] * clients

    def moments(self, client: int) -> Moments | None:
        """Of a client that has trained and keeps them."""
        if not self.steps[client] or not len(self.first):
            return None
        return Moments(self.first[client], self.second[client], self.steps[client])

    def forget(self, client: int) -> None:
        """Whatever it kept was of no use."""
        self.steps[client] = 0
        if len(self.error):
            self.error[client].zero_()


class Population:
    """A federated job of many clients, round after round."""

    def __init__(
        self,
        job: JobId,
        manifest: TrainManifest,
        state: GlobalState,
        clients: Sequence[Client],
        *,
        fresh: bool = False,
    ) -> None:
        """With `fresh` clients forget their optimizer after a round. Raises Misuse."""
        if manifest.outer.rule != SGD or not manifest.privacy.replayable:
            raise Misuse("many clients in one process are averaged in the open, by SGD alone")
        self.state = state
        self._job = job
        self._manifest = manifest
        self._clients = clients
        self._rule = rule_of(manifest)
        self._trainer = Trainer(manifest.model, course_of(manifest), "cpu")
        feeds_back = manifest.encoding.feedback_ppm > 0
        self._kept = _Kept(len(clients), len(state.parameters), moments=not fresh, error=feeds_back)

    def round(self) -> Round:
        """Everybody trains one unit, and what they send is merged."""
        losses: list[float] = []
        offered: list[Offered] = []
        size = max(1, GROUP // len(self.state.parameters))
        for at in range(0, len(self._clients), size):
            group = range(at, min(at + size, len(self._clients)))
            offered += self._updates(group, self._trained(group, losses))
        left = screened(offered)
        count = len(self.state.parameters)
        mean = round_mean(self._manifest.robust, left.kept, None, count)
        self.state = self._rule.next(self.state, mean)
        return Round(
            state_hash(self.state),
            sum(losses) / len(losses),
            left.refused,
            len(self._clients) - len(offered),
        )

    def mean_loss(self, batches: Sequence[Tensor]) -> float:
        """Mean loss of the state over batches of (B, W) examples, in nats per token."""
        self._trainer.vectors.load(as_float(self.state.parameters), None)
        return self._trainer.mean_loss(batches)

    @property
    def _steps(self) -> int:
        """Of a whole unit now."""
        return unit_bounds(self._manifest, self.state.round)[-1]

    def _trained(self, group: range, losses: list[float]) -> Tensor:
        """What the clients of a group have trained: (C, P) float32."""
        base, vectors = as_float(self.state.parameters), self._trainer.vectors
        rows = torch.empty(len(group), len(base))
        steps = range(self._steps)
        for row, at in zip(rows, group, strict=True):
            lease, text = self._clients[at]
            vectors.load(base, self._kept.moments(at))
            seat = Seat(self._job, self._manifest, lease, self.state.round, text)
            run_steps(self._trainer, seat, steps, lambda _step, loss: losses.append(loss))
            row.copy_(vectors.flat)
            if len(self._kept.first):
                self._kept.first[at].copy_(vectors.first)
                self._kept.second[at].copy_(vectors.second)
            self._kept.steps[at] = vectors.steps
        return rows

    def _updates(self, group: range, rows: Tensor) -> Iterator[Offered]:
        """The update of each client whose parameters are finite; the others begin anew."""
        finite = rows.isfinite().all(1).tolist()
        moved = as_units(rows.nan_to_num_().view(-1)).view(rows.shape) - self.state.parameters
        for at, whole, update in zip(group, finite, self._written(group, moved), strict=True):
            if whole:
                yield Offered(f"client {at}", update, self._steps)
            else:
                self._kept.forget(at)

    def _written(self, group: range, moved: Tensor) -> Iterator[Update]:
        """(C, P) int64 movements, encoded: all blocks in one pass where nothing is fed back."""
        spec = self._manifest.encoding
        if spec.name in VALUE_MAX and not spec.feedback_ppm:
            yield from _blocks(moved.clamp_(-UNITS_MAX, UNITS_MAX), VALUE_MAX[spec.name])
            return
        for at, movement in zip(group, moved, strict=True):
            before = self._kept.error[at] if spec.feedback_ppm else None
            found = write(spec, movement, before)
            if before is not None:
                before.zero_() if found.error is None else before.copy_(found.error)
            yield found.update


@dataclass(frozen=True, slots=True, eq=False)
class _Known(Blocks):
    """Blocks whose movement was computed with that of others."""

    movement: Tensor  # (P,) int64, not to be changed

    @override
    def dense(self) -> Tensor:
        return self.movement


def _blocks(moved: Tensor, most: int) -> Iterator[Blocks]:
    """(C, P) int64 -> the blocks of each row, as if it had been alone."""
    clients, count = moved.shape
    padded = functional.pad(moved, (0, -count % BLOCK))
    found = quantise(padded.view(-1), most)
    scales = found.scales.view(clients, -1)
    values = found.values.view(clients, -1)[:, :count].contiguous()
    if moved.numel() > KNOWN_MAX:
        for heads, row in zip(scales, values, strict=True):
            yield Blocks(heads, row, most)
        return
    for heads, row, movement in zip(scales, values, _dense(found, clients, count), strict=True):
        yield _Known(heads, row, most, movement)


def _dense(found: Blocks, clients: int, count: int) -> Tensor:
    """(C, P) int64: what the blocks of all rows say."""
    return found.dense().view(clients, -1)[:, :count].contiguous()

"""The clients of a federated job in one process: their rounds, without proofs to anybody.

What nodes do for each other alone is left out: leaves, states of windows, files and their reading.
What decides the model is not: batches, steps, encoding with error feedback, screening, clipping and
the outer step are the node's own, so a round of the same clients ends in the same state, to the
bit. Isolation: none; whatever a client is, it is in this process. C is the number of clients, P
that of parameters, N that of blocks.
"""

from collections.abc import Iterable, Iterator, Sequence
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
from dpin.compute.unit import Seat, batches_of, run_steps
from dpin.compute.updates import VALUE_MAX, Update
from dpin.compute.vectors import Vectors

GROUP: Final = 1 << 22  # numbers of the clients that are encoded together
DRAWN_AHEAD: Final = 256  # examples
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
        kept = torch.zeros(2, clients if moments else 0, parameters)
        self._first, self._second = (list(half.unbind()) for half in kept)  # cut once, not a round
        self.error = torch.zeros(clients if error else 0, parameters, dtype=torch.int64)
        self.steps = [0] * clients

    def moments(self, client: int) -> Moments | None:
        """Of a client that has trained and keeps them."""
        steps = self.steps[client]
        if not steps or not self._first:
            return None
        return Moments(self._first[client], self._second[client], steps)

    def keep(self, client: int, trained: Vectors) -> None:
        """What a client has after a unit."""
        if self._first:
            self._first[client].copy_(trained.first)
            self._second[client].copy_(trained.second)
        self.steps[client] = trained.steps

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
        if manifest.encoding.fragments > 1:
            raise Misuse("many clients in one process merge all of the model in a round")
        self.state = state
        self._job = job
        self._manifest = manifest
        self._clients = clients
        self._rule = rule_of(manifest)
        self._trainer = Trainer(manifest.model, course_of(manifest), "cpu")
        feeds_back = manifest.encoding.feedback_ppm > 0
        count = len(state.parameters)
        self._kept = _Kept(len(clients), count, moments=not fresh, error=feeds_back)
        together = min(len(clients), max(1, GROUP // count))
        self._rows = torch.empty(together, count)  # what a group has trained

    def round(self) -> Round:
        """Everybody trains one unit, and what they send is merged."""
        losses: list[float] = []
        offered: list[Offered] = []
        size, count = len(self._rows), len(self._clients)
        for at in range(0, count, size):
            group = range(at, min(at + size, count))
            offered += self._updates(group, self._trained(group, losses))
        left = screened(offered)
        mean = round_mean(self._manifest.robust, left.kept, None, len(self.state.parameters))
        self.state = self._rule.next(self.state, mean)
        return Round(
            state_hash(self.state),
            sum(losses) / len(losses),
            left.refused,
            count - len(offered),
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
        rows = self._rows[: len(group)]
        steps = range(self._steps)
        for row, at, (seat, drawn) in zip(rows, group, self._drawn(group, steps), strict=True):
            vectors.load(base, self._kept.moments(at))
            run_steps(self._trainer, seat, steps, lambda _step, loss: losses.append(loss), drawn)
            row.copy_(vectors.flat)
            self._kept.keep(at, vectors)
        return rows

    def _drawn(self, group: range, steps: range) -> Iterator[tuple[Seat, Iterable[Tensor]]]:
        """The clients of a group and their batches, those of small units many clients at a time.

        Code that hashes and code that trains drive each other out of a processor's caches.
        """
        ahead = DRAWN_AHEAD // (len(steps) * self._manifest.inner.batch)
        for begin in range(0, len(group), max(1, ahead)):
            seats = [self._seat(at) for at in group[begin : begin + max(1, ahead)]]
            found = [batches_of(seat, steps) for seat in seats]
            yield from zip(seats, [*map(list, found)] if ahead > 1 else found, strict=True)

    def _seat(self, client: int) -> Seat:
        lease, text = self._clients[client]
        return Seat(self._job, self._manifest, lease, self.state.round, text)

    def _updates(self, group: range, rows: Tensor) -> Iterator[Offered]:
        """The update of each client whose parameters are finite; the others begin anew."""
        steps, finite = self._steps, rows.isfinite().all(1).tolist()
        moved = as_units(rows.nan_to_num_().view(-1)).view(rows.shape) - self.state.parameters
        for at, whole, update in zip(group, finite, self._written(group, moved), strict=True):
            if whole:
                yield Offered(f"client {at}", update, steps)
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

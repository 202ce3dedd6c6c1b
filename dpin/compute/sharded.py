"""Rank 0's side of a group whose processes hold a part of the model each (see shards).

Unlike other groups it waits until all have come, and where a process is lost the unit begins again:
nobody has the state whole between two windows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.compute.checkpoint import Later, Moments, WindowState
from dpin.compute.course import Course
from dpin.compute.crew import Assembly, Crew, Gather, Load, Look, SetUp, Step
from dpin.compute.engine import Engine
from dpin.compute.ranks import RankLost
from dpin.compute.shards import Shards
from dpin.compute.task import Architecture
from dpin.compute.tensors import as_float
from dpin.compute.train import Diverged, GroupLost, parts_of


class Group(NamedTuple):
    """Who trains."""

    engine: Engine
    crew: Crew


class ShardedTrainer:
    """See train.Inner."""

    def __init__(
        self, spec: Architecture, course: Course, device: str, frozen: bytes, group: Group
    ) -> None:
        """Raises Misuse for a job that needs whole matrices."""
        if course.inner.muon_rate_ppm:
            raise Misuse("muon turns whole matrices, and with fsdp2 no process holds one")
        self._spec = spec
        self._course = course
        self._frozen = frozen
        self._device = torch.device(device)
        self._engine, self._crew = group
        self._assembly: Assembly | None = None
        self._shards: Shards | None = None

    def load(self, state: WindowState) -> None:
        """See Inner; waits for the group where there is none."""
        flat = state.parameters if isinstance(state, Later) else as_float(state.state.parameters)
        steps = state.moments.steps if state.moments else 0
        with self._group() as (assembly, shards):
            assembly.tell(Load(steps))
            shards.load(flat, state.moments, steps)

    def snapshot(self) -> Later:
        """See Inner."""
        with self._group() as (assembly, shards):
            assembly.tell(Gather())
            found = shards.gathered()
            assembly.heard_by_all()
        assert found is not None, "this is rank 0"
        if not all(bool(vector.isfinite().all()) for vector in found):
            raise Diverged("the training diverged: a parameter is not finite")
        return Later(self._spec, found[0], Moments(found[1], found[2], shards.steps))

    def step(self, batch: Tensor, cursor: int) -> float:
        """See Inner."""
        with self._group() as (assembly, shards):
            self._tell_batch(
                assembly, Step(batch.shape[0], batch.shape[1], cursor, applies=True), batch
            )
            mean = shards.backward(self._parts(batch))
            shards.apply(cursor)
            assembly.heard_by_all()
        return mean

    def accumulate(self, batch: Tensor) -> float:
        """See Inner."""
        with self._group() as (assembly, shards):
            self._tell_batch(
                assembly, Step(batch.shape[0], batch.shape[1], 0, applies=False), batch
            )
            mean = shards.backward(self._parts(batch))
            shards.accumulate()
            assembly.heard_by_all()
        return mean

    def mean_loss(self, batches: Sequence[Tensor]) -> float:
        """See Inner."""
        losses = []
        with self._group() as (assembly, shards):
            for batch in batches:
                self._tell_batch(assembly, Look(batch.shape[0], batch.shape[1]), batch)
                losses.append(shards.loss(batch))
                assembly.heard_by_all()
        return sum(losses) / len(losses)

    def _parts(self, batch: Tensor) -> list[Tensor]:
        return parts_of(batch, self._course.inner.accumulation)

    def _tell_batch(self, assembly: Assembly, words: Step | Look, batch: Tensor) -> None:
        assembly.tell(words)
        assembly.ranks.tell_all(batch.to(assembly.ranks.device))

    @contextmanager
    def _group(self) -> Iterator[tuple[Assembly, Shards]]:
        """Work of all processes; raises GroupLost where one of them is lost meanwhile."""
        try:
            yield self._built()
        except RankLost as lost:
            self._shards = None
            self._crew.abandon(str(lost))
            raise GroupLost(f"a process of the group is gone, and its part: {lost}") from None
        except BaseException:
            self._shards = None
            self._crew.renew("rank 0 has failed")
            raise

    def _built(self) -> tuple[Assembly, Shards]:
        """The group, with this model; it has a state once one was loaded."""
        assembly = self._crew.whole(self._device)
        if assembly is not self._assembly or self._shards is None:
            words = SetUp(
                self._spec, self._course.inner, self._course.total_steps, len(self._frozen)
            )
            assembly.describe(words, self._frozen)
            self._shards = Shards(
                self._spec, self._course, self._frozen, assembly.ranks, self._engine
            )
            self._assembly = assembly
        return assembly, self._shards

"""Units: what their leaves name, and that it decides nothing else."""

from typing import cast

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from dpin.base.ids import NO_BLOB, NO_DIGEST, Round
from dpin.compute.checkpoint import Start, WindowState
from dpin.compute.course import Course
from dpin.compute.examples import examples_of
from dpin.compute.hubspec import DataFormat, PrivateSpec
from dpin.compute.presets import DENSE, QUICK
from dpin.compute.state import initial_state, state_hash
from dpin.compute.task import Prepared, TrainManifest
from dpin.compute.train import Diverged, Inner, Trainer
from dpin.compute.unit import Fault, Outcome, Seat, UnitOrder, Watch, run_steps, run_unit
from dpin.compute.updates import encode_update
from tests.support.training import CORPUS, JOB, SEATS, TINY, TINY_INNER, lease, manifest_for

STATE = initial_state(TINY, b"seed")
TEXT = examples_of(TINY, [CORPUS])
PREPARED = Prepared((NO_BLOB.hex(),) * SEATS, "", "", state_hash(STATE), 0, NO_DIGEST)
OPEN = manifest_for(PREPARED, QUICK, DENSE, TINY_INNER)
PRIVATE = replace(OPEN, private=PrivateSpec("letters", DataFormat("text")))


def unit(manifest: TrainManifest, fault: Fault = "") -> tuple[Outcome, list[int]]:
    """One unit, and the windows whose states somebody was told of."""
    told: list[int] = []

    def on_state(window: int, _: WindowState) -> None:
        told.append(window)

    seat = Seat(JOB, manifest, lease(0), Round(0), TEXT)
    trainer = Trainer(TINY, Course(manifest.inner, manifest.rounds), "cpu")
    order = UnitOrder(seat, Start(STATE, None), fault=fault)
    return run_unit(trainer, order, Watch(lambda: 0, lambda _done, _loss: None, on_state)), told


def test_leaves_that_nobody_can_check_name_no_states_but_the_first() -> None:
    done, told = unit(PRIVATE)
    assert told == []
    first, *later = done.leaves
    assert (first.parameters, first.optimizer) == (state_hash(STATE), NO_DIGEST)
    assert {(leaf.parameters, leaf.optimizer) for leaf in later} == {(NO_DIGEST, NO_DIGEST)}


@pytest.mark.parametrize("fault", ["", "skip-work", "wrong-weights"])
def test_what_leaves_name_decides_neither_update_nor_moments(fault: Fault) -> None:
    (hidden, _), (shown, told) = unit(PRIVATE, fault), unit(OPEN, fault)
    assert told == list(range(OPEN.windows + 1))
    assert encode_update(hidden.written.update) == encode_update(shown.written.update)
    assert torch.equal(hidden.moments.first, shown.moments.first)
    assert (hidden.moments.steps, hidden.loss) == (shown.moments.steps, shown.loss)
    bare = [replace(leaf, parameters=NO_DIGEST, optimizer=NO_DIGEST) for leaf in shown.leaves[1:]]
    assert [*hidden.leaves[1:]] == bare


@pytest.mark.parametrize("manifest", [OPEN, PRIVATE])
def test_a_unit_that_leaves_the_numbers_ends_as_diverged(manifest: TrainManifest) -> None:
    wild = replace(manifest.inner, learning_rate_ppm=10**12, warmup_steps=0)
    with pytest.raises(Diverged):
        unit(replace(manifest, inner=wild))


class Drawing:
    """A trainer that keeps what it is given."""

    def __init__(self) -> None:
        self.drawn: list[bytes] = []

    def step(self, examples: Tensor, _: int) -> float:
        self.drawn.append(examples.numpy().tobytes())
        return 0.0


def drawn(leased: int, round_: int) -> list[bytes]:
    trainer = Drawing()
    seat = Seat(JOB, OPEN, lease(leased), Round(round_), TEXT)
    run_steps(cast("Inner", trainer), seat, range(4), lambda _done, _loss: None)
    return trainer.drawn


def test_job_lease_round_and_step_draw_the_data_and_all_of_them_do() -> None:
    assert drawn(0, 0) == drawn(0, 0)
    found = [batch for leased in range(2) for round_ in range(2) for batch in drawn(leased, round_)]
    assert len({*found}) == len(found) == 16

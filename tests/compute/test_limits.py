"""Which models and jobs are refused before anything is computed."""

import pytest
from msgspec.structs import replace

from dpin.base.errors import Misuse
from dpin.base.ids import NO_BLOB, NO_DIGEST
from dpin.compute.limits import check_model, check_train
from dpin.compute.presets import DATA_PARALLEL, DEMO_INNER, DEMO_MODEL, QUICK
from dpin.compute.task import ModelSpec, TrainManifest
from dpin.compute.weights import parameter_count

GOOD = TrainManifest(
    model=DEMO_MODEL,
    inner=DEMO_INNER,
    outer=QUICK,
    seats=3,
    rounds=10,
    windows=4,
    shards=(NO_BLOB,) * 3,
    holdout=NO_BLOB,
    initial=NO_BLOB,
    state_hash=NO_DIGEST,
    fingerprint=NO_DIGEST,
)


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(0, 1, 1, 1),
        ModelSpec(1, 3, 16, 1),
        ModelSpec(1, 1, 1 << 17, 1),
        ModelSpec(1 << 16, 1, 1 << 16, 1),
        ModelSpec(1, 1, 16, -1),
    ],
)
def test_an_impossible_model_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(Misuse):
        check_model(spec)


@pytest.mark.parametrize(
    "manifest",
    [
        replace(GOOD, windows=0),
        replace(GOOD, windows=21),
        replace(GOOD, rounds=0),
        replace(GOOD, seats=4),
        replace(GOOD, seats=0),
        replace(GOOD, inner=replace(DEMO_INNER, batch=0)),
        replace(GOOD, inner=replace(DEMO_INNER, learning_rate_ppm=-1)),
        replace(GOOD, inner=replace(DEMO_INNER, warmup_steps=-1)),
        replace(GOOD, inner=replace(DEMO_INNER, muon_rate_ppm=1_000_001)),
        replace(GOOD, inner=replace(DEMO_INNER, muon_rate_ppm=1), outer=DATA_PARALLEL),
    ],
)
def test_an_impossible_job_is_refused(manifest: TrainManifest) -> None:
    check_train(GOOD)
    with pytest.raises(Misuse):
        check_train(manifest)


def test_the_demonstrations_model_has_the_size_that_was_measured() -> None:
    assert parameter_count(DEMO_MODEL) == 467_584

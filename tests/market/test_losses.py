"""What a loss is counted in, and what the owner of a job is warned of."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from dpin.base.ids import Round
from dpin.compute.hubspec import CAUSAL, SEQUENCE, DataFormat, HubSpec, LoraSpec, PrivateSpec
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.presets import DATA_PARALLEL
from dpin.compute.safety import PrivacySpec
from dpin.compute.task import Architecture
from dpin.market.appraising import are_open
from dpin.market.losses import too_loud, unit_of, worse
from dpin.market.ownjob import OwnJob, RoundTimes
from tests.support.jobs import MODEL, at, train_manifest
from tests.support.market import PREPARED, train_order

MILLION = 1_000_000
NOISED = PrivacySpec("dp", clip=1 << 20, noise_ppm=MILLION)


@dataclass(frozen=True, slots=True)
class Case:
    model: Architecture
    unit: str


@pytest.mark.parametrize(
    "case",
    [
        Case(MODEL, " nats a byte"),
        Case(HubSpec(CAUSAL, "{}", 8, masked=False), " nats a token"),
        Case(HubSpec(SEQUENCE, "{}", 8, masked=False), " nats an example"),
        Case(ModuleSpec("build", 8), ""),
    ],
)
def test_a_loss_is_told_in_what_the_model_foretells(case: Case) -> None:
    assert unit_of(case.model) == case.unit


def test_noise_that_drowns_a_model_is_told_before_it_is_paid_for() -> None:
    order = replace(train_order(seats=3), privacy=NOISED)
    prepared = replace(PREPARED, parameters=360_000)
    said = too_loud(order, prepared)
    assert "about 200 times as long" in said
    assert "360,000 parameters need more clients than 3" in said


def test_noise_that_a_model_bears_is_not_told() -> None:
    order = replace(train_order(seats=3), privacy=NOISED)
    assert too_loud(order, replace(PREPARED, parameters=800)) == ""
    assert too_loud(train_order(seats=3), replace(PREPARED, parameters=360_000)) == ""
    adapters = HubSpec(CAUSAL, "{}", 8, masked=False, lora=LoraSpec(2, 4, ("q_proj",)))
    small = replace(order, model=adapters)
    assert too_loud(small, replace(PREPARED, parameters=10**9)) == ""


def test_a_model_that_has_got_worse_is_told() -> None:
    own = OwnJob("j-1", train_order(), at(0))
    assert worse(own) == ""
    own.holdout_before = 5_583_000
    own.rounds[Round(0)] = RoundTimes(at(1), holdout_micronats=4_000_000)
    assert worse(own) == ""
    own.rounds[Round(1)] = RoundTimes(at(2), holdout_micronats=14_037_000)
    assert "has risen from 5.583 to 14.037" in worse(own)


def test_only_updates_that_others_can_see_and_data_that_all_hold_are_scored() -> None:
    manifest = train_manifest()
    assert are_open(manifest)
    assert not are_open(replace(manifest, privacy=PrivacySpec("dp")))
    private = replace(manifest, private=PrivateSpec("letters", DataFormat("text")), shards=())
    assert not are_open(private)
    assert not are_open(replace(manifest, outer=DATA_PARALLEL))

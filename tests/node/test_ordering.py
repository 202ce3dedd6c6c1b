"""From a job file to an order."""

import pytest

from dpin.base.errors import Misuse
from dpin.base.ids import NO_DIGEST
from dpin.base.units import parse_tokens
from dpin.compute.task import WINDOWS_MIN, ModelSpec
from dpin.node.jobfile import InferenceJob, TrainJob, read_job
from dpin.node.ordering import WINDOW_MS, WINDOWS_MAX, Places, infer_order, train_order

PLACES = Places("/data", "/out")
TRAIN = "type: train\ndata: {path: corpus}\nargs: {steps_per_round: %d}\nlimits: {cost: 12.5}\n"
INFER = "type: inference\nmodel: m\nprompt: hello\ntokens: 9\n"
CONFIG = '{"model": {"layers": 2, "heads": 4, "width": 64, "context": 32}, "state_hash": "%s"}'


def train(steps: int = 40) -> TrainJob:
    job = read_job(TRAIN % steps)
    assert isinstance(job, TrainJob)
    return job


def infer() -> InferenceJob:
    job = read_job(INFER)
    assert isinstance(job, InferenceJob)
    return job


def test_an_order_has_the_files_of_its_places_and_the_figures_of_its_job() -> None:
    job = train()
    order = train_order(job, PLACES, 1)
    assert (order.corpus, order.output) == ("/data", "/out")
    assert (order.inner, order.rounds, order.seats) == (job.inner, job.rounds, job.seats)
    assert order.budget == parse_tokens("12.5")


@pytest.mark.parametrize(
    ("unit_ms", "windows"),
    [
        (1, WINDOWS_MIN),
        (4 * WINDOW_MS, 4),
        (4 * WINDOW_MS + 1, 5),
        (16 * WINDOW_MS, 16),
        (10**9, WINDOWS_MAX),
    ],
)
def test_a_unit_has_a_window_a_minute_within_limits(unit_ms: int, windows: int) -> None:
    assert train_order(train(), PLACES, unit_ms).windows == windows


def test_a_unit_has_no_more_windows_than_steps() -> None:
    assert train_order(train(steps=6), PLACES, 10**9).windows == 6


def test_units_that_grow_with_the_rounds_have_many_windows_to_grow_by() -> None:
    growing = read_job(TRAIN % 24, sets=["args.steps_by_rate=true"])
    assert isinstance(growing, TrainJob)
    assert train_order(growing, PLACES, 1).windows == WINDOWS_MAX


def test_the_same_seed_is_the_same_seed_and_another_another() -> None:
    def seed(number: int) -> bytes:
        job = read_job(TRAIN % 40, sets=[f"seed={number}"])
        assert isinstance(job, TrainJob)
        return train_order(job, PLACES, 1).seed

    assert seed(7) == seed(7) != seed(8)


def test_a_generation_takes_shape_and_state_from_the_models_folder() -> None:
    order = infer_order(infer(), PLACES, CONFIG % ("ab" * 32), 77)
    assert order.model_file == "/data/model.safetensors"
    assert order.config == ModelSpec(2, 4, 64, 32)
    assert order.state_hash == bytes.fromhex("ab" * 32)
    assert (order.tokens, order.prompt, order.memory_bytes) == (9, b"hello", 77)


@pytest.mark.parametrize("known", ["", "ab"])
def test_a_folder_that_does_not_say_its_state_names_none(known: str) -> None:
    assert infer_order(infer(), PLACES, CONFIG % known, 0).state_hash == NO_DIGEST


@pytest.mark.parametrize("config", ["", "{}", "[]", '{"model": {"layers": "two"}}', CONFIG % "xy"])
def test_a_folder_that_holds_another_model_is_refused(config: str) -> None:
    with pytest.raises(Misuse, match="does not describe a dpin model"):
        infer_order(infer(), PLACES, config, 0)


def test_a_model_of_transformers_is_refused_by_its_name() -> None:
    with pytest.raises(Misuse, match="holds a model of transformers") as refused:
        infer_order(infer(), PLACES, '{"model_type": "llama"}', 0)
    assert "from_pretrained" in refused.value.fix

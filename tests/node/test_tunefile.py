"""Job files that tune a model of transformers or train on private data; and their orders."""

import json
from pathlib import Path

import pytest

from dpin.base.errors import Misuse
from dpin.base.ids import NO_DIGEST
from dpin.compute.hubspec import DataFormat, HubSpec, LoraSpec
from dpin.compute.task import ModelSpec, Prepared
from dpin.market.evaluating import evaluates, measured
from dpin.market.orders import TrainOrder
from dpin.node.jobfile import TrainJob, read_job
from dpin.node.ordering import type_of
from dpin.node.planning import order_of, plan_of
from dpin.node.trying import Tried
from tests.support.alone import Alone

TUNE = "type: finetune\nmodel: base\ndata: {path: chat.jsonl, format: chat}\n"
PRIVATE = "type: federated\ndata: {dataset: letters, eval: eval.txt}\n"
CONFIG = {"model_type": "llama", "vocab_size": 300, "_name_or_path": "/home/x"}


def tuned(text: str) -> TrainJob:
    job = read_job(text)
    assert isinstance(job, TrainJob)
    return job


def folder_of(tmp_path: Path, config: dict[str, object] | None = None) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(config or CONFIG))
    (base / "model.safetensors").write_bytes(bytes(2_000))
    for name in ("chat.jsonl", "eval.txt"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_arguments_have_the_names_of_transformers_and_peft() -> None:
    job = tuned(
        TUNE + "method: {r: 8, lora_alpha: 16, target_modules: [q_proj]}\nmax_length: 64\n"
        "args: {max_steps: 50, rounds: 5, per_device_train_batch_size: 2,"
        " gradient_accumulation_steps: 4, learning_rate: 2e-4, warmup_steps: 3}\n"
    )
    assert (job.inner.steps, job.inner.batch, job.rounds) == (10, 8, 5)
    assert (job.inner.learning_rate_ppm, job.inner.warmup_steps) == (200, 3)
    assert job.hub is not None
    assert job.hub.lora == LoraSpec(8, 16, ("q_proj",))
    assert (job.hub.context, job.hub.accumulation) == (64, 4)
    assert job.data.suffixes == (".jsonl",)


@pytest.mark.parametrize("text", [TUNE, PRIVATE])
@pytest.mark.parametrize("rule", ["krum", "trimmed", "median", "fltrust"])
def test_a_rule_of_merging_and_muon_are_for_every_job_that_trains(text: str, rule: str) -> None:
    job = tuned(text + f"robust: {rule}\nargs: {{optim: muon, learning_rate: 1e-3}}\n")
    assert job.robust.rule == rule
    assert job.robust.trusted_steps == (job.inner.steps if rule == "fltrust" else 0)
    assert job.inner.muon_rate_ppm == 2_500


@pytest.mark.parametrize("text", [TUNE, PRIVATE])
@pytest.mark.parametrize("mode", ["dp", "secagg", "secagg+dp"])
def test_updates_are_private_in_every_job_that_trains(text: str, mode: str) -> None:
    assert tuned(text + f"privacy: {mode}\n").privacy.mode == mode
    assert tuned(text).privacy.mode == "none"


def test_what_is_sealed_is_data_that_travel() -> None:
    assert tuned(TUNE + "privacy: sealed\n").privacy.sealed
    for privacy in ("sealed", "{mode: sealed}"):
        with pytest.raises(Misuse, match="need no seal") as refused:
            read_job(PRIVATE + f"privacy: {privacy}\n")
        assert refused.value.fix == "privacy: secagg"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TUNE + "args: {optim: lion}", "there is no optimizer 'lion'"),
        (TUNE + "outer: data-parallel\nargs: {optim: muon}", "one step of AdamW a round"),
        (TUNE + "method: lora", "there is no method 'lora'"),
        (TUNE + "task: guess", "there is no task 'guess'"),
        (TUNE.replace("chat}", "cat}"), "there is no data format 'cat'"),
        (TUNE + "args: {max_steps: 12, rounds: 5}", "fewer than 4 a round"),
        (PRIVATE.replace("letters", "Let ters"), "data.dataset"),
        (
            PRIVATE.replace("eval.txt}", "e.csv, format: table}")
            + "model: base\ntask: sequence-classification",
            "owners cannot agree on classes",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(Misuse, match=reason) as refused:
        read_job(text)
    assert str(refused.value).startswith("job.yaml")
    assert refused.value.fix


async def test_an_order_holds_the_models_config_in_one_spelling(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    order = await order_of(tuned(TUNE), str(folder), "")
    assert isinstance(order, TrainOrder)
    assert isinstance(order.model, HubSpec)
    assert order.model.config == '{"model_type":"llama","vocab_size":300}'
    assert order.model.masked
    assert (order.parameters, order.data) == (1_000, DataFormat("chat"))
    assert type_of(order) == "finetune"
    assert plan_of(Tried(order), Alone().peer, []).parameters == 1_000


async def test_private_data_are_scored_and_only_what_measures_is_read(tmp_path: Path) -> None:
    order = await order_of(tuned(PRIVATE), str(folder_of(tmp_path)), "")
    assert isinstance(order, TrainOrder)
    assert isinstance(order.model, ModelSpec)
    assert order.private is not None
    assert (order.private.name, type_of(order)) == ("letters", "federated")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "llama", "auto_map": {"AutoModel": "x.Y"}}, "asks for auto_map"),
        ({"model_type": "llama", "quantization_config": {}}, "quantization_config"),
        ({"vocab_size": 3}, "names no model_type"),
        ({"model_type": "llama", "num_hidden_layers": 100_000}, "num_hidden_layers of 100000"),
        ({"model_type": "llama", "rope": [{"hidden_size": 1 << 30}]}, "hidden_size"),
    ],
)
async def test_a_config_that_asks_for_code_or_for_too_much_is_refused(
    tmp_path: Path, config: dict[str, object], reason: str
) -> None:
    with pytest.raises(Misuse, match=reason):
        await order_of(tuned(TUNE), str(folder_of(tmp_path, config)), "")


async def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder / "base" / "model.safetensors").rename(folder / "base" / "pytorch_model.bin")
    with pytest.raises(Misuse, match="has no safetensors"):
        await order_of(tuned(TUNE), str(folder), "")


EVAL = "type: eval\nmodel: base\ndata: {path: chat.jsonl}\n"


async def test_an_evaluation_is_an_order_whose_steps_count(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    text = EVAL + "args: {per_device_eval_batch_size: 3, attempts: 2}\nmax_length: 32\n"
    order = await order_of(tuned(text), str(folder), "")
    assert isinstance(order, TrainOrder)
    assert (type_of(order), evaluates(order)) == ("eval", True)
    assert (order.inner.batch, order.rounds, order.holdout_ppm > 0) == (3, 2, True)
    assert isinstance(order.model, HubSpec)
    assert (order.model.context, order.model.lora) == (32, None)
    prepared = Prepared((), "", "", NO_DIGEST, 1_000, NO_DIGEST, examples=100, text_bytes=9)
    found = measured(order, prepared)
    assert (found.inner.steps, found.windows, found.quorum, found.text_bytes) == (34, 4, 3, 9)


async def test_a_built_in_model_is_known_by_its_config_and_reads_text_alone(tmp_path: Path) -> None:
    shape = {"layers": 1, "heads": 2, "width": 16, "context": 16}
    folder = folder_of(tmp_path, {"architecture": "dpin-byte-gpt-1", "model": shape})
    order = await order_of(tuned(EVAL), str(folder), "")
    assert isinstance(order, TrainOrder)
    assert order.model == ModelSpec(1, 2, 16, 16)
    assert order.base.endswith("base")
    with pytest.raises(Misuse, match="plain text alone"):
        await order_of(tuned(EVAL.replace("jsonl}", "jsonl, format: chat}")), str(folder), "")


async def test_the_classes_of_an_evaluation_are_the_models(tmp_path: Path) -> None:
    table = EVAL.replace("jsonl}", "jsonl, format: table}") + "task: sequence-classification\n"
    config = CONFIG | {"id2label": {"1": "yes", "0": "no"}}
    order = await order_of(tuned(table), str(folder_of(tmp_path, config)), "")
    assert isinstance(order, TrainOrder)
    assert order.data.labels == ("no", "yes")
    with pytest.raises(Misuse, match="there is no task"):
        read_job(EVAL + "task: guess\n")

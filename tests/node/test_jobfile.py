"""Job files, good and bad."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import Misuse
from dpin.base.units import TOKEN
from dpin.compute.hubspec import DataFormat
from dpin.compute.presets import DATA_PARALLEL, MULOCO, QUICK, SHORT, SPARSELOCO
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.task import INT4, INT8, SPARSE, TERNARY, EncodingSpec, ModelSpec, OuterSpec
from dpin.market.orders import TuneSpec
from dpin.node.document import DEPTH_MAX, SETS_MAX, TEXT_CHARS_MAX
from dpin.node.jobfields import MODELS, TrainFields, schema_text
from dpin.node.jobfile import InferenceJob, TrainJob, read_job
from dpin.node.modulefile import ModuleWish

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "job.yaml"
TRAIN = "type: train\ndata: {path: corpus}\n"


def train(text: str = "", *sets: str) -> TrainJob:
    job = read_job(TRAIN + text, sets=sets)
    assert isinstance(job, TrainJob)
    return job


def test_the_example_is_a_job_and_names_every_field() -> None:
    job = read_job(EXAMPLE.read_text())
    assert isinstance(job, TrainJob)
    values = yaml.safe_load(EXAMPLE.read_text())
    assert {*values} == {"type", *TrainFields.__struct_fields__}
    for section in ("data", "args", "resources", "limits"):
        fields = TrainFields.__annotations__[section].__struct_fields__
        assert {*values[section]} == {*fields}, section


def test_the_published_schema_is_fresh() -> None:
    assert (ROOT / "docs" / "job.schema.json").read_text() == schema_text()
    assert json.loads(schema_text())["$defs"]["ArgsFields"]["properties"]["rounds"]["default"] == 10


def test_what_is_not_written_has_one_default() -> None:
    job = train()
    assert job.model == MODELS["tiny"]
    assert (job.rounds, job.seats, job.outer) == (10, 3, QUICK)
    assert job.limits.cost == 100 * TOKEN


def test_numbers_become_integers_without_passing_through_floats() -> None:
    job = train(
        "args: {learning_rate: 2e-4, weight_decay: 0.000001}\nlimits: {cost: 0.1, time: 2h}"
    )
    assert job.inner.learning_rate_ppm == 200
    assert job.inner.weight_decay_ppm == 1
    assert job.limits.cost == 100_000
    assert job.limits.time == 7_200_000_000


def test_a_step_may_go_through_the_model_in_parts() -> None:
    inner = train("args: {batch_size: 8, gradient_accumulation_steps: 4}").inner
    assert (inner.batch, inner.accumulation) == (32, 4)


def test_a_shape_and_an_outer_step_may_be_given_whole() -> None:
    job = train(
        "model: {layers: 1, heads: 2, width: 32, context: 16}\n"
        "outer: {learning_rate: 0.7, momentum: 0.6, nesterov: true}\n"
    )
    assert job.model == ModelSpec(1, 2, 32, 16)
    assert job.outer == OuterSpec(700_000, 600_000, nesterov=True)


def test_a_long_job_gets_momentum_by_itself() -> None:
    assert train("args: {rounds: 30}").outer == SHORT


def test_the_node_may_choose_the_steps_of_a_round() -> None:
    assert train("").tune is None
    job = train("args: {steps_per_round: auto}\nresources: {up: 8Mbit, down: 1Gbit}")
    assert job.tune == TuneSpec(1_000_000, 125_000_000, encoding=True, outer=True)
    assert job.inner.steps == 20
    given = train("args: {steps_per_round: auto}\nencoding: int4").tune
    assert given == TuneSpec(0, 0, encoding=False, outer=False)


def test_learning_rates_fall_as_transformers_names_it() -> None:
    assert train("").inner.schedule == "linear"
    assert train("args: {lr_scheduler_type: cosine}").inner.schedule == "cosine"
    with pytest.raises(Misuse, match="there is no schedule 'cosin'") as refused:
        train("args: {lr_scheduler_type: cosin}")
    assert "cosine" in (refused.value.fix or "")


def test_rounds_may_grow_as_the_learning_rate_falls() -> None:
    assert not train("").inner.steps_by_rate
    assert train("args: {steps_by_rate: true, steps_per_round: 24}").inner.steps_by_rate


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("args: {steps_by_rate: true}\nouter: data-parallel", "data-parallel takes one step"),
        ("args: {steps_by_rate: true, steps_per_round: auto}", "auto gives all rounds as many"),
    ],
)
def test_rounds_that_have_no_steps_of_their_own_cannot_grow(more: str, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        train(more)


def test_outer_steps_and_encodings_go_by_their_names() -> None:
    assert train("").encoding == EncodingSpec(INT8)
    sparse = train("outer: sparseloco")
    assert (sparse.outer, sparse.encoding) == (SPARSELOCO, EncodingSpec(SPARSE, 256, 950_000))
    ternary = train("outer: muloco\nargs: {optim: muon}")
    assert (ternary.outer, ternary.encoding) == (MULOCO, EncodingSpec(TERNARY, 0, 1_000_000))
    assert train("encoding: {name: ternary}").encoding == EncodingSpec(TERNARY)
    assert train("outer: data-parallel\nencoding: int4").outer == DATA_PARALLEL
    assert train("encoding: int4").encoding == EncodingSpec(INT4)
    whole = train("encoding: {name: sparse, density: 3.125%, feedback: 0.9}")
    assert whole.encoding == EncodingSpec(SPARSE, 128, 900_000)
    parts = train("encoding: {name: int4, fragments: 4}")
    assert parts.encoding == EncodingSpec(INT4, 0, 1_000_000, 4)
    ramp = train("outer: {learning_rate: 0.7, momentum: 0.9, nesterov: true, warmup_rounds: 50}")
    assert ramp.outer == OuterSpec(700_000, 900_000, nesterov=True, ramp_rounds=50)


def test_inference_reads_its_own_fields_and_limits() -> None:
    job = read_job("type: inference\nmodel: out\nprompt: hé\nlimits: {time: 1m}\ntemperature: 0")
    assert isinstance(job, InferenceJob)
    assert job.prompt == "hé".encode()
    assert job.temperature_ppm == 0
    assert job.limits.cost == 10 * TOKEN


def test_a_value_set_on_the_command_line_wins_and_may_open_a_section() -> None:
    job = train("args: {rounds: 5}", "args.rounds=3", "resources.nodes=2", "model=small")
    assert (job.rounds, job.seats, job.model) == (3, 2, MODELS["small"])


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("", "job.yaml:", "job-file.md"),
        ("name: x", "job.yaml:", "type: train"),
        ("type: trian", "job.yaml:1", 'did you mean "train"'),
        ("type: train", "data", "job-file.md"),
        (TRAIN + "args:\n  rouns: 3", "job.yaml:4: unknown key 'rouns' in args", '"rounds"'),
        (TRAIN + "verify: {}", "job.yaml:3: unknown key 'verify'", "known"),
        (TRAIN + "args:\n  rounds: 0", "job.yaml:4: args.rounds", "job-file.md"),
        (TRAIN + "args:\n  rounds: '3'", "job.yaml:4: args.rounds", "job-file.md"),
        (TRAIN + "args:\n  learning_rate: fast", "job.yaml:4", "job-file.md"),
        (TRAIN + "args:\n  learning_rate: 1e-9", "job.yaml:4", "0.000001"),
        (TRAIN + "args:\n  learning_rate: 1e999999999", "job.yaml:4", "job-file.md"),
        (TRAIN + "args:\n  learning_rate: -1", "job.yaml:4", "job-file.md"),
        (TRAIN + "args:\n  learning_rate: 0", "job.yaml:4", "3e-3"),
        (TRAIN + "model: tinny", "job.yaml:3", '"tiny"'),
        (TRAIN + "model: {layers: 1, heads: 3, width: 32, context: 8}", "width", "width: 30"),
        (TRAIN + "model: {layers: 9999, heads: 1, width: 32, context: 8}", "layers", "job"),
        (TRAIN + "outer: dilocco", "job.yaml:3: outer", "diloco"),
        (TRAIN + "args: {steps_per_round: many}", "job.yaml:3: args.steps_per_round", "20"),
        (
            TRAIN + "args: {steps_per_round: auto}\nresources: {up: 5}",
            "job.yaml:4: resources.up",
            "",
        ),
        (TRAIN + "encoding: int5", "job.yaml:3: encoding", "int"),
        (TRAIN + "encoding: {name: int8, density: 5%}", "job.yaml:3: encoding", "sparse"),
        (TRAIN + "encoding: {name: sparse}", "job.yaml:3: encoding", "density"),
        (TRAIN + "encoding: {name: sparse, density: 60%}", "job.yaml:3: encoding.density", ""),
        (TRAIN + "resources: {nodes: 21}", "job.yaml:3: resources.nodes", "job-file.md"),
        (TRAIN + "resources: {memory: 12}", "resources.memory", "job-file.md"),
        (TRAIN + "resources: {memory: '12'}", "resources.memory", "12GB"),
        (TRAIN + "limits: {cost: -1}", "limits.cost", "write digits, such as 12"),
        (TRAIN + "limits: {cost: 0}", "limits.cost", "cost: 10"),
        (TRAIN + "limits: {cost: 99999999999999999999}", "limits.cost", "write digits"),
        (TRAIN + "limits: {time: 2:30}", "limits.time", "2h"),
        (TRAIN + "limits: {time: 0s}", "limits.time", "2h"),
        ("type: train\ndata: {path: x, holdout: 60%}", "data.holdout", "job-file.md"),
        ("type: train\ndata: {path: x, holdout: 0}", "data.holdout", "5%"),
        ("type: train\ndata: {path: x, suffixes: [py]}", "data.suffixes", "job-file.md"),
        ("type: train\ndata: {path: yes, bytes_max: 12 parsecs}", "data.bytes_max", "GB"),
        (TRAIN + "seed: 1.5", "seed", "job-file.md"),
        (TRAIN + "data: {path: y}", "job.yaml:3: 'data' stands here twice", "remove"),
        ("a: &x b\nc: *x", "job.yaml:1", "write it out"),
        ("type: !!python/name:os.system x", "job.yaml:1", "write it out"),
        ("? [a]\n: b", "job.yaml:1", ""),
        ("- a", "job.yaml", "job-file.md"),
        ("a: [b", "job.yaml:1", "YAML"),
        ("a: b\n---\nc: d", "job.yaml:2", "YAML"),
        ("\0", "job.yaml", "UTF-8"),
        ("a: " + "[" * (DEPTH_MAX + 1), "job.yaml:1: nested", ""),
        ("#" * (TEXT_CHARS_MAX + 1), "longer", ""),
    ],
)
def test_a_bad_job_file_says_where_and_what_to_write(text: str, where: str, hint: str) -> None:
    with pytest.raises(Misuse) as refusal:
        read_job(text)
    assert where in str(refusal.value)
    assert hint in refusal.value.fix


@pytest.mark.parametrize(
    "text", ["args.rounds", "=3", "args..rounds=3", "type.x=3", "a=[", "a.b=1"]
)
def test_a_bad_value_to_set_is_named(text: str) -> None:
    with pytest.raises(Misuse, match="--set"):
        train("", text)


def test_so_many_values_to_set_and_no_more() -> None:
    assert train("", *["seed=1"] * SETS_MAX).seed == 1
    with pytest.raises(Misuse, match="at most"):
        train("", *["seed=1"] * (SETS_MAX + 1))


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    for whole in (text, TRAIN + text, TRAIN + f"args:\n  {text}"):
        with suppress(Misuse):
            read_job(whole)


@given(st.text(max_size=60))
def test_no_value_to_set_raises_anything_but_a_refusal(text: str) -> None:
    for whole in (text, f"args.rounds={text}", f"{text}=1"):
        with suppress(Misuse):
            train("", whole)


def test_a_rule_of_merging_and_a_privacy_are_read() -> None:
    lines = (
        "robust: {rule: krum, liars: 1}\n"
        "privacy: {mode: secagg+dp, clip: 0.25, noise: 2, epsilon: 8.5, group: 4}\n"
    )
    job = read_job(TRAIN + lines)
    assert isinstance(job, TrainJob)
    assert job.robust == RobustSpec("krum", 1)
    assert job.privacy == PrivacySpec("secagg+dp", 4, 1 << 22, 2_000_000, 8_500, 5)
    assert not job.privacy.replayable
    plain = read_job(TRAIN + "robust: fltrust\nprivacy: secagg\n")
    assert isinstance(plain, TrainJob)
    assert plain.robust.trusted_steps == plain.inner.steps
    assert plain.privacy == PrivacySpec("secagg")
    sealed = read_job(TRAIN + "privacy: sealed\n")
    assert isinstance(sealed, TrainJob)
    assert sealed.privacy == PrivacySpec("sealed")
    assert sealed.privacy.replayable


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("robust: krumm", 'did you mean "krum"'),
        ("privacy: secag", 'did you mean "secagg"'),
        ("privacy: secagg\nresources: {nodes: 2}", "nodes: 3"),
        ("privacy: {mode: dp, clip: 17}", "not between 0 and 16"),
        ("privacy: secagg\nencoding: {name: int4, fragments: 4}", "fragments: 1"),
        ("encoding: {name: int4, fragments: 4, feedback: 0.9}", "leave feedback out"),
        ("outer: data-parallel\nencoding: {name: int4, fragments: 4}", "outer: diloco"),
        ("encoding: {name: sparse, fragments: 4}", "sparse needs it"),
        ("encoding: {name: int4, density: 1%}", "leave density out"),
        ("args: {rounds: 3}\nencoding: {name: int4, fragments: 4}", "merge 3 of 4 fragments"),
        (
            "model: {layers: 1, heads: 1, width: 8, context: 8}\n"
            "encoding: {name: int8, fragments: 64}",
            "fragments: ",
        ),
    ],
)
def test_a_rule_or_privacy_that_cannot_be_is_told_with_its_place(line: str, words: str) -> None:
    with pytest.raises(Misuse) as caught:
        read_job(TRAIN + line + "\n")
    assert words in f"{caught.value} {caught.value.fix}"


def test_a_module_of_ones_own_is_named_by_file_and_function() -> None:
    job = train("model: {module: nets/small.py:build, context: 32}\n")
    assert job.module == ModuleWish("nets/small.py", "build", 32)


def test_a_module_of_ones_own_reads_tables_pictures_and_arrays() -> None:
    line = "model: {module: small.py:build}\n"
    table = train(line, "data.format=table")
    assert table.module == ModuleWish("small.py", "build", 1, DataFormat("table"))
    pictures = train(line, "data.format=images", "data.side=8")
    assert pictures.module == ModuleWish("small.py", "build", 1, DataFormat("images", side=8))


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("", "table", "built-in models read text"),
        ("model: {module: s.py:f}", "tabel", "no format"),
        ("model: {module: s.py:f, context: 8}", "table", "take no context"),
    ],
)
def test_data_that_a_model_does_not_read_are_told(line: str, kind: str, words: str) -> None:
    with pytest.raises(Misuse, match=words):
        train(f"{line}\n", f"data.format={kind}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("model: {module: small.py, context: 32}", "not FILE.py:FUNCTION"),
        ("model: {module: small:build, context: 32}", "not FILE.py:FUNCTION"),
        ("model: {module: small.py:build}", "takes a context"),
        ("model: {module: small.py:build, context: 32, layers: 2}", "nothing else"),
        ("model: {layers: 2, heads: 2, width: 16}", "context is required"),
        (
            "model: {module: small.py:build, context: 32}\nargs: {steps_per_round: auto}",
            "the built-in model alone",
        ),
    ],
)
def test_a_module_that_is_badly_named_is_told_with_its_place(line: str, words: str) -> None:
    with pytest.raises(Misuse) as caught:
        read_job(TRAIN + line + "\n")
    assert words in f"{caught.value} {caught.value.fix}"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("args: {rounds: many}", "such as rounds: 10"),
        ("resources: {memory: 4}", "such as memory: 500MB"),
        ("data: {path: [x]}", ""),
        ("limits: {time: 3}", "such as time: 6h"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_a_right_one(line: str, fix: str) -> None:
    text = f"type: train\n{line}\n" if "data" in line else f"{TRAIN}\n{line}\n"
    with pytest.raises(Misuse) as refused:
        read_job(text)
    assert refused.value.fix == (fix and f"{fix}; ") + "see docs/job-file.md"

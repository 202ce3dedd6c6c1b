"""The format of a job file. The source of `docs/job.schema.json`; every default stands here."""

from typing import Annotated, Final

import msgspec

from dpin.compute.hubspec import CAUSAL, DATASET_NAME, HEADS, KINDS
from dpin.compute.limits import ENCODINGS, FRAGMENTS_MAX, MERGE_RULES, MODES
from dpin.compute.presets import DEMO_MODEL, OUTERS
from dpin.compute.scores import WITNESSES_MAX
from dpin.compute.task import LINEAR, SCHEDULES, ModelSpec

SEATS_MAX: Final = 20
STEPS_PER_ROUND: Final = 20
PROMPT_BYTES_MAX: Final = 1 << 16
ADAMW: Final = "adamw"
MUON: Final = "muon"
OPTIMS: Final = (ADAMW, MUON)

MODELS: Final = {
    "tiny": DEMO_MODEL,
    "small": ModelSpec(layers=4, heads=4, width=256, context=128),
    "medium": ModelSpec(layers=6, heads=6, width=384, context=256),
}

Meta = msgspec.Meta
Number = str | int | float  # read as decimal text, never as a float
Amount = Annotated[str | int | float, Meta(description="tokens, such as 1.50")]
Name = Annotated[str, Meta(max_length=40, description="for people; else the file's name")]
Seed = Annotated[int, Meta(ge=0, le=2**53, description="same seed, same start and same data order")]
Output = Annotated[str, Meta(min_length=1, max_length=4096, description="folder for the result")]


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections of a job file."""


class DataFields(Fields, frozen=True, kw_only=True):
    """The data to train on. Providers of an open job see them."""

    path: Annotated[str, Meta(min_length=1, max_length=4096, description="file or folder")]
    format: Annotated[
        str, Meta(description="text; for a module of your own also table, images or tokens")
    ] = "text"
    side: Annotated[int, Meta(ge=1, le=1024, description="of pictures, in pixels")] = 32
    suffixes: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^\.[^/]{1,15}$")], ...],
        Meta(min_length=1, max_length=32, description="which files of a folder"),
    ] = (".md", ".py", ".txt")
    bytes_max: Annotated[str, Meta(description="at most so much of it, such as 100MB")] = "100MB"
    holdout: Annotated[Number, Meta(description="share kept aside to measure the loss")] = "5%"


class ModelFields(Fields, frozen=True, kw_only=True):
    """A byte-level transformer of this shape, or a module of your own."""

    layers: Annotated[int, Meta(ge=1, le=48)] = 0
    heads: Annotated[int, Meta(ge=1, le=64)] = 0
    width: Annotated[int, Meta(ge=8, le=8192, description="a multiple of heads")] = 0
    context: Annotated[int, Meta(ge=8, le=8192, description="in bytes")] = 0
    module: Annotated[
        str, Meta(max_length=4096, description="FILE.py:FUNCTION that returns an nn.Module")
    ] = ""


class ArgsFields(Fields, frozen=True, kw_only=True):
    """How to train."""

    learning_rate: Annotated[Number, Meta(description="peak of AdamW, such as 3e-3")] = "3e-3"
    batch_size: Annotated[int, Meta(ge=1, le=4096, description="sequences a step")] = 8
    gradient_accumulation_steps: Annotated[
        int,
        Meta(ge=1, le=4096, description="batches that make one step"),
    ] = 1
    steps_per_round: (
        Annotated[int, Meta(ge=4, le=100_000, description="between two merges")]
        | Annotated[str, Meta(description="auto: as few as the links allow")]
    ) = STEPS_PER_ROUND
    steps_by_rate: Annotated[
        bool, Meta(description="fewer steps a round, down to a quarter, while the rate is high")
    ] = False
    rounds: Annotated[int, Meta(ge=1, le=10_000)] = 10
    warmup_steps: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    weight_decay: Annotated[Number, Meta(description="of AdamW and Muon")] = "0.1"
    optim: Annotated[
        str, Meta(description=f"{' or '.join(OPTIMS)}, for the matrices of the layers")
    ] = ADAMW
    muon_learning_rate: Annotated[
        Number, Meta(description="peak of Muon; auto: 2.5 times learning_rate")
    ] = "auto"
    lr_scheduler_type: Annotated[
        str, Meta(description=f"{' or '.join(SCHEDULES)}: how the rates fall to a tenth")
    ] = LINEAR


class ResourcesFields(Fields, frozen=True, kw_only=True):
    """Whom it needs."""

    nodes: Annotated[int, Meta(ge=1, le=SEATS_MAX, description="providers at one time")] = 3
    memory: Annotated[str, Meta(description="free on each, such as 2GB")] = "500MB"
    up: Annotated[str, Meta(description="of each provider's link; auto: as measured")] = "auto"
    down: Annotated[str, Meta(description="of each provider's link; auto: as measured")] = "auto"


class LimitsFields(Fields, frozen=True, kw_only=True):
    """What it may cost."""

    cost: Amount = "100"
    time: Annotated[str, Meta(description="it is stopped after this, such as 2h")] = "6h"


class InferenceLimitsFields(LimitsFields, frozen=True, kw_only=True):
    """What it may cost."""

    cost: Amount = "10"
    time: Annotated[str, Meta(description="it is stopped after this, such as 10m")] = "10m"


class OuterFields(Fields, frozen=True, kw_only=True):
    """The outer step over merged updates; (1, 0, false) is plain averaging."""

    learning_rate: Number = "1"
    momentum: Number = "0"
    nesterov: bool = False
    warmup_rounds: Annotated[
        int, Meta(ge=0, le=10_000, description="over which the momentum rises to its full size")
    ] = 0


class EncodingFields(Fields, frozen=True, kw_only=True):
    """How an update is written."""

    name: Annotated[str, Meta(description=f"one of {', '.join(ENCODINGS)}")]
    density: Annotated[Number, Meta(description="share of the numbers that is sent; sparse")] = "0"
    feedback: Annotated[
        Number, Meta(description="share of what was not said that goes into the next update")
    ] = "0"
    fragments: Annotated[
        int, Meta(ge=1, le=FRAGMENTS_MAX, description="of which a round merges one, in turn")
    ] = 1


class RobustFields(Fields, frozen=True, kw_only=True):
    """How updates are merged where some of their makers may lie."""

    rule: Annotated[str, Meta(description=f"one of {', '.join(MERGE_RULES)}")] = "mean"
    liars: Annotated[int, Meta(ge=0, le=64, description="reckoned with; 0: one in four")] = 0
    witnesses: Annotated[
        int, Meta(ge=0, le=WITNESSES_MAX, description="drawn nodes that score updates as well")
    ] = 0


class PrivacyFields(Fields, frozen=True, kw_only=True):
    """Who may learn what of a single update; the budget is kept, see `dpin privacy`."""

    mode: Annotated[str, Meta(description=f"one of {', '.join(MODES)}")] = "none"
    group: Annotated[int, Meta(ge=0, le=64, description="members of one sum; 0: all")] = 0
    clip: Annotated[Number, Meta(description="dp: largest norm of one update, at most 16")] = "0.5"
    noise: Annotated[Number, Meta(description="dp: deviation of a sum's noise over the clip")] = "1"
    epsilon: Annotated[Number, Meta(description="dp: the budget of the whole job")] = "10"
    delta_digits: Annotated[int, Meta(ge=1, le=12, description="dp: delta is 10^-digits")] = 5


OuterChoice = Annotated[
    str | OuterFields, Meta(description=f"auto, {', '.join(OUTERS)}, or the outer step")
]
EncodingChoice = Annotated[
    str | EncodingFields, Meta(description=f"auto, {', '.join(ENCODINGS)}, or in detail")
]
RobustChoice = Annotated[
    str | RobustFields, Meta(description=f"rule of merging: {', '.join(MERGE_RULES)}")
]


PrivacyChoice = Annotated[
    str | PrivacyFields, Meta(description=f"of single updates: {', '.join(MODES)}")
]


class TrainFields(Fields, frozen=True, kw_only=True, tag_field="type", tag="train"):
    """Train a byte-level model on your text, on several providers."""

    name: Name = ""
    data: DataFields
    model: Annotated[
        str | ModelFields, Meta(description=f"a shape, or one of {', '.join(MODELS)}")
    ] = "tiny"
    args: ArgsFields = ArgsFields()
    resources: ResourcesFields = ResourcesFields()
    limits: LimitsFields = LimitsFields()
    outer: OuterChoice = "auto"
    encoding: EncodingChoice = "auto"
    robust: RobustChoice = "mean"
    privacy: PrivacyChoice = "none"
    output: Output = "out"
    seed: Seed = 0


class InferenceFields(Fields, frozen=True, kw_only=True, tag_field="type", tag="inference"):
    """Continue a text with a model."""

    name: Name = ""
    model: Annotated[str, Meta(min_length=1, max_length=4096, description="a model's folder")]
    prompt: Annotated[str, Meta(min_length=1, max_length=PROMPT_BYTES_MAX)]
    tokens: Annotated[int, Meta(ge=1, le=100_000, description="bytes to generate")] = 200
    temperature: Annotated[Number, Meta(description="0 is greedy")] = "0.8"
    limits: InferenceLimitsFields = InferenceLimitsFields()
    output: Output = "out"
    seed: Seed = 0


Column = Annotated[str, Meta(min_length=1, max_length=200)]


class FormatFields(Fields, frozen=True, kw_only=True):
    """How files become examples."""

    format: Annotated[str, Meta(description=f"one of {', '.join(KINDS)}")] = "text"
    text: Annotated[Column, Meta(description="column of a table that holds the text")] = "text"
    label: Annotated[Column, Meta(description="column that holds the class")] = "label"
    labels: Annotated[
        tuple[Column, ...], Meta(max_length=1_000, description="the classes; else all that occur")
    ] = ()
    suffixes: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^\.[^/]{1,15}$")], ...],
        Meta(max_length=32, description="which files of a folder; else by format"),
    ] = ()
    bytes_max: Annotated[str, Meta(description="at most so much of it, such as 100MB")] = "100MB"


class TuneDataFields(FormatFields, frozen=True, kw_only=True):
    """The examples to tune on. Providers of an open job see them, as tokens."""

    path: Annotated[str, Meta(min_length=1, max_length=4096, description="file or folder")]
    holdout: Annotated[Number, Meta(description="share kept aside to measure the loss")] = "5%"


class EvalDataFields(FormatFields, frozen=True, kw_only=True):
    """What the model is measured on, all of it. Providers of an open job see it."""

    path: Annotated[str, Meta(min_length=1, max_length=4096, description="file or folder")]


class PrivateDataFields(FormatFields, frozen=True, kw_only=True):
    """Examples that never leave their owners."""

    dataset: Annotated[str, Meta(pattern=DATASET_NAME, description="its name at every owner")]
    eval: Annotated[
        str, Meta(min_length=1, max_length=4096, description="own file that measures the loss")
    ]


class LoraFields(Fields, frozen=True, kw_only=True):
    """Low-rank adapters; names as in peft.LoraConfig."""

    r: Annotated[int, Meta(ge=1, le=1024)] = 16
    lora_alpha: Annotated[int, Meta(ge=1, le=1024)] = 32
    target_modules: Annotated[
        tuple[Annotated[str, Meta(max_length=100)], ...],
        Meta(min_length=1, max_length=64, description="such as [q_proj, v_proj]"),
    ]


class TuneArgsFields(Fields, frozen=True, kw_only=True):
    """How to train; names as in transformers.TrainingArguments."""

    learning_rate: Annotated[Number, Meta(description="peak of AdamW, such as 2e-4")] = "2e-4"
    per_device_train_batch_size: Annotated[int, Meta(ge=1, le=4096)] = 8
    gradient_accumulation_steps: Annotated[int, Meta(ge=1, le=4096)] = 1
    max_steps: Annotated[int, Meta(ge=4, description="of each provider, over all rounds")] = 100
    warmup_steps: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    weight_decay: Annotated[Number, Meta(description="of AdamW and Muon")] = "0"
    optim: Annotated[
        str, Meta(description=f"{' or '.join(OPTIMS)}, for the matrices of the layers")
    ] = ADAMW
    muon_learning_rate: Annotated[
        Number, Meta(description="peak of Muon; auto: 2.5 times learning_rate")
    ] = "auto"
    lr_scheduler_type: Annotated[
        str, Meta(description=f"{' or '.join(SCHEDULES)}: how the rates fall to a tenth")
    ] = LINEAR
    rounds: Annotated[int, Meta(ge=1, le=10_000, description="merges")] = 5


class TuneFields(Fields, frozen=True, kw_only=True, tag_field="type", tag="finetune"):
    """Tune a model of transformers on your examples, on several providers."""

    name: Name = ""
    model: Annotated[str, Meta(min_length=1, max_length=4096, description="a model's folder")]
    data: TuneDataFields
    method: Annotated[str | LoraFields, Meta(description="full, or the adapters")] = "full"
    task: Annotated[str, Meta(description=f"one of {', '.join(HEADS)}")] = CAUSAL
    max_length: Annotated[int, Meta(ge=2, le=32_768, description="tokens of an example")] = 128
    args: TuneArgsFields = TuneArgsFields()
    resources: ResourcesFields = ResourcesFields()
    limits: LimitsFields = LimitsFields()
    outer: OuterChoice = "auto"
    encoding: EncodingChoice = "auto"
    robust: RobustChoice = "mean"
    privacy: PrivacyChoice = "none"
    output: Output = "out"
    seed: Seed = 0


class FederatedFields(Fields, frozen=True, kw_only=True, tag_field="type", tag="federated"):
    """Train on data that stay with their owners, who share nothing but updates."""

    name: Name = ""
    model: Annotated[
        str | ModelFields,
        Meta(description=f"a model's folder, a shape, or one of {', '.join(MODELS)}"),
    ] = "tiny"
    data: PrivateDataFields
    method: Annotated[str | LoraFields, Meta(description="full, or the adapters")] = "full"
    task: Annotated[str, Meta(description=f"one of {', '.join(HEADS)}")] = CAUSAL
    max_length: Annotated[int, Meta(ge=2, le=32_768, description="tokens of an example")] = 128
    args: TuneArgsFields = TuneArgsFields()
    resources: ResourcesFields = ResourcesFields()
    limits: LimitsFields = LimitsFields()
    outer: OuterChoice = "auto"
    encoding: EncodingChoice = "auto"
    robust: RobustChoice = "mean"
    privacy: PrivacyChoice = "none"
    output: Output = "out"
    seed: Seed = 0


class EvalArgsFields(Fields, frozen=True, kw_only=True):
    """How to measure; names as in transformers.TrainingArguments."""

    per_device_eval_batch_size: Annotated[int, Meta(ge=1, le=4096)] = 8
    attempts: Annotated[
        int, Meta(ge=1, le=100, description="rounds in which a part that was lost is done again")
    ] = 4


class EvalFields(Fields, frozen=True, kw_only=True, tag_field="type", tag="eval"):
    """Measure a model on data, a part on each provider."""

    name: Name = ""
    model: Annotated[str, Meta(min_length=1, max_length=4096, description="a model's folder")]
    data: EvalDataFields
    task: Annotated[str, Meta(description=f"one of {', '.join(HEADS)}")] = CAUSAL
    max_length: Annotated[int, Meta(ge=2, le=32_768, description="tokens of an example")] = 128
    args: EvalArgsFields = EvalArgsFields()
    resources: ResourcesFields = ResourcesFields()
    limits: LimitsFields = LimitsFields()
    output: Output = "out"


JobFields = TrainFields | TuneFields | FederatedFields | EvalFields | InferenceFields


def schema_text() -> str:
    """The JSON Schema of a job file, as `docs/job.schema.json` holds it."""
    head: dict[str, object] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dpin job",
    }
    schema = head | msgspec.json.schema(JobFields)
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"

"""Jobs that tune a model of transformers, or train on private data, as training jobs and a wish."""

from typing import Final

import msgspec

from dpin.base.errors import Misuse
from dpin.compute.hubspec import (
    CAUSAL,
    HEADS,
    PICTURE,
    TEXT,
    DataFormat,
    LoraSpec,
    PrivateSpec,
    check_private,
)
from dpin.compute.safety import PrivacySpec
from dpin.market.privacy import SUFFIXES
from dpin.node.fields import suggestion
from dpin.node.jobfields import (
    MODELS,
    ArgsFields,
    DataFields,
    FederatedFields,
    FormatFields,
    LoraFields,
    TrainFields,
    TuneArgsFields,
    TuneFields,
)
from dpin.node.modulefile import names_module

FULL: Final = "full"
STEPS_MIN: Final = 4  # of a round


class HubWish(msgspec.Struct, frozen=True):
    """What a job file says of a model of transformers and of its data."""

    folder: str  # relative to the job file's folder, or absolute; empty: the built-in model
    head: str = CAUSAL
    context: int = 0
    lora: LoraSpec | None = None
    data: DataFormat = TEXT
    accumulation: int = 1
    private: PrivateSpec | None = None


def wish_of(fields: TuneFields | FederatedFields) -> HubWish:
    """Raises Misuse for a task, a format or a method that is none."""
    if fields.task not in HEADS:
        raise Misuse(f"there is no task {fields.task!r}", suggestion(fields.task, HEADS))
    data = format_of(fields.data)
    builtin = isinstance(fields, FederatedFields) and (
        not isinstance(fields.model, str) or fields.model in MODELS
    )
    folder = "" if builtin or not isinstance(fields.model, str) else fields.model
    if names_module(fields.model):
        raise Misuse("a module of your own is for text of yours", "type: train")
    private = None
    if isinstance(fields, FederatedFields):
        private = PrivateSpec(fields.data.dataset, data)
        mode = fields.privacy if isinstance(fields.privacy, str) else fields.privacy.mode
        if PrivacySpec(mode).sealed:
            raise Misuse("data that never travel need no seal", "privacy: secagg")
        check_private(private)
        if data.kind != "text" and not data.labels and fields.task != CAUSAL:
            raise Misuse(
                "owners cannot agree on classes that nobody names", "data.labels: [no, yes]"
            )
    return HubWish(
        folder=folder,
        head=fields.task,
        context=0 if fields.task == PICTURE else fields.max_length,
        lora=_lora(fields.method),
        data=data,
        accumulation=fields.args.gradient_accumulation_steps,
        private=private,
    )


def format_of(fields: FormatFields) -> DataFormat:
    """Raises Misuse for a format that nobody reads."""
    if fields.format not in SUFFIXES:
        fix = suggestion(fields.format, SUFFIXES)
        raise Misuse(f"there is no data format {fields.format!r}", fix)
    return DataFormat(fields.format, fields.text, fields.label, fields.labels)


def _lora(method: str | LoraFields) -> LoraSpec | None:
    if isinstance(method, LoraFields):
        return LoraSpec(method.r, method.lora_alpha, method.target_modules)
    if method != FULL:
        fix = "method: full, or {r: 16, lora_alpha: 32, target_modules: [q_proj, v_proj]}"
        raise Misuse(f"there is no method {method!r}", fix)
    return None


def train_fields(fields: TuneFields | FederatedFields) -> TrainFields:
    """The part that is as in any training job; raises Misuse."""
    data = fields.data
    model = fields.model if isinstance(fields, FederatedFields) else "tiny"
    if isinstance(model, str) and model not in MODELS:
        model = "tiny"  # It has no part in the job: the wish names the model.
    return TrainFields(
        name=fields.name,
        data=DataFields(
            path=fields.data.eval if isinstance(fields, FederatedFields) else fields.data.path,
            suffixes=data.suffixes or SUFFIXES.get(data.format, (".txt",)),
            bytes_max=data.bytes_max,
            holdout="5%" if isinstance(fields, FederatedFields) else fields.data.holdout,
        ),
        model=model,
        args=_args(fields.args),
        resources=fields.resources,
        limits=fields.limits,
        outer=fields.outer,
        encoding=fields.encoding,
        robust=fields.robust,
        privacy=fields.privacy,
        output=fields.output,
        seed=fields.seed,
    )


def _args(args: TuneArgsFields) -> ArgsFields:
    steps = -(-args.max_steps // args.rounds)
    if steps < STEPS_MIN:
        raise Misuse(
            f"{args.max_steps} steps in {args.rounds} rounds are fewer than {STEPS_MIN} a round",
            f"max_steps: {STEPS_MIN * args.rounds}",
        )
    return ArgsFields(
        learning_rate=args.learning_rate,
        batch_size=args.per_device_train_batch_size * args.gradient_accumulation_steps,
        steps_per_round=steps,
        rounds=args.rounds,
        warmup_steps=args.warmup_steps,
        weight_decay=args.weight_decay,
        optim=args.optim,
        muon_learning_rate=args.muon_learning_rate,
        lr_scheduler_type=args.lr_scheduler_type,
    )

"""A job as people write it: YAML text to a frozen JobSpec of integers."""

from collections.abc import Sequence
from typing import Final

import msgspec

from dpin.base.units import MILLION, Micros, MicroTokens, Ppm, parse_tokens
from dpin.compute.limits import (
    MASKED_SEATS_MIN,
    MODES,
)
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.task import (
    SCHEDULES,
    EncodingSpec,
    InnerSpec,
    ModelSpec,
    OuterSpec,
)
from dpin.market.evaluating import EVALUATION
from dpin.market.orders import TuneSpec
from dpin.node.document import Document, Tree, apply_sets, read_document
from dpin.node.evalfile import eval_fields, eval_wish
from dpin.node.fields import parse_link, parse_size, parse_time, suggestion
from dpin.node.jobfields import (
    MODELS,
    MUON,
    OPTIMS,
    STEPS_PER_ROUND,
    EvalFields,
    FederatedFields,
    InferenceFields,
    JobFields,
    LimitsFields,
    PrivacyFields,
    TrainFields,
    TuneFields,
)
from dpin.node.jobshape import example_of, path_of, struct_in
from dpin.node.mergefile import AUTO, encoding, outer_step, robust_rule
from dpin.node.modulefile import ModuleWish, module_wish
from dpin.node.refusals import read_at, refuse, share_at
from dpin.node.sweep import without_sweep
from dpin.node.tunefile import HubWish, train_fields, wish_of

CLIP_MAX: Final = 16
NOISE_MAX: Final = 100
WORDS_A_UNIT: Final = 1 << 24  # an update's numbers count in units of 2^-24
HOLDOUT_MAX_PPM: Final = 500_000
TEMPERATURE_MAX_PPM: Final = 10 * MILLION
MUON_TIMES_TEN: Final = 25  # of AdamW's rate: as in benchmarks/bytes.py


class DataSpec(msgspec.Struct, frozen=True):
    """Which bytes of which files."""

    path: str  # relative to the job file's folder, or absolute
    suffixes: tuple[str, ...]
    bytes_max: int
    holdout_ppm: Ppm


class Limits(msgspec.Struct, frozen=True):
    """What a job may cost."""

    cost: MicroTokens
    time: Micros


class TrainJob(msgspec.Struct, frozen=True):
    """A training job, checked, in integers."""

    name: str
    data: DataSpec
    model: ModelSpec
    inner: InnerSpec
    outer: OuterSpec
    encoding: EncodingSpec
    tune: TuneSpec | None
    rounds: int
    seats: int
    memory_bytes: int
    limits: Limits
    output: str
    seed: int
    module: ModuleWish | None = None  # code of the requester's own instead of `model`
    hub: HubWish | None = None  # not the built-in model, or not the requester's data
    robust: RobustSpec = RobustSpec()
    privacy: PrivacySpec = PrivacySpec()


class InferenceJob(msgspec.Struct, frozen=True):
    """One generation, checked, in integers."""

    name: str
    model: str  # folder, relative to the job file's folder, or absolute
    prompt: bytes
    tokens: int
    temperature_ppm: Ppm
    limits: Limits
    output: str
    seed: int


JobSpec = TrainJob | InferenceJob


def read_job(text: str, source: str = "job.yaml", sets: Sequence[str] = ()) -> JobSpec:
    """Read and check a job file; raises Misuse with file:line and what to write instead."""
    document = read_document(text, source)
    apply_sets(document, list(sets))
    without_sweep(document, list(sets))
    kind = _kind(document)
    _check_keys(document, document.values, kind, "")
    try:
        fields = msgspec.convert(document.values, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        where = path_of(path)
        plain = message.replace("Object missing required field", "required and not there:")
        refuse(document, where, plain.replace("`", ""), example_of(kind, where))
    match fields:
        case TrainFields():
            return _train(document, fields)
        case TuneFields() | FederatedFields():
            wish = read_at(document, "", lambda: wish_of(fields))
            train = read_at(document, "args", lambda: train_fields(fields))
            return msgspec.structs.replace(_train(document, train), hub=wish)
        case EvalFields():
            wish = read_at(document, "", lambda: eval_wish(fields))
            job = _train(document, eval_fields(fields))
            return msgspec.structs.replace(job, hub=wish, outer=EVALUATION)
        case InferenceFields():
            return _inference(document, fields)


def _kind(document: Document) -> type[JobFields]:
    kinds: dict[str, type[JobFields]] = {
        "train": TrainFields,
        "finetune": TuneFields,
        "federated": FederatedFields,
        "eval": EvalFields,
        "inference": InferenceFields,
    }
    said = document.values.get("type")
    if said is None:
        refuse(document, "", "the job's type is missing", "type: train")
    if not isinstance(said, str) or said not in kinds:
        refuse(document, "type", f"there is no job type {said!r}", suggestion(str(said), kinds))
    return kinds[said]


def _check_keys(document: Document, table: dict[str, Tree], kind: type, path: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    known = {*fields} if path else {*fields, "type"}
    for key, value in table.items():
        here = f"{path}.{key}" if path else key
        if key not in known:
            inside = f" in {path}" if path else ""
            refuse(document, here, f"unknown key {key!r}{inside}", suggestion(key, known))
        inner = struct_in(fields.get(key))
        if inner is not None and isinstance(value, dict):
            _check_keys(document, value, inner, here)


def _limits(document: Document, fields: LimitsFields) -> Limits:
    cost = read_at(document, "limits.cost", lambda: parse_tokens(str(fields.cost)))
    time = read_at(document, "limits.time", lambda: parse_time(fields.time))
    if not cost:
        refuse(document, "limits.cost", "nobody works for nothing", "cost: 10")
    if not time:
        refuse(document, "limits.time", "no time is no job", "time: 2h")
    return Limits(cost, time)


def _train(document: Document, fields: TrainFields) -> TrainJob:
    data = DataSpec(
        path=fields.data.path,
        suffixes=fields.data.suffixes,
        bytes_max=read_at(document, "data.bytes_max", lambda: parse_size(fields.data.bytes_max)),
        holdout_ppm=share_at(document, "data.holdout", fields.data.holdout, HOLDOUT_MAX_PPM),
    )
    if not data.holdout_ppm:
        refuse(document, "data.holdout", "without it no loss can be measured", "holdout: 5%")
    memory = fields.resources.memory
    model, inner = _model(document, fields), _inner(document, fields)
    return TrainJob(
        name=fields.name,
        data=data,
        model=model,
        module=read_at(document, "model", lambda: module_wish(fields)),
        inner=inner,
        outer=outer_step(document, fields),
        encoding=encoding(document, fields, model),
        tune=_tune(document, fields),
        rounds=fields.args.rounds,
        seats=fields.resources.nodes,
        memory_bytes=read_at(document, "resources.memory", lambda: parse_size(memory)),
        limits=_limits(document, fields.limits),
        output=fields.output,
        seed=fields.seed,
        robust=robust_rule(document, fields, inner.steps),
        privacy=_privacy(document, fields),
    )


def _model(document: Document, fields: TrainFields) -> ModelSpec:
    model = fields.model
    if isinstance(model, str):
        if model not in MODELS:
            refuse(document, "model", f"there is no model {model!r}", suggestion(model, MODELS))
        return MODELS[model]
    if not model.layers * model.heads * model.width:
        return MODELS["tiny"]  # It has no part in the job: the wish names the code.
    if model.width % model.heads:
        fix = f"width: {model.width // model.heads * model.heads or model.heads}"
        refuse(document, "model.width", f"not a multiple of {model.heads} heads", fix)
    return ModelSpec(model.layers, model.heads, model.width, model.context)


def _inner(document: Document, fields: TrainFields) -> InnerSpec:
    args = fields.args
    rate = share_at(document, "args.learning_rate", args.learning_rate, MILLION)
    if not rate:
        refuse(document, "args.learning_rate", "a rate of 0 learns nothing", "learning_rate: 3e-3")
    return InnerSpec(
        learning_rate_ppm=rate,
        weight_decay_ppm=share_at(document, "args.weight_decay", args.weight_decay, MILLION),
        warmup_steps=args.warmup_steps,
        batch=args.batch_size * args.gradient_accumulation_steps,
        steps=STEPS_PER_ROUND if isinstance(args.steps_per_round, str) else args.steps_per_round,
        accumulation=args.gradient_accumulation_steps,
        muon_rate_ppm=_muon(document, fields, rate),
        schedule=_schedule(document, args.lr_scheduler_type),
        steps_by_rate=_by_rate(document, fields),
    )


def _schedule(document: Document, said: str) -> str:
    """How the learning rates fall."""
    if said not in SCHEDULES:
        fix = suggestion(said, SCHEDULES)
        refuse(document, "args.lr_scheduler_type", f"there is no schedule {said!r}", fix)
    return said


def _by_rate(document: Document, fields: TrainFields) -> bool:
    """Whether units are shorter while the learning rate is high."""
    args = fields.args
    if args.steps_by_rate and fields.outer == "data-parallel":
        fix = "outer: fedavg, or leave out steps_by_rate"
        refuse(document, "args.steps_by_rate", "data-parallel takes one step a round", fix)
    if args.steps_by_rate and isinstance(args.steps_per_round, str):
        fix = "steps_per_round: 24, those of the last rounds"
        refuse(document, "args.steps_by_rate", "auto gives all rounds as many steps", fix)
    return args.steps_by_rate


def _muon(document: Document, fields: TrainFields, rate: Ppm) -> int:
    """Peak of Muon's rate; 0 where AdamW moves everything."""
    args = fields.args
    if args.optim not in OPTIMS:
        fix = suggestion(args.optim, OPTIMS)
        refuse(document, "args.optim", f"there is no optimizer {args.optim!r}", fix)
    if args.optim != MUON:
        return 0
    if fields.outer == "data-parallel":
        fix = "outer: fedavg, or optim: adamw"
        refuse(document, "args.optim", "data-parallel takes one step of AdamW a round", fix)
    said = args.muon_learning_rate
    if said == AUTO:
        return min(MILLION, MUON_TIMES_TEN * rate // 10)
    return share_at(document, "args.muon_learning_rate", said, MILLION)


def _tune(document: Document, fields: TrainFields) -> TuneSpec | None:
    """What is left to the node to choose: nothing where the steps of a round are given."""
    steps, resources = fields.args.steps_per_round, fields.resources
    if not isinstance(steps, str):
        return None
    if steps != AUTO:
        refuse(document, "args.steps_per_round", f"{steps!r} is no number", "steps_per_round: 20")
    up = read_at(document, "resources.up", lambda: parse_link(resources.up))
    down = read_at(document, "resources.down", lambda: parse_link(resources.down))
    free = fields.encoding == AUTO and fields.outer in {AUTO, "sparseloco"}
    return TuneSpec(up, down, free, free and fields.outer == AUTO)


def _privacy(document: Document, fields: TrainFields) -> PrivacySpec:
    said = fields.privacy
    privacy = PrivacyFields(mode=said) if isinstance(said, str) else said
    if privacy.mode not in MODES:
        where = "privacy" if isinstance(said, str) else "privacy.mode"
        fix = suggestion(privacy.mode, MODES)
        refuse(document, where, f"there is no privacy {privacy.mode!r}", fix)
    spec = PrivacySpec(privacy.mode)
    if spec.masked and fields.resources.nodes < MASKED_SEATS_MIN:
        fix = f"nodes: {MASKED_SEATS_MIN}"
        refuse(document, "resources.nodes", "the sum of fewer than three hides nothing", fix)
    if not spec.noised:
        return PrivacySpec(privacy.mode, privacy.group)
    clip = share_at(document, "privacy.clip", privacy.clip, CLIP_MAX * MILLION)
    return PrivacySpec(
        mode=privacy.mode,
        group=privacy.group,
        clip=max(1, clip * WORDS_A_UNIT // MILLION),
        noise_ppm=share_at(document, "privacy.noise", privacy.noise, NOISE_MAX * MILLION),
        epsilon_milli=share_at(document, "privacy.epsilon", privacy.epsilon, MILLION * 1_000)
        // 1_000,
        delta_digits=privacy.delta_digits,
    )


def _inference(document: Document, fields: InferenceFields) -> InferenceJob:
    return InferenceJob(
        name=fields.name,
        model=fields.model,
        prompt=fields.prompt.encode(),
        tokens=fields.tokens,
        temperature_ppm=share_at(document, "temperature", fields.temperature, TEMPERATURE_MAX_PPM),
        limits=_limits(document, fields.limits),
        output=fields.output,
        seed=fields.seed,
    )

"""Jobs that evaluate a model, as training jobs whose steps count."""

import json
from typing import Final

import msgspec

from dpin.base.errors import Misuse
from dpin.compute.hubspec import CAUSAL, HEADS, PICTURE, TEXT, DataFormat
from dpin.compute.task import ModelSpec
from dpin.market.privacy import SUFFIXES
from dpin.node.fields import suggestion
from dpin.node.jobfields import ArgsFields, DataFields, EvalFields, TrainFields
from dpin.node.tunefile import HubWish, format_of

ARCHITECTURE: Final = "dpin-byte-gpt-1"
STEPS_MIN: Final = 4


def eval_wish(fields: EvalFields) -> HubWish:
    """Raises Misuse for a task or a format that is none."""
    if fields.task not in HEADS:
        raise Misuse(f"there is no task {fields.task!r}", suggestion(fields.task, HEADS))
    return HubWish(
        folder=fields.model,
        head=fields.task,
        context=0 if fields.task == PICTURE else fields.max_length,
        data=format_of(fields.data),
    )


def eval_fields(fields: EvalFields) -> TrainFields:
    """The part that is as in any training job."""
    data = fields.data
    return TrainFields(
        name=fields.name,
        data=DataFields(
            path=data.path,
            suffixes=data.suffixes or SUFFIXES.get(data.format, (".txt",)),
            bytes_max=data.bytes_max,
        ),
        args=ArgsFields(
            batch_size=fields.args.per_device_eval_batch_size,
            steps_per_round=STEPS_MIN,  # How many there are is known once the data are cut.
            rounds=fields.args.attempts,
        ),
        resources=fields.resources,
        limits=fields.limits,
        output=fields.output,
    )


class _Shape(msgspec.Struct, frozen=True):
    layers: int
    heads: int
    width: int
    context: int


class _Config(msgspec.Struct, frozen=True):
    """The part of a built-in model's config.json that says what it is."""

    architecture: str
    model: _Shape


def built_in(config: str) -> ModelSpec | None:
    """The built-in model that a config.json describes; None where it is of another kind."""
    try:
        found = msgspec.json.decode(config, type=_Config)
    except msgspec.MsgspecError:
        return None
    shape = found.model
    if found.architecture != ARCHITECTURE:
        return None
    return ModelSpec(shape.layers, shape.heads, shape.width, shape.context)


def check_built_in(wish: HubWish) -> None:
    """Raise Misuse where a byte model is asked for what it cannot do."""
    if wish.head != CAUSAL or wish.data.kind != TEXT.kind:
        raise Misuse("the built-in model reads plain text alone", "data: {format: text}")


def with_classes(data: DataFormat, config: str, head: str) -> DataFormat:
    """The format with the classes that the model has; its own order counts, not the data's."""
    if head == CAUSAL or data.labels:
        return data
    named = json.loads(config).get("id2label")
    if not isinstance(named, dict):
        raise Misuse("the model's config.json names no classes", "data.labels: [no, yes]")
    try:
        labels = tuple(str(named[key]) for key in sorted(named, key=int))
    except ValueError:
        raise Misuse("the model's config.json has an id2label that counts nothing") from None
    return DataFormat(data.kind, data.text, data.label, labels)

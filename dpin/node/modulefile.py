"""A module of the requester's own, as a job file names it: `model: {module: net.py:build}`."""

from typing import Final

import msgspec

from dpin.base.errors import Misuse
from dpin.compute.hubspec import TEXT, DataFormat
from dpin.node.jobfields import DataFields, ModelFields, TrainFields

EXAMPLE: Final = "model: {module: net.py:build, context: 64}"
ROWS_EXAMPLE: Final = "model: {module: net.py:build}"
ROW_KINDS: Final = ("table", "images", "tokens")
SIZES: Final = ("layers", "heads", "width")


class ModuleWish(msgspec.Struct, frozen=True):
    """A file of code, and the function in it that returns the module."""

    path: str  # relative to the job file's folder, or absolute
    entry: str
    context: int
    data: DataFormat = TEXT


def module_wish(fields: TrainFields) -> ModuleWish | None:
    """None where the model is a built-in one; raises Misuse."""
    model, data = fields.model, _data(fields.data)
    if not names_module(model) and data != TEXT:
        raise Misuse(f"built-in models read text, not {data.kind}", EXAMPLE)
    if isinstance(model, str):
        return None
    values = msgspec.structs.asdict(model)
    if not model.module:
        absent = [name for name in (*SIZES, "context") if not values[name]]
        if absent:
            raise Misuse(f"{absent[0]} is required and not there")
        return None
    path, _, entry = model.module.rpartition(":")
    if not path.endswith(".py") or not entry.isidentifier():
        raise Misuse(f"{model.module!r} is not FILE.py:FUNCTION", EXAMPLE)
    _check_sizes(model, data)
    if isinstance(fields.args.steps_per_round, str):
        raise Misuse("auto times the built-in model alone", "args.steps_per_round: 20")
    return ModuleWish(path, entry, model.context or 1, data)


def _check_sizes(model: ModelFields, data: DataFormat) -> None:
    """Raise Misuse for sizes that such a module does not take."""
    if data != TEXT and model.context:
        raise Misuse("rows are as wide as they are: they take no context", ROWS_EXAMPLE)
    if model.layers or model.heads or model.width or (data == TEXT and not model.context):
        raise Misuse("a module of your own takes a context and nothing else", EXAMPLE)


def _data(fields: DataFields) -> DataFormat:
    """How files become examples; raises Misuse."""
    if fields.format == TEXT.kind:
        return TEXT
    if fields.format not in ROW_KINDS:
        raise Misuse(f"there is no format {fields.format!r}", f"one of {', '.join(ROW_KINDS)}")
    return DataFormat(fields.format, side=fields.side if fields.format == "images" else 0)


def names_module(model: str | ModelFields) -> bool:
    """Whether a model is somebody's own code."""
    return isinstance(model, ModelFields) and bool(model.module)

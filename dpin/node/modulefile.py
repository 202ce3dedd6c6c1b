"""A module of the requester's own, as a job file names it: `model: {module: net.py:build}`."""

from typing import Final

import msgspec

from dpin.base.errors import Misuse
from dpin.node.jobfields import ModelFields, TrainFields

EXAMPLE: Final = "model: {module: net.py:build, context: 64}"
SIZES: Final = ("layers", "heads", "width")


class ModuleWish(msgspec.Struct, frozen=True):
    """A file of code, and the function in it that returns the module."""

    path: str  # relative to the job file's folder, or absolute
    entry: str
    context: int


def module_wish(fields: TrainFields) -> ModuleWish | None:
    """None where the model is a built-in one; raises Misuse."""
    model = fields.model
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
    if any(values[name] for name in SIZES) or not model.context:
        raise Misuse("a module of your own takes a context and nothing else", EXAMPLE)
    if isinstance(fields.args.steps_per_round, str):
        raise Misuse("auto times the built-in model alone", "args.steps_per_round: 20")
    return ModuleWish(path, entry, model.context)


def names_module(model: str | ModelFields) -> bool:
    """Whether a model is somebody's own code."""
    return isinstance(model, ModelFields) and bool(model.module)

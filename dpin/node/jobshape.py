"""The structs of a job file, walked by path: what a field is, and how it may be written."""

import re
from typing import get_args

import msgspec


def struct_in(kind: object) -> type | None:
    """The struct that a field's type is, or may be."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    found = (struct_in(part) for part in get_args(kind))
    return next((part for part in found if part is not None), None)


def path_of(text: str) -> str:
    """The `$.data.suffixes[0]` of msgspec as "data.suffixes"."""
    return re.sub(r"\[[^]]*\]", "", text.strip("`").removeprefix("$").removeprefix("."))


def example_of(kind: type, path: str) -> str:
    """The field at a path with its default, as a job file writes it; empty where it has none."""
    default: object = msgspec.NODEFAULT
    within: type | None = kind
    for name in path.split("."):
        fields = {field.name: field for field in msgspec.structs.fields(within)} if within else {}
        if name not in fields:
            return ""
        default, within = fields[name].default, struct_in(fields[name].type)
    if not isinstance(default, str | int) or default in {"", "0", 0}:
        return ""
    return f"such as {path.rpartition('.')[2]}: {default}; see docs/job-file.md"

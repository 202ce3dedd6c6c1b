"""Errors in a job file that say where they stand."""

from collections.abc import Callable
from typing import Never, TypeVar

from dpin.base.errors import Misuse
from dpin.base.units import MILLION, Ppm
from dpin.node.document import Document
from dpin.node.fields import parse_ppm
from dpin.node.jobfields import Number

T = TypeVar("T")


def refuse(document: Document, path: str, message: str, fix: str = "") -> Never:
    """Raise Misuse with the place of a key in its file."""
    named = f"{path}: " if path and "unknown key" not in message else ""
    raise Misuse(
        f"{document.place(path)}: {named}{message[:1].lower()}{message[1:]}",
        fix=fix or "see docs/job-file.md",
    )


def read_at(document: Document, path: str, read: Callable[[], T]) -> T:
    """What `read` gives; its Misuse is told where in the file it stands."""
    try:
        return read()
    except Misuse as error:
        refuse(document, path, str(error), error.fix)


def share_at(document: Document, path: str, value: Number, most: int) -> Ppm:
    """A number in [0, most] parts per million."""
    parts = read_at(document, path, lambda: parse_ppm(value, "it"))
    if not 0 <= parts <= most:
        refuse(document, path, f"{value} is not between 0 and {most / MILLION:g}")
    return parts

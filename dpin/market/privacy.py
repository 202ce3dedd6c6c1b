"""Private datasets: what an owner declares, and whether a job's wish is met by it.

A declaration is one line, `NAME FORMAT COLUMNS PATH`: a name that owners of like data agree on, a
format of `compute.hubspec.KINDS`, the columns of a table joined by "+" (or "-"), and where it lies.
The path never leaves the node; name, format and columns are told only by bidding or declining.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.errors import Misuse
from dpin.compute.hubspec import DATASET_NAME, KINDS, PrivatePlace, PrivateSpec

BYTES_MAX: Final = 1 << 32
SUFFIXES: Final = {
    "text": (".md", ".py", ".txt"),
    "chat": (".jsonl",),
    "table": (".csv", ".parquet", ".jsonl"),
    "images": (".bmp", ".jpeg", ".jpg", ".png"),
    "tokens": (".npy",),
}
EXAMPLE: Final = 'datasets = ["ward-notes table text+label /srv/notes.csv"]'
PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class OwnDataset:
    """One dataset of this node."""

    name: str
    kind: str
    columns: tuple[str, ...]
    path: str

    def fits(self, wanted: PrivateSpec) -> bool:
        """Whether a job may train on it: same name, same format, and the columns are there."""
        same = (self.name, self.kind) == (wanted.name, wanted.format.kind)
        return same and needed_columns(wanted) <= {*self.columns}

    @property
    def place(self) -> PrivatePlace:
        """Where the worker reads it."""
        return PrivatePlace(self.path, SUFFIXES[self.kind], BYTES_MAX)


def parse_datasets(lines: Sequence[str]) -> tuple[OwnDataset, ...]:
    """Read an operator's declarations; raises Misuse for the first that is none."""
    found = []
    for line in lines:
        parts = line.split(None, PARTS - 1)
        if len(parts) != PARTS or parts[1] not in KINDS or not re.fullmatch(DATASET_NAME, parts[0]):
            raise Misuse(f"{line!r} is not NAME FORMAT COLUMNS PATH", EXAMPLE)
        name, kind, columns, path = parts
        found.append(OwnDataset(name, kind, tuple(columns.split("+")), path))
    return tuple(found)


def needed_columns(wanted: PrivateSpec) -> set[str]:
    """Of a table, what the job reads; of all else, none."""
    if wanted.format.kind != "table":
        return set()
    return {wanted.format.text, *([wanted.format.label] if wanted.format.labels else [])}


def misfit(datasets: Sequence[OwnDataset], wanted: PrivateSpec) -> str:
    """Why no dataset of this node serves a job: of columns, only those that are asked for."""
    kind, named = wanted.format.kind, [own for own in datasets if own.name == wanted.name]
    if not named:
        return f"has no dataset {wanted.name!r}"
    alike = [own for own in named if own.kind == kind]
    if not alike:
        return f"declares {wanted.name!r} as {named[0].kind}, not as {kind}"
    lacking = ", ".join(sorted(needed_columns(wanted) - {*alike[0].columns}))
    return f"declares {wanted.name!r} without the columns asked: {lacking}"


def place_for(datasets: Sequence[OwnDataset], wanted: PrivateSpec | None) -> PrivatePlace | None:
    """Where this node's part of a job's data lies, if it has one."""
    if wanted is None:
        return None
    return next((own.place for own in datasets if own.fits(wanted)), None)

"""Sweeps: one file, many small jobs that differ in the values of a grid."""

from collections.abc import Sequence
from itertools import product
from typing import Final

import msgspec

from dpin.base.errors import Misuse
from dpin.node.document import Document, apply_sets, read_document

POINTS_MAX: Final = 64
KEY: Final = "sweep"
EXAMPLE: Final = "sweep: {args.learning_rate: [1e-3, 3e-3], args.batch_size: [4, 8]}"


class Point(msgspec.Struct, frozen=True):
    """One job of a sweep: what it sets, in the order of the file."""

    number: int
    values: tuple[tuple[str, str], ...]
    output: str

    @property
    def sets(self) -> list[str]:
        """As `--set` would say it; each point has a folder of its own for its result."""
        return [f"{path}={value}" for path, value in (*self.values, ("output", self.output))]


def points_of(text: str, source: str = "job.yaml", sets: Sequence[str] = ()) -> list[Point]:
    """The points of a job file's grid, the last key turning fastest; none where it has no sweep."""
    document = read_document(text, source)
    apply_sets(document, list(sets))
    if KEY not in document.values:
        return []
    grid = _grid(document)
    output = document.values.get("output", "out")
    found = [
        Point(number, tuple(zip(grid, values, strict=True)), f"{output}/{number}")
        for number, values in enumerate(product(*grid.values()), 1)
    ]
    if len(found) > POINTS_MAX:
        raise Misuse(
            f"{document.place(KEY)}: {len(found)} jobs in a sweep, at most {POINTS_MAX} are made",
            "leave out some values",
        )
    return found


def _grid(document: Document) -> dict[str, list[str]]:
    said = document.values[KEY]
    if not isinstance(said, dict) or not said:
        raise Misuse(f"{document.place(KEY)}: a sweep is a list of values by path", EXAMPLE)
    grid = {}
    for path, values in said.items():
        plain = isinstance(values, list) and values and not any(_nested(one) for one in values)
        if not plain or not isinstance(values, list):
            raise Misuse(f"{document.place(f'{KEY}.{path}')}: {path} needs plain values", EXAMPLE)
        grid[path] = [_text(value) for value in values]
        if len({*grid[path]}) < len(grid[path]):
            raise Misuse(
                f"{document.place(f'{KEY}.{path}')}: {path} has a value twice", "leave one out"
            )
    return grid


def _nested(value: object) -> bool:
    return isinstance(value, dict | list)


def _text(value: object) -> str:
    """As YAML reads it again."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def without_sweep(document: Document, sets: list[str]) -> None:
    """Take the grid out of a file that is one point of it; raises Misuse where it is not."""
    if KEY not in document.values:
        return
    grid = _grid(document)
    given = {text.partition("=")[0].strip() for text in sets}
    missing = [path for path in grid if path not in given]
    if missing:
        raise Misuse(
            f"{document.place(KEY)}: the file is a sweep, and nothing says which {missing[0]}",
            "dpin submit makes a job of each of its points",
        )
    del document.values[KEY]

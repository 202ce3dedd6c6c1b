"""What a worker's pure parts need from outside: files, a clock, and somebody to tell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from dpin.base.errors import Misuse
from dpin.compute.foreign import Cells, NoCells
from dpin.compute.task import Report


class Files(Protocol):
    """Whole files by name. Raises OSError where the disk says no."""

    def read(self, path: str) -> bytes:
        """All of a file."""
        ...

    def write(self, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """Put a file into a folder, made if need be: its parts one after the other.

        Answers with its absolute path.
        """
        ...

    def rewrite(self, old: str, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """`write` in place of a file that nobody needs, which is gone then.

        Whoever reads that one meanwhile reads something else.
        """
        ...

    def remove(self, path: str) -> None:
        """Harmless where there is none."""
        ...

    def corpus(self, path: str, suffixes: tuple[str, ...], bytes_max: int) -> bytes:
        """A text file, or all files of a folder with these suffixes in sorted order, cut."""
        ...

    def tree(self, path: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        """The files of a folder's folders, in sorted order: name of the folder, content."""
        ...


def read_update(files: Files, path: str) -> bytes:
    """An update; no path, no bytes: what is larger than any update may be was not fetched."""
    return files.read(path) if path else b""


def read_text(files: Files, path: str, suffixes: tuple[str, ...], bytes_max: int) -> bytes:
    """A corpus that says something; raises Misuse for one that does not."""
    found = files.corpus(path, suffixes, bytes_max)
    if not found:
        raise Misuse(
            f"{path} is empty, or holds no file that ends in {', '.join(suffixes)}",
            "data.suffixes says which files of a folder are read",
        )
    return found


@dataclass(frozen=True, slots=True)
class Door:
    """The way out of the pure parts."""

    files: Files
    clock_ms: Callable[[], int]
    report: Callable[[Report], None]
    pulse: Callable[[], None]  # called once a step; raises where nobody waits for the work
    cells: Cells = field(default_factory=NoCells)  # where code of others is run

"""Options that many commands share, and printing: data on stdout, chatter on stderr."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dpin.cli.plain import plain

HomeOption = Annotated[
    str | None,
    typer.Option("--home", metavar="DIR", help="The node's folder, instead of the usual one."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or its beginning.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a value of the job file; repeatable."),
]


def group(text: str) -> typer.Typer:
    """A noun with commands of its own."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def show(text: str) -> None:
    """Print data."""
    sys.stdout.write(f"{plain(text)}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print what is said to people only."""
    sys.stderr.write(f"{plain(text)}\n")
    sys.stderr.flush()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )

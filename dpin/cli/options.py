"""Options that many commands share, and printing: data on stdout, chatter on stderr."""

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from dpin.base.errors import Misuse
from dpin.base.ids import read_id
from dpin.cli.patience import hush
from dpin.cli.plain import plain

HomeOption = Annotated[
    str | None,
    typer.Option("--home", metavar="DIR", help="The node's folder, instead of the usual one."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def _job_ids(context: typer.Context, incomplete: str) -> list[str]:
    from dpin.cli.completing import job_ids

    return job_ids(context.params.get("home"), incomplete)


def _peer_names(context: typer.Context, incomplete: str) -> list[str]:
    from dpin.cli.completing import peer_names

    return peer_names(context.params.get("home"), incomplete)


JobArgument = Annotated[
    str,
    typer.Argument(metavar="JOB", help="A job's id, or its beginning.", autocompletion=_job_ids),
]
MaybeJobArgument = Annotated[
    str | None,
    typer.Argument(metavar="[JOB]", help="A job's id; without it, all.", autocompletion=_job_ids),
]
AttachOption = Annotated[
    str,
    typer.Option("--attach", metavar="JOB", help="Follow a job again.", autocompletion=_job_ids),
]
PeerArgument = Annotated[
    str,
    typer.Argument(
        metavar="NODE", help="Its name, or its id's beginning.", autocompletion=_peer_names
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a value of the job file; repeatable."),
]


MAY_BE_EMPTY: Final = frozenset({"--memo"})


def refuse_empty(words: Sequence[str]) -> None:
    """Raises Misuse for an empty word: a variable that a script has not set.

    To leave an option out often means "all" or "as much as is wanting"; an accident must not.
    """
    before = ["", *words]
    for option, word in zip(before, words, strict=False):
        name, said, value = word.partition("=")
        if name.startswith("--") and said:
            option, word = name, value  # noqa: PLW2901  # As if it had been two words.
        if not word.strip() and option not in MAY_BE_EMPTY:
            what = f"what stands after {option}" if option.startswith("-") else "an argument"
            raise Misuse(f"{what} is empty", fix="is a variable not set? else leave it out")


def whole_id(text: str, fix: str) -> str:
    """An id as it is written, in small letters; raises Misuse for what cannot be one."""
    if read_id(text) is None:
        raise Misuse(f"{text[:80]!r} is not a whole id", fix=fix)
    return text.lower()


def group(text: str) -> typer.Typer:
    """A noun with commands of its own."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def show(text: str) -> None:
    """Print data."""
    hush()
    sys.stdout.write(f"{plain(text)}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print what is said to people only."""
    hush()
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

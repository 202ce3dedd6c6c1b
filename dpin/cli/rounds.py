"""`dpin audit`: the rounds of anybody's job done again from its blobs, beside the ledger."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, show


def audit(
    job: Annotated[
        str,
        typer.Argument(metavar="JOB", help="Its id on the ledger, whole, or your own id of it."),
    ],
    *,
    rounds: Annotated[
        int | None, typer.Option("--round", metavar="N", min=1, help="Only the first N rounds.")
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option("--result", metavar="DIR", help="Compare with what lies in a result as well."),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Train its units again too: as long as the job has taken."),
    ] = False,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="ARCHIVE", help="The ledger as a file, not your node's."),
    ] = None,
    blobs: Annotated[
        Path | None,
        typer.Option("--blobs", metavar="DIR", help="Blobs as files, not through your node."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Do the rounds of a job again: scores and robust merge of each, from its blobs alone.

    Anybody can: it takes a ledger and the blobs, which your node fetches. Each state is compared
    with the one on the ledger, the last one with what more than half of the job's seats say there;
    with `--result`, states also with the lineage there, and every signed score with the one found
    here; with `--replay`, updates with what the same work gives here: also those of modules of
    somebody's own, which verifiers do not check. What differs ends with status 8.
    """
    from dpin.cli.auditing import Evidence, audited, text_of, values_of
    from dpin.cli.exits import ExitCode
    from dpin.cli.link import show_values

    verdict = audited(Evidence(home, ledger, blobs, result, replay), job, rounds)
    show_values("audit", values_of(verdict)) if json else show(text_of(verdict))
    if verdict.problems:
        raise typer.Exit(ExitCode.NOT_VERIFIED)

"""Looking at jobs, and ending them."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JobArgument, JsonOption, MaybeJobArgument, say, show


def jobs(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """List this node's jobs and those it serves, newest first."""
    from dpin.cli.link import connect, show_values
    from dpin.cli.pictures import jobs_text

    with connect(home) as node:
        found = node.jobs()
    if json:
        show_values("jobs", {"jobs": found})
    else:
        show(jobs_text(found))


def status(
    job: MaybeJobArgument = None,
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show the node and its jobs, or one job whole."""
    from dpin.cli.link import connect, show_values, show_view
    from dpin.cli.pictures import job_text, overview_text

    with connect(home) as node:
        if job is not None:
            detail = node.job(job)
            show_view("job", detail) if json else show(job_text(detail))
            return
        view, found = node.node(), node.jobs()
    if json:
        show_values("status", {"node": view, "jobs": found})
    else:
        show(overview_text(view, found))


def explain(job: JobArgument, *, home: HomeOption = None, json: JsonOption = False) -> None:
    """Say why a job stands where it stands: who declines it, and what would help."""
    from dpin.cli.link import connect, show_view
    from dpin.cli.pictures import explain_text

    with connect(home) as node:
        view = node.explain(job)
    show_view("explain", view) if json else show(explain_text(view))


def logs(
    job: JobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="The timeline, hop by hop.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print a job's log; with -f, until the job has ended. Ctrl-C leaves the job alone."""
    import msgspec

    from dpin.cli.link import connect, show_values
    from dpin.cli.pictures import entry_text
    from dpin.cli.tracing import TRACE, timeline, timeline_text

    with connect(home) as node:
        entries = node.events(job) if follow else node.log(job)
        if trace:
            hops = timeline(node.job(job), entries)
            show_values("timeline", {"hops": hops}) if json else show(timeline_text(hops))
            return
        for entry in entries:
            if json or entry.kind != TRACE:
                show(msgspec.json.encode(entry).decode() if json else entry_text(entry))


def fetch(
    job: JobArgument,
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Copy the files here.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a job's result to a folder, or say where it lies."""
    from dpin.cli.link import connect, show_values

    with connect(home) as node:
        files = node.fetch(job, None if output is None else Path(output))
    if json:
        show_values("files", {"files": [str(path) for path in files]})
    else:
        show("\n".join(str(path) for path in files))


def cancel(job: JobArgument, *, home: HomeOption = None, json: JsonOption = False) -> None:
    """End a job. What was done is paid; the rest comes back."""
    from dpin.cli.link import connect, show_view

    with connect(home) as node:
        view = node.cancel(job)
    if json:
        show_view("submitted", view)
    else:
        say(f"{view.id} ends: {view.state} now; its last word:  dpin submit --attach {view.id}")


def receipts(job: JobArgument, *, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show what the ledger has done about a job, with proofs checked by this node."""
    from dpin.cli.link import connect, show_values
    from dpin.cli.pictures import receipts_text

    with connect(home) as node:
        found = node.receipts(job)
    if json:
        show_values("receipts", {"receipts": found})
    else:
        show(receipts_text(found))

"""`dpin report`: a job as numbers, TensorBoard events, a picture and a page."""

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from dpin.cli.options import HomeOption, JobArgument, JsonOption, say, show

WATCH_SECONDS: Final = 5.0


def report(
    job: JobArgument,
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Default: JOB-report.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it again every 5 s until the job has ended.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a job's metrics.jsonl, TensorBoard events, report.png and report.html."""
    from dpin.cli.link import connect, show_values
    from dpin.client.client import ENDED

    with connect(home) as node:
        detail = node.job(job)
        folder = Path(output or f"{detail.job.id}-report")
        files = write_report(detail, folder)
        if watch and detail.job.state not in ENDED:
            say(f"{folder / 'report.html'} is there, and written again until the job has ended")
        while watch and detail.job.state not in ENDED:
            time.sleep(WATCH_SECONDS)
            detail = node.job(job)
            files = write_report(detail, folder)
    if json:
        show_values("report", {"files": [str(file) for file in files]})
    else:
        show("\n".join(str(file) for file in files))
        say(f"tensorboard --logdir {folder}")


def write_report(detail: object, folder: Path) -> list[Path]:
    """Write all four files; returns where they are."""
    from dpin.base.errors import Misuse
    from dpin.cli.boards import write_events
    from dpin.cli.charts import chart, page
    from dpin.cli.metrics import metrics_lines
    from dpin.node.status import JobDetail

    assert isinstance(detail, JobDetail)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as problem:
        raise Misuse(f"{folder}: {problem.strerror}", fix="name a new folder") from None
    picture = chart(detail)
    (folder / "report.png").write_bytes(picture)
    (folder / "report.html").write_text(page(detail, picture), encoding="utf-8")
    (folder / "metrics.jsonl").write_text(metrics_lines(detail), encoding="utf-8")
    events = write_events(detail, folder)
    return [folder / "report.html", folder / "report.png", folder / "metrics.jsonl", events]

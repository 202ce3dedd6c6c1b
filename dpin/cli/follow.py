"""Following a job to its end: a live picture on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dpin.base.units import format_tokens
from dpin.cli.exits import ExitCode, exit_of_job
from dpin.cli.options import say
from dpin.cli.patience import hush
from dpin.cli.pictures import entry_text, length, phases_text, result_text
from dpin.cli.plain import plain
from dpin.cli.reasons import reason_and_fix
from dpin.cli.roundpictures import budget_text, clients_text, rounds_text
from dpin.cli.tracing import TRACE
from dpin.client.client import ENDED, Client
from dpin.node.status import JobDetail, LeaseView, LogEntry

DRAW_SECONDS: Final = 0.25
QUIET_SECONDS: Final = 10.0  # between two lines of progress where nobody watches
_POLL_SECONDS: Final = 0.3
_BAR: Final = 20
ROUNDS_SHOWN: Final = 8  # the newest


class Screen(Protocol):
    """Where a job's story is told."""

    def see(self, node: Client, job: str, entry: LogEntry | None) -> None:
        """Take one entry, or None: nothing new."""
        ...


class Lines:
    """One line per event; progress of the same kind at most once in ten seconds."""

    def __init__(self) -> None:
        self._last_progress = -QUIET_SECONDS

    def see(self, node: Client, job: str, entry: LogEntry | None) -> None:
        """Print the entry, unless it is more progress than anybody reads."""
        del node, job
        if entry is None or entry.kind == TRACE:
            return
        if entry.kind == "progress":
            if time.monotonic() < self._last_progress + QUIET_SECONDS:
                return
            self._last_progress = time.monotonic()
        say(entry_text(entry))


class Picture:
    """Phases, providers and losses, drawn again as they change."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._drawn = 0.0
        self._last = ""

    def see(self, node: Client, job: str, entry: LogEntry | None) -> None:
        """Draw again, at most four times a second."""
        if entry is not None and entry.kind != TRACE:
            self._last = entry_text(entry)
        if time.monotonic() < self._drawn + DRAW_SECONDS:
            return
        text = picture_text(node.job(job), self._last)
        self._live.update(Text(plain(text), no_wrap=True, overflow="ellipsis"), refresh=True)
        self._drawn = time.monotonic()


def follow(node: Client, job: str) -> ExitCode:
    """Tell a job's story to stderr until it has ended; Ctrl-C leaves it and says so."""
    try:
        with _screen() as screen:
            for entry in node.watch(job):
                screen.see(node, job, entry)
            # A node that was started again has forgotten the story, but not the job.
            while (detail := node.job(job)).job.state not in ENDED:
                screen.see(node, job, None)
                time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        say(f"detached; the job goes on.  dpin submit --attach {job} | dpin cancel {job}")
        return ExitCode.INTERRUPTED
    say(end_text(node, detail))
    return exit_of_job(detail.job.state, detail.job.reason)


@contextmanager
def _screen() -> Iterator[Screen]:
    if not sys.stderr.isatty():
        yield Lines()
        return
    hush()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield Picture(live)


def picture_text(detail: JobDetail, last: str) -> str:
    """The whole picture of a running job."""
    job = detail.job
    head = (
        f"{job.id} {job.name}  {job.kind}  {job.state}  cost {format_tokens(job.cost)}"
        f" of at most {format_tokens(job.cost_max)}"
    )
    parts = [head, phases_text(detail)]
    if job.rounds:
        done = min(job.round, job.rounds) * _BAR // job.rounds
        bar = "#" * done + "-" * (_BAR - done)
        parts.append(f"round {job.round}/{job.rounds} [{bar}]{_losses(detail)}")
    parts += [_lease_line(lease) for lease in detail.leases]
    parts += [rounds_text(detail.rounds[-ROUNDS_SHOWN:])] if detail.rounds else []
    parts += clients_text(detail.rounds)
    parts += [budget_text(detail.budget)] if detail.budget is not None else []
    parts += [last, "Ctrl-C detaches; the job goes on."]
    return "\n".join(part for part in parts if part)


def _losses(detail: JobDetail) -> str:
    known = [item.holdout if item.holdout is not None else item.loss for item in detail.rounds]
    losses = [loss for loss in known if loss is not None]
    if not losses:
        return ""
    rate = detail.rounds[-1].tokens_per_second
    return f"  loss {losses[-1]:.3f}" + (f"  {rate} tok/s" if rate else "")


def _lease_line(lease: LeaseView) -> str:
    paid = format_tokens(sum(unit.paid for unit in lease.units))
    reason = f"  {lease.reason}" if lease.reason else ""
    return f"  {lease.name:<18} {lease.state:<8} {len(lease.units)} units  paid {paid}{reason}"


def end_text(node: Client, detail: JobDetail) -> str:
    """The last line: how it went, how long it took, what it gave; else why, and what helps."""
    job = detail.job
    took = f" in {length(job.finished_ms - job.submitted_ms)}" if job.finished_ms else ""
    if job.state == "done":
        return f"{job.state}{took}  {result_text(detail)}"
    why, fix = reason_and_fix(node, job)
    reason = f" ({why})" if why else ""
    return f"{job.state}{reason}{took}  {result_text(detail)}\n  fix: {fix}"

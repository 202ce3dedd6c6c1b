"""Giving a whole sweep away, a few jobs at a time, and the table of what came of it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.errors import Misuse
from dpin.base.units import format_tokens
from dpin.cli.exits import ExitCode, exit_of_job
from dpin.cli.options import say, table
from dpin.cli.pictures import length
from dpin.cli.reasons import reason_and_fix
from dpin.client.client import DONE, ENDED, Client, job_text, request_from
from dpin.client.errors import ClientError
from dpin.node.control import SubmitRequest
from dpin.node.status import JobDetail, PlanView
from dpin.node.sweep import Point, points_of

POLL_SECONDS: Final = 0.5
CANCELLED: Final = "cancelled"
ATTEMPTS_MAX: Final = 256  # of one sweep: as many as the jobs that a node remembers
ID_DIGITS: Final = 12  # longer than those of other jobs, so that no two points are ever one


@dataclass(slots=True)
class Trial:
    """One point and the job that tries it."""

    point: Point
    request: SubmitRequest
    job: str = ""
    detail: JobDetail | None = None

    @property
    def begun(self) -> bool:
        """Whether it has a job."""
        return bool(self.job)

    def id_at(self, attempt: int) -> str:
        """Its job's id: the same for the same words, values and folder, whenever it is asked."""
        asked = self.request
        what = encode((asked.text, asked.folder, tuple(asked.sets), attempt))
        return f"j-{digest('dpin/sweep/v1', what).hex()[:ID_DIGITS]}"

    @property
    def ended(self) -> bool:
        """Whether its job has come to an end."""
        return self.detail is not None and self.detail.job.state in ENDED

    @property
    def loss(self) -> float:
        """What trials are sorted by."""
        known = None if self.detail is None else self.detail.holdout_after
        return float("inf") if known is None else known


def trials_of(file: Path, sets: Sequence[str], name: str) -> list[Trial]:
    """The points of a job file, if it is a sweep; raises Misuse before any if one is no job."""
    points = points_of(job_text(file), str(file), sets)
    asked = [request_from(file, [*sets, *point.sets], name) for point in points]
    return [
        Trial(point, msgspec.structs.replace(request, name=f"{request.name}-{point.number}"))
        for point, request in zip(points, asked, strict=True)
    ]


def take_up(node: Client, trials: Sequence[Trial], *, anew: bool) -> None:
    """Go on where an earlier command was left: points that the node has a job of keep it.

    With `anew` none does. Their ids are made from the file, so the node knows what it has begun.
    """
    known = {job.id for job in node.jobs() if job.role == "mine"}
    newest = _newest(trials, known)
    if anew and newest == ATTEMPTS_MAX:
        raise Misuse(f"it was begun anew {newest} times", fix="change a word of the file")
    attempt = newest + 1 if anew else max(1, newest)
    for trial in trials:
        trial.request.id = trial.id_at(attempt)
        trial.job = trial.request.id if trial.request.id in known else ""
    count = sum(trial.begun for trial in trials)
    if count:
        say(f"{count} of {len(trials)} jobs were begun before: they are neither begun nor paid "
            "again (all of them anew: --anew)")  # fmt: skip


def _newest(trials: Sequence[Trial], known: set[str]) -> int:
    """The attempt that was begun last, 0 where none was."""
    attempts = range(ATTEMPTS_MAX, 0, -1)
    ours = (n for n in attempts if any(trial.id_at(n) in known for trial in trials))
    return next(ours, 0)


def plans_of(node: Client, trials: Sequence[Trial]) -> list[PlanView]:
    """A plan of each; raises ClientError with the point that would be refused."""
    plans: list[PlanView] = []
    for trial in trials:
        try:
            plans.append(node.plan(trial.request))
        except ClientError as problem:
            where = ", ".join(f"{name}={value}" for name, value in trial.point.values)
            raise ClientError(problem.code, f"{where}: {problem}", problem.fix) from None
    return plans


def submit_all(node: Client, trials: Sequence[Trial]) -> None:
    """Submit all at once; where one is refused, those that run are named."""
    try:
        for trial in trials:
            trial.job = trial.job or node.submit(trial.request).id
    finally:
        _tell_left(trials, begun=all(trial.begun for trial in trials))


def _tell_left(trials: Sequence[Trial], *, begun: bool) -> None:
    """Which jobs go on without this command, unless it is as it was asked for."""
    left = [trial for trial in trials if not trial.ended]
    running = [trial.job for trial in left if trial.job]
    if left and not begun:
        say(f"{len(running)} jobs go on, {len(left) - len(running)} were not begun")
        say("\n".join(f"  dpin submit --attach {job} | dpin cancel {job}" for job in running))
        say("the same command without --anew goes on with the sweep; no job is paid twice")


def run_sweep(node: Client, trials: Sequence[Trial], parallel: int) -> None:
    """Submit all, at most so many at a time, and wait; Ctrl-C leaves the jobs that run."""
    try:
        _run_all(node, trials, parallel)
    finally:
        _tell_left(trials, begun=False)


def _run_all(node: Client, trials: Sequence[Trial], parallel: int) -> None:
    waiting = [trial for trial in trials if not trial.begun]
    for trial in trials:
        if trial.begun:
            say(_named(trial))
    while not all(trial.ended for trial in trials):
        running = [trial for trial in trials if trial.job and not trial.ended]
        for trial in running:
            trial.detail = node.job(trial.job)
            if trial.ended:
                say(_line(node, trial))
        while waiting and sum(not trial.ended for trial in running) < parallel:
            trial = waiting.pop(0)
            trial.job = node.submit(trial.request).id
            running.append(trial)
            say(_named(trial))
        time.sleep(POLL_SECONDS)


def _named(trial: Trial) -> str:
    return f"{trial.job} {trial.request.name}: {', '.join(trial.point.sets[:-1])}"


def _line(node: Client, trial: Trial) -> str:
    """How it went; of one that did not end well, why, and what helps."""
    assert trial.detail is not None, "it has ended"
    job = trial.detail.job
    if job.state == DONE:
        return f"{job.id} is done: loss {_number(trial.detail.holdout_after)}"
    if job.state == CANCELLED:
        return f"{job.id} is cancelled; what was done of it cost {format_tokens(job.cost)}"
    why, fix = reason_and_fix(node, job)
    return f"{job.id} is {job.state}: {why or 'no reason given'}\n  fix: {fix}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def sweep_text(trials: Sequence[Trial]) -> str:
    """The best first."""
    paths = [path for path, _ in trials[0].point.values]
    heads = ("#", *(path.rpartition(".")[2].upper() for path in paths), "LOSS", "COST", "TIME",
             "STATE", "JOB", "RESULT")  # fmt: skip
    return table(heads, list(_rows(sorted(trials, key=lambda trial: trial.loss))))


def _rows(trials: Sequence[Trial]) -> Iterator[tuple[str, ...]]:
    for trial in trials:
        assert trial.detail is not None, "all have ended"
        job = trial.detail.job
        yield (
            str(trial.point.number),
            *(value for _, value in trial.point.values),
            _number(trial.detail.holdout_after),
            format_tokens(job.cost),
            length((job.finished_ms or job.submitted_ms) - job.submitted_ms),
            job.state,
            job.id,
            trial.detail.output or "-",
        )


def sweep_values(trials: Sequence[Trial]) -> dict[str, object]:
    """The same for programs."""
    return {
        "trials": [
            {"number": trial.point.number, "values": dict(trial.point.values), "job": trial.detail}
            for trial in sorted(trials, key=lambda trial: trial.loss)
        ]
    }


def sweep_exit(trials: Sequence[Trial]) -> ExitCode:
    """Well only if all are; what ended all of the others, if that is one thing."""
    jobs = [trial.detail.job for trial in trials if trial.detail is not None]
    codes = {exit_of_job(job.state, job.reason) for job in jobs} - {ExitCode.OK}
    if len(codes) == 1:
        return codes.pop()
    done = not codes and len(jobs) == len(trials)
    return ExitCode.OK if done else ExitCode.JOB_FAILED

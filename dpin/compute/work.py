"""What machines ask of worker processes, and what comes back."""

from dataclasses import dataclass
from typing import NewType

from dpin.compute.task import Command, Report

WorkerId = NewType("WorkerId", str)  # chosen by who hires; also the name of its folder


@dataclass(frozen=True, slots=True)
class Hire:
    """Start a worker process under this name, unless it runs."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Order:
    """Give a hired worker one more command; it does them in order."""

    worker: WorkerId
    command: Command


@dataclass(frozen=True, slots=True)
class Dismiss:
    """End a worker process; its unfinished commands are dropped."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Reported:
    """A worker said this."""

    worker: WorkerId
    report: Report


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker process is gone without having been dismissed; `reason` holds its last words."""

    worker: WorkerId
    reason: str


WorkEvent = Reported | Exited
WorkEffect = Hire | Order | Dismiss

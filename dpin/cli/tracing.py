"""The timeline of a job, hop by hop, from what its log says."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dpin.cli.options import table
from dpin.node.status import JobDetail, LogEntry

TRACE: Final = "trace"  # entries that only a timeline shows
_MILLIS: Final = 1_000
_FIXED: Final = {"lease": "awarded", "verify": "verified", "end": "ended"}


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a job, and how long after the one before it of the same provider."""

    at_ms: int
    since_ms: int  # from the submission
    took_ms: int
    hop: str
    provider: str  # hex; empty: the requester itself
    round: int | None
    text: str


def timeline(detail: JobDetail, entries: Iterable[LogEntry]) -> list[Hop]:
    """All hops in their order; the first is the submission."""
    began = detail.job.submitted_ms
    last = {"": began}
    hops = [Hop(began, 0, 0, "queued", "", None, f"{detail.job.id} {detail.job.name}")]
    for entry in entries:
        name = _name(entry)
        if name:
            provider = str(entry.data.get("provider") or "")
            took = entry.time_ms - last.get(provider, last[""])
            last[provider] = entry.time_ms
            at = entry.data.get("round")
            number = at if isinstance(at, int) else None
            since = entry.time_ms - began
            hops.append(Hop(entry.time_ms, since, took, name, provider, number, entry.text))
    return hops


def _name(entry: LogEntry) -> str:
    """The hop that an entry tells of; empty: none."""
    if entry.kind == TRACE:
        return str(entry.data.get("hop", ""))
    if entry.kind == "verify" and entry.data.get("verdict") == "PAID":
        return "verified, paid"
    if entry.kind == "lease" and "seat" not in entry.text:
        return "ended"
    return _FIXED.get(entry.kind, "")


def timeline_text(hops: Iterable[Hop]) -> str:
    """What `--trace` shows."""
    rows = [
        (
            f"{hop.since_ms / _MILLIS:.3f} s",
            f"+{hop.took_ms / _MILLIS:.3f} s",
            hop.hop,
            hop.text,
        )
        for hop in hops
    ]
    return table(("AT", "TOOK", "HOP", "WHAT"), rows)

"""A text as it is generated: to stdout the moment it comes."""

import sys
import time
from codecs import getincrementaldecoder
from dataclasses import dataclass

from dpin.cli.exits import ExitCode, exit_of_job
from dpin.cli.link import show_values
from dpin.cli.options import say
from dpin.cli.pictures import entry_text
from dpin.cli.plain import plain
from dpin.cli.reasons import reason_and_fix
from dpin.client.client import Client
from dpin.node.control import RunRequest
from dpin.node.status import JobView, LogEntry


@dataclass(frozen=True, slots=True)
class Generated:
    """How a generation ended."""

    code: ExitCode
    speed: str


def follow_generation(node: Client, request: RunRequest, *, json: bool) -> Generated:
    """Start one and print its text until it has ended; Ctrl-C ends it."""
    started = time.monotonic()
    job = node.run(request).id
    text, first, stdout = bytearray(), 0.0, _Stdout()
    try:
        for entry in node.events(job):
            if entry.kind == "phase" and not first:
                say(entry_text(entry))
            if entry.kind != "token":
                continue
            first = first or time.monotonic() - started
            text += _bytes(entry)
            if not json:
                stdout.write(_bytes(entry))
    except KeyboardInterrupt:
        node.cancel(job)
        say(f"\ncancelled {job}")
        return Generated(ExitCode.INTERRUPTED, "")
    times = (first, time.monotonic() - started)
    return _ended(node, node.job(job).job, bytes(text), times, json=json)


def _ended(
    node: Client, job: JobView, text: bytes, times: tuple[float, float], *, json: bool
) -> Generated:
    first, whole = times
    rate = len(text) / (whole - first) if whole > first else 0.0
    if json:
        values = {
            "job": job.id,
            "state": job.state,
            "reason": job.reason,
            "text": text.decode(errors="replace"),
            "bytes": text.hex(),
            "first_token_seconds": round(first, 3),
            "tokens_per_second": round(rate, 1),
            "cost": job.cost,
        }
        show_values("generation", values)
    elif text:
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
    if job.state != "done":
        why, fix = reason_and_fix(node, job)
        say(f"error[job-failed]: {job.id} {job.state}: {why}\n  fix: {fix}")
    speed = f"{rate:.1f} tok/s, TTFT {first:.2f} s"
    return Generated(exit_of_job(job.state, job.reason), speed)


class _Stdout:
    """Bytes as they were made, for programs; on a terminal what can be shown of them."""

    def __init__(self) -> None:
        self._shown = sys.stdout.isatty()
        self._letters = getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        """Some more, at once."""
        if self._shown:
            data = plain(self._letters.decode(data)).encode()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _bytes(entry: LogEntry) -> bytes:
    """The bytes as they were made; the text of an entry may have replaced broken characters."""
    code = entry.data.get("bytes")
    return bytes.fromhex(code) if isinstance(code, str) else entry.text.encode()

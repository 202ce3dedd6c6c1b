"""Blobs and their transfers as text; a transfer followed to its end."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from dpin.base.blob import CHUNK_BYTES, blob_id
from dpin.base.errors import Unavailable
from dpin.cli.netpictures import size
from dpin.cli.options import say, table
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.blobviews import BlobView, FetchRequest, FetchView
from dpin.storage.blobfiles import manifest_of_file

POLL_SECONDS: Final = 0.2
QUIET_SECONDS: Final = 10.0  # between two lines where nobody watches
_ID_SHOWN: Final = 16


def blobs_text(blobs: list[BlobView]) -> str:
    """What `dpin blob list` shows."""
    if not blobs:
        return "no blobs are here; dpin blob put FILE"
    return table(("BLOB", "SIZE", "STATE", "PIN"), [_row(view) for view in blobs])


def _row(view: BlobView) -> tuple[str, ...]:
    pin = ("pinned, public" if view.public else "pinned") if view.pinned else "-"
    here = "?" if view.present is None else str(view.present)
    state = "here" if view.state == "here" else f"{view.state}, {here} of {view.chunks} chunks"
    return view.blob, size(view.length), state, pin


def fetched(node: Client, blob: str, request: FetchRequest) -> FetchView:
    """Follow a transfer to its end; Ctrl-C stops it and passes on, what has come is kept."""
    view = node.blobs.fetch(blob, request)
    try:
        with _screen() as screen:
            while view.blob.state == "fetching":
                screen.see(view)
                time.sleep(POLL_SECONDS)
                view = node.blobs.fetched(blob)
    except KeyboardInterrupt:
        node.blobs.stop(blob)
        say(f"stopped; what has come is kept, and goes on with: dpin blob get {blob}")
        raise
    return view


class _Lines:
    """A line now and then."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def see(self, view: FetchView) -> None:
        if time.monotonic() >= self._said_at + QUIET_SECONDS:
            self._said_at = time.monotonic()
            say(f"{view.blob.present or 0} of {view.blob.chunks} chunks")


class _Bar:
    """A bar that grows."""

    def __init__(self) -> None:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("fetch", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def see(self, view: FetchView) -> None:
        came = min((view.blob.present or 0) * CHUNK_BYTES, view.blob.length)
        self._progress.update(self._task, total=view.blob.length or None, completed=came)


def _screen() -> "_Lines | _Bar":
    return _Bar() if sys.stderr.isatty() else _Lines()


@contextmanager
def copying(file: Path) -> Iterator[None]:
    """While the node copies and hashes a file: how long it is, and for how long by now."""
    if not sys.stderr.isatty():
        yield
        return
    length = size(file.stat().st_size) if file.is_file() else "it"
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(f"copying {length}", total=None)
        yield


def copied(view: BlobView, out: Path) -> None:
    """Copy a blob out of the node's store, and check the copy; raises ClientError."""
    beside = out.with_name(f"{out.name}.part")
    try:
        shutil.copyfile(view.path, beside)
        whole = blob_id(manifest_of_file(beside)).hex() == view.blob
        if not whole:
            beside.unlink()
            raise ClientError("disk", f"{view.path} is damaged", f"dpin blob get {view.blob}")
        beside.replace(out)
    except (OSError, Unavailable) as problem:
        raise ClientError("disk", f"{out}: {problem}", "choose another file") from None


def course_text(view: FetchView) -> str:
    """What `dpin blob get --trace` shows: the hops, then the sources."""
    lines = [f"{hop.at_ms / 1000:9.3f} s  {hop.name or 'here':<18} {hop.what}" for hop in view.hops]
    if view.left_out:
        lines.append(f"{'':>11}  and {view.left_out} more")
    rows = [
        (
            source.name,
            source.node[:_ID_SHOWN],
            str(source.chunks),
            size(source.bytes),
            _waited(source.asked_ms, source.first_ms),
            _rate(source.bytes, source.first_ms, source.last_ms),
        )
        for source in view.sources
    ]
    heads = ("SOURCE", "NODE", "CHUNKS", "BYTES", "FIRST AFTER", "RATE")
    return "\n".join([*lines, "", table(heads, rows)] if rows else lines)


def _waited(asked: int | None, came: int | None) -> str:
    return "-" if asked is None or came is None else f"{came - asked} ms"


def _rate(count: int, first: int | None, last: int | None) -> str:
    if first is None or last is None or last <= first:
        return "-"
    return f"{size(count * 1000 // (last - first))}/s"

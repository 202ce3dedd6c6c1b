"""`dpin blob` against a fake node behind the real HTTP server: files in, files out, Ctrl-C."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpin.base.blob import blob_id, manifest_of
from dpin.cli.app import run
from dpin.cli.exits import ExitCode
from dpin.cli.netpictures import size
from dpin.node.blobviews import FetchRequest, PinRequest, PutRequest
from tests.support.api_server import api_server
from tests.support.fake_blobs import BLOB, FakeBlobs, blob_view
from tests.support.fake_control import FakeControl

Printed = pytest.CaptureFixture[str]
DATA = b"the file"
ID = blob_id(manifest_of(DATA)).hex()


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBlobs]:
    control = FakeControl()
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        monkeypatch.setenv("DPIN_HOME", str(tmp_path / "home"))
        yield control.blobs


def test_a_file_is_put_and_its_id_printed(
    blobs: FakeBlobs, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    monkeypatch.chdir(tmp_path)
    assert run(["blob", "put", "file", "--no-pin"]) == ExitCode.OK
    assert capsys.readouterr().out == f"{ID}\n"
    assert blobs.asked == [PutRequest(path=str(tmp_path / "file"), pin=False)]


def test_while_a_file_is_copied_people_see_how_long_it_is(
    blobs: FakeBlobs, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert run(["blob", "put", str(tmp_path / "file")]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert out == f"{ID}\n"
    assert f"copying {size(len(DATA))}" in err
    assert len(blobs.asked) == 1


def test_a_blob_is_fetched_copied_out_and_checked(
    blobs: FakeBlobs, tmp_path: Path, capsys: Printed
) -> None:
    stored, out = tmp_path / "stored", tmp_path / "out"
    stored.write_bytes(DATA)
    blobs.end = blob_view(path=str(stored))
    words = ["blob", "get", ID, "--from", "swift-yak", "--out", str(out)]
    assert run(words) == ExitCode.OK
    assert out.read_bytes() == DATA
    assert capsys.readouterr().out == f"{out}\n"
    assert blobs.asked == [(ID, FetchRequest(sources=["swift-yak"]))]
    stored.write_bytes(b"another")
    out.unlink()
    assert run(words) != ExitCode.OK
    assert "is damaged" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [stored]


def test_the_trace_shows_hops_and_what_each_source_gave(blobs: FakeBlobs, capsys: Printed) -> None:
    assert run(["blob", "get", BLOB, "--trace", "--pin"]) == ExitCode.OK
    shown = capsys.readouterr().out
    for part in ("0.001 s  swift-yak", "asked for a ticket", "all chunks", "5 ms", "2.4 MiB/s"):
        assert part in shown
    assert blobs.asked[-1] == (BLOB, PinRequest(pinned=True))


def test_a_fetch_that_fails_says_why_and_how_to_go_on(blobs: FakeBlobs, capsys: Printed) -> None:
    blobs.end = blob_view(state="failed", reason="no source is left", present=1)
    assert run(["blob", "get", BLOB]) == ExitCode.NOT_FOUND
    told = capsys.readouterr().err
    assert "no source is left" in told
    assert f"fix: go on with what is here: dpin blob get {BLOB}" in told


def test_ctrl_c_stops_the_fetch_and_says_that_what_came_is_kept(
    blobs: FakeBlobs, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    assert run(["blob", "get", BLOB]) == ExitCode.INTERRUPTED
    assert f"goes on with: dpin blob get {BLOB}" in capsys.readouterr().err
    assert blobs.asked[-1] == ("stop", BLOB)


def test_what_is_not_here_cannot_be_pinned(blobs: FakeBlobs, capsys: Printed) -> None:
    assert run(["blob", "pin", "beef"]) == ExitCode.NOT_FOUND
    assert run(["blob", "pin", "../x"]) == ExitCode.NOT_FOUND
    assert "fix: dpin blob list" in capsys.readouterr().err
    assert not blobs.asked

"""The timeline of a job: every hop with when it was and how long it took."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpin.cli.app import run
from dpin.node.status import LogEntry
from tests.support.api_server import api_server
from tests.support.fake_control import NOW_MS, FakeControl

JOB = "j-7f3a2c10"
Printed = pytest.CaptureFixture[str]
ONE, TWO = "11" * 32, "22" * 32


def entry(number: int, kind: str, text: str, **data: str | int) -> LogEntry:
    at = NOW_MS + 100 * number
    return LogEntry(number=number, time_ms=at, kind=kind, text=text, data={**data})


STORY = [
    entry(1, "trace", "swift-yak offers", hop="offered", provider=ONE),
    entry(2, "lease", "swift-yak takes seat 0", provider=ONE),
    entry(3, "trace", "calm-ibis offers", hop="offered", provider=TWO),
    entry(4, "trace", "swift-yak is ready", hop="state fetched", provider=ONE),
    entry(5, "progress", "loss 3.1"),
    entry(6, "trace", "swift-yak works", hop="started", provider=ONE, round=0),
    entry(7, "trace", "swift-yak publishes", hop="update published", provider=ONE, round=0),
    entry(9, "verify", "swift-yak: PAID", provider=ONE, round=0, verdict="PAID"),
    entry(10, "end", "done"),
]


@pytest.fixture(autouse=True)
def _api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    control = FakeControl()
    control.entries = STORY
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        monkeypatch.setenv("DPIN_HOME", str(tmp_path / "home"))
        yield


def test_the_timeline_names_each_hop_in_its_order(capsys: Printed) -> None:
    assert run(["logs", JOB, "--trace", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "dpin.v1/timeline"
    assert [hop["hop"] for hop in told["hops"]] == [
        "queued", "offered", "awarded", "offered", "state fetched", "started",
        "update published", "verified, paid", "ended",
    ]  # fmt: skip
    took = {(hop["hop"], hop["provider"]): hop["took_ms"] for hop in told["hops"]}
    assert took["awarded", ONE] == 100
    assert took["state fetched", ONE] == 200
    assert took["verified, paid", ONE] == 200
    assert took["ended", ""] == 1_000


def test_people_read_it_as_a_table(capsys: Printed) -> None:
    assert run(["logs", JOB, "--trace"]) == 0
    shown = capsys.readouterr().out
    assert "0.700 s  +0.100 s  update published" in shown


def test_without_trace_the_log_stays_short(capsys: Printed) -> None:
    assert run(["logs", JOB]) == 0
    assert "offers" not in capsys.readouterr().out


def test_submit_ends_with_the_timeline(capsys: Printed) -> None:
    run(["submit", "--attach", JOB, "--trace"])
    told = capsys.readouterr().err
    assert "state fetched" in told
    assert "queued" in told

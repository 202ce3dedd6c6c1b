"""Real node processes, started and stopped by real commands."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpin.node.home import locate, read_running
from tests.support.network import with_short_chains

pytestmark = pytest.mark.process


def dpin(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: text for name, text in os.environ.items() if not name.startswith("DPIN_")}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "dpin", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=environment,
    )


def started(words: list[str]) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True)  # noqa: S603


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("node")
    folder = base / "alone"
    with_short_chains(base, [folder.name])
    assert dpin("init", "--yes", "--home", str(folder)).returncode == 0
    assert dpin("net", "create", "alone", "--home", str(folder)).returncode == 0
    return folder


@pytest.fixture
def running(founded: Path) -> Iterator[Path]:
    started = dpin("node", "start", "--detach", "--home", str(founded))
    assert started.returncode == 0, started.stderr
    yield founded
    said = read_running(locate(str(founded), {}))
    if said is not None:
        os.kill(said.pid, signal.SIGTERM)


def test_a_node_starts_answers_refuses_a_second_one_and_stops(running: Path) -> None:
    home = ("--home", str(running))
    status = dpin("node", "status", *home)
    assert status.returncode == 0, status.stderr
    assert "network    alone" in status.stdout
    second = dpin("node", "start", *home)
    assert second.returncode == 2
    assert "error[misuse]: another node uses this folder: pid" in second.stderr
    third = dpin("node", "start", "--detach", *home)
    assert third.returncode == 2
    assert third.stderr.endswith(second.stderr)
    stopped = dpin("node", "stop", *home)
    assert stopped.returncode == 0, stopped.stderr
    assert dpin("node", "status", *home).returncode == 5


def test_a_node_in_the_foreground_ends_cleanly_at_ctrl_c(founded: Path) -> None:
    words = [sys.executable, "-m", "dpin", "node", "start", "--home", str(founded)]
    with started(words) as node:
        assert node.stdout is not None
        assert any('"event": "ready"' in line for line in node.stdout)
        node.send_signal(signal.SIGINT)
        rest, errors = node.communicate(timeout=100)
    assert node.returncode == 0, rest + errors
    assert not errors
    assert not (founded / "node.json").exists()


def test_a_swarm_finds_itself_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    with_short_chains(tmp_path, ["node-1", "node-2"])
    words = [sys.executable, "-m", "dpin", "sim", "up", "--nodes", "2", "--json"]
    words += ["--folder", str(tmp_path)]
    with started(words) as swarm:
        assert swarm.stdout is not None
        shown = ""
        for line in swarm.stdout:
            shown += line
            if line.startswith("}"):
                break
        homes = [locate(str(tmp_path / name), {}) for name in ("node-1", "node-2")]
        pids = [running.pid for home in homes if (running := read_running(home)) is not None]
        swarm.send_signal(signal.SIGINT)
        _, errors = swarm.communicate(timeout=100)
    assert swarm.returncode == 0, errors
    nodes = json.loads(shown)["nodes"]
    assert [(node["state"], node["peers"]) for node in nodes] == [("online", 1), ("online", 1)]
    assert all(node["device"] for node in nodes)
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_swarm_that_cannot_be_made_says_so_with_one_fix(tmp_path: Path) -> None:
    home = tmp_path / "node-1"
    home.mkdir()
    (home / "key").write_text("rubbish")
    (home / "key").chmod(0o600)
    words = [sys.executable, "-m", "dpin", "sim", "up", "--nodes", "2", "--folder", str(tmp_path)]
    with started(words) as swarm:
        _, errors = swarm.communicate(timeout=100)
    assert swarm.returncode == 2
    assert f"error[misuse]: {home} could not be made: the key file is damaged\n" in errors
    assert errors.count("  fix: ") == 1


def test_a_swarm_that_is_ended_while_it_starts_leaves_no_node_behind(tmp_path: Path) -> None:
    with_short_chains(tmp_path, ["node-1", "node-2"])
    words = [sys.executable, "-m", "dpin", "sim", "up", "--nodes", "2", "--folder", str(tmp_path)]
    first = locate(str(tmp_path / "node-1"), {})
    with started(words) as swarm:
        while (running := read_running(first)) is None:
            assert swarm.poll() is None
            time.sleep(0.01)
        swarm.send_signal(signal.SIGTERM)
        swarm.communicate(timeout=100)
    assert swarm.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)

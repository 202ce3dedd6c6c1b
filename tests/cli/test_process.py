"""Real node processes, started and stopped by real commands."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpin.node.home import locate, read_running

pytestmark = pytest.mark.process


def dpin(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: text for name, text in os.environ.items() if not name.startswith("DPIN_")}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "dpin", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env=environment,
    )


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node")
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
    assert (third.returncode, third.stderr) == (2, second.stderr)
    stopped = dpin("node", "stop", *home)
    assert stopped.returncode == 0, stopped.stderr
    assert dpin("node", "status", *home).returncode == 5


def test_a_node_in_the_foreground_ends_cleanly_at_ctrl_c(founded: Path) -> None:
    words = [sys.executable, "-m", "dpin", "node", "start", "--home", str(founded)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:  # noqa: S603
        assert node.stdout is not None
        assert any('"event": "ready"' in line for line in node.stdout)
        node.send_signal(signal.SIGINT)
        rest, errors = node.communicate(timeout=30)
    assert node.returncode == 0, rest + errors
    assert not errors
    assert not (founded / "node.json").exists()

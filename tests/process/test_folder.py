"""What a node does with its folder: one at a time, torn, rotten, full; and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil
import pytest

from dpin.base.crypto import SigningKey
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.control import TransferRequest
from dpin.storage.frames import HEAD_BYTES, Record, encode_record, scan
from scripts.demo_network import DPIN, DemoNode, dpin, make_nodes, wait_for
from tests.support.network import (
    PATIENCE_SECONDS,
    Town,
    agreed,
    assert_signed_once,
    pay,
    run,
    segment,
    wait_ready,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

TORN_BYTES: Final = 7
ROOM_BYTES: Final = 24 * 1024
_LIMITED: Final = (  # The limit on the size of a file stands for a disk without room.
    "import os, resource, sys; size = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); os.execv(sys.argv[2], sys.argv[2:])"
)


def content(node: DemoNode) -> Mapping[str, bytes]:
    """The files that a refused start must leave as they are."""
    home = node.home
    return {path.name: path.read_bytes() for path in (home.key, home.genesis, segment(node))}


def children(node: DemoNode) -> list[psutil.Process]:
    """The processes that a node has started."""
    assert node.process is not None
    return psutil.Process(node.process.pid).children(recursive=True)


def test_a_second_node_on_one_folder_is_refused_and_the_first_goes_on(network: Town) -> None:
    ada = network.ada
    assert ada.process is not None
    said = ada.home.running.read_bytes()
    done = run(ada, "node", "start")
    assert done.returncode == 2
    assert f"error[misuse]: another node uses this folder: pid {ada.process.pid}" in done.stderr
    assert "  fix: " in done.stderr
    assert ada.home.running.read_bytes() == said
    pay(ada, network.bea, "1")


def test_a_torn_tail_is_cut_off_with_a_warning_and_the_node_catches_up(network: Town) -> None:
    cyd = network.nodes[2]
    agreed(network.nodes)
    cyd.kill()
    with segment(cyd).open("r+b") as log:
        # A record that was being written. What was synced is whole after a crash: to cut that
        # would be another disk than any promise is for.
        log.write(encode_record(Record(1, bytes(100)), log.seek(0, os.SEEK_END))[:-TORN_BYTES])
    height = pay(network.ada, network.bea, "1")
    cyd.start()
    view = wait_ready(cyd)
    assert "log-tail-cut" in (cyd.home.root / "node.log").read_text()
    wait_for("it catches up", PATIENCE_SECONDS, lambda: at_height(cyd, height))
    views = agreed(network.nodes)
    assert len({view.ledger.root for view in views}) == 1
    assert_signed_once(network.nodes)
    assert view.ledger.validator


def at_height(node: DemoNode, height: int) -> bool | None:
    """Whether a node has executed this commit."""
    view = node.look()
    return True if view is not None and view.ledger.height >= height else None


def test_a_rotten_middle_stops_the_start_with_one_sentence_and_changes_nothing(
    network: Town,
) -> None:
    cyd = network.nodes[2]
    cyd.stop()
    whole = segment(cyd).read_bytes()
    second = HEAD_BYTES + len(scan(whole).records[0].body)
    rotten = bytearray(whole)
    rotten[second + HEAD_BYTES] ^= 1
    segment(cyd).write_bytes(rotten)
    before = content(cyd)
    done = run(cyd, "node", "start")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert f"is damaged at byte {second} of {len(whole)}" in errors[0]
    assert "Traceback" not in done.stderr
    assert content(cyd) == before
    segment(cyd).write_bytes(whole)
    cyd.start()
    wait_ready(cyd)


def test_a_node_told_to_end_ends_with_status_0_and_leaves_no_process_behind(
    network: Town,
) -> None:
    dan = network.nodes[3]
    process = dan.process
    assert process is not None
    workers = children(dan)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert not alive
    group = [
        found
        for found in psutil.process_iter()
        if found.pid != process.pid and group_of(found) == process.pid
    ]
    assert not group
    assert not dan.home.running.exists()
    dan.start()
    wait_ready(dan)


def group_of(process: psutil.Process) -> int:
    """A process' group, or -1 when it has gone."""
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return -1


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[DemoNode]:
    """A network of one, and where to send tokens."""
    (node,) = make_nodes(tmp_path, [("fay", "1", False)])
    dpin("net", "create", "alone", "--home", node.folder)
    yield node
    node.stop()


def test_a_full_disk_ends_the_node_with_one_sentence_and_keeps_what_was_acknowledged(
    lone: DemoNode,
) -> None:
    words = [*DPIN, "node", "start", "--home", lone.folder, "--no-provide", "--log-format", "json"]
    limited = [sys.executable, "-c", _LIMITED, str(ROOM_BYTES), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(limited, stdout=pipe, stderr=pipe) as process:  # noqa: S603
        lone.process = process
        wait_for("it answers", PATIENCE_SECONDS, lone.look)
        acknowledged = fill(lone)
        told, errors = process.communicate(timeout=PATIENCE_SECONDS)
    lone.process = None
    assert process.returncode == 1
    lines = errors.decode().splitlines()
    assert len(lines) == 2, errors
    assert lines[0].startswith(f"error[unavailable]: cannot write the log {lone.home.ledger_log}")
    assert lines[1] == "  fix: make room on that disk, then do it again"
    end = json.loads(told.splitlines()[-1])
    assert (end["event"], end["reason"]) == ("ended", lines[0].partition(": ")[2])
    shutil.rmtree(lone.home.worker)
    lone.start()
    view = lone.look()
    assert view is not None
    assert acknowledged > 0
    assert view.money.sequence - acknowledged in {0, 1}  # one may be kept and not acknowledged


def fill(node: DemoNode) -> int:
    """Send tokens until the node is gone; returns how often it said yes."""
    acknowledged = 0
    request = TransferRequest(
        to=SigningKey(b"\x22" * 32).node_id.hex(), amount="0.000001", memo="m" * 60
    )
    with Client(node.home) as client:
        while True:
            try:
                client.transfer(request)
            except ClientError:
                return acknowledged
            acknowledged += 1


def test_a_file_put_on_one_node_is_fetched_by_another_and_its_pin_is_on_the_disk(
    network: Town, tmp_path: Path
) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    file.write_bytes(os.urandom(3 << 20) + b"end")
    blob = run(network.ada, "blob", "put", str(file)).stdout.strip()
    assert (network.ada.home.blobs / f"{blob}.pin").read_bytes() == b"public\n"
    got = run(network.bea, "blob", "get", blob, "--out", str(out), "--trace")
    assert got.returncode == 0, got.stderr
    assert out.read_bytes() == file.read_bytes()
    assert "all chunks are here" in got.stdout

"""The Python SDK, against the real HTTP server."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from dpin.base.errors import Misuse
from dpin.client import connection
from dpin.client.client import Client, request_from
from dpin.client.errors import ClientError, JobFailed, Unreachable
from dpin.node import home as homes
from dpin.node.control import InviteRequest, RunRequest, TransferRequest
from dpin.node.home import Running, locate
from dpin.node.lastwords import log_path
from tests.support.api_server import api_server
from tests.support.fake_control import NODE_ID, FakeControl, generation_log, train_log

JOB = "j-7f3a"


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def node(control: FakeControl) -> Iterator[Client]:
    with api_server(control) as url, Client(url=url) as client:
        yield client


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text("type: train\ndata: {path: corpus}\n")
    return path


def test_every_picture_comes_as_the_view_that_the_node_made(
    node: Client, control: FakeControl
) -> None:
    assert node.node() == control.node()
    assert node.peers() == control.peers()
    assert node.jobs() == control.jobs()
    assert node.job(JOB) == control.job(JOB)
    assert node.explain(JOB) == control.explain(JOB)
    assert node.receipts(JOB) == control.receipts(JOB)
    assert node.checks() == control.checks()


def test_a_job_file_is_planned_and_submitted_under_its_name(
    node: Client, control: FakeControl, job_file: Path
) -> None:
    request = request_from(job_file, ["args.rounds=3"])
    assert node.plan(request).rounds == 3
    assert node.submit(job_file).name == "tiny"
    assert control.asked == [request_from(job_file)]
    assert request.folder == str(job_file.parent)


def test_a_bad_job_file_is_refused_before_the_node_is_asked(job_file: Path) -> None:
    job_file.write_text("type: trian\n")
    with pytest.raises(Misuse, match=r"tiny\.yaml:1"):
        request_from(job_file)
    with pytest.raises(Misuse, match="No such file"):
        request_from(job_file.with_name("none.yaml"))
    job_file.write_bytes(b"\xff\xfe")
    with pytest.raises(Misuse, match="UTF-8"):
        request_from(job_file)


def test_commands_reach_the_node(node: Client, control: FakeControl) -> None:
    node.transfer(TransferRequest(to=NODE_ID, amount="1.5", memo="thanks"))
    assert node.invite(InviteRequest(grant="5", to=NODE_ID)).invite == "dpin1:xyz"
    assert node.run(RunRequest(model="/m", prompt="to be")).name == "run"
    assert node.cancel(JOB).state == "cancelled"
    assert node.pause("30m").state == "paused"
    assert node.resume().state == ""
    assert node.drain().state == "draining"
    node.stop()
    assert control.drained
    assert len(control.asked) == 5


def test_an_error_of_the_node_keeps_its_code_and_its_fix(node: Client) -> None:
    with pytest.raises(ClientError) as failed:
        node.job("nobody")
    assert (failed.value.code, failed.value.fix) == ("not-found", "dpin jobs")
    with pytest.raises(ClientError, match="not a job's id"):
        node.job("../node?x")
    with pytest.raises(ClientError) as failed:
        node.transfer(TransferRequest(to="short", amount="1"))
    assert failed.value.code == "misuse"


def test_events_come_in_order_and_end_with_the_log(node: Client, control: FakeControl) -> None:
    assert list(node.events(JOB)) == train_log("done", "")
    assert [entry.number for entry in node.events(JOB, after=6)] == [7, 8]
    control.stay_open = True
    assert node.log(JOB) == train_log("done", "")


def test_waiting_ends_with_the_job_and_a_bad_end_is_raised(
    node: Client, control: FakeControl
) -> None:
    assert node.wait(JOB).job.state == "done"
    control.end = ("failed", "no-match")
    with pytest.raises(JobFailed) as failed:
        node.wait(JOB)
    assert failed.value.reason == "no-match"
    control.end = ("running", "")
    with pytest.raises(ClientError) as late:
        node.wait(JOB, seconds=0)
    assert late.value.code == "timed-out"


def test_a_result_is_copied_or_said_where_it_lies(
    node: Client, control: FakeControl, tmp_path: Path
) -> None:
    with pytest.raises(ClientError, match="has no result"):
        node.fetch(JOB)
    made = tmp_path / "made"
    (made / "sub").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "sub" / "receipts.json").write_bytes(b"{}")
    control.output = str(made)
    assert node.fetch(JOB) == [made / "model.safetensors", made / "sub" / "receipts.json"]
    copied = node.fetch(JOB, tmp_path / "out")
    assert copied[0].read_bytes() == b"weights"
    assert [path.relative_to(tmp_path / "out").as_posix() for path in copied] == [
        "model.safetensors",
        "sub/receipts.json",
    ]
    (made / "model.safetensors").unlink()
    with pytest.raises(ClientError, match="No such file"):
        node.fetch(JOB, tmp_path / "again")


def test_a_name_that_leads_out_of_the_folder_is_refused(
    node: Client, control: FakeControl, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (tmp_path / "secret").write_text("x")
    (made / "model.safetensors").symlink_to(tmp_path / "secret")
    control.output = str(made)
    with pytest.raises(ClientError, match="outside"):
        node.fetch(JOB, tmp_path / "out")


def test_no_node_is_unreachable_with_the_command_that_leads_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DPIN_API", raising=False)
    home = homes.locate(str(tmp_path), {})
    with pytest.raises(Unreachable, match="no node runs") as failed:
        Client(home)
    assert failed.value.fix == f"dpin init --home {tmp_path}"
    home.key.touch()
    with pytest.raises(Unreachable) as failed:
        Client(home)
    assert failed.value.fix.startswith(f"dpin net create NAME --home {tmp_path}, or: dpin net join")
    home.genesis.touch()
    with pytest.raises(Unreachable) as failed:
        Client(home)
    assert failed.value.fix == f"dpin node start --home {tmp_path}"
    homes.write_running(home, Running(1, "http://127.0.0.1:9", 0, "0.1.0"))
    with Client(home) as client, pytest.raises(Unreachable, match="no node answers"):
        client.node()
    with Client(home) as client, pytest.raises(Unreachable):
        client.stop()


def test_a_node_is_found_by_its_variable(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        with Client() as client:
            assert client.url == url
            assert client.node().name == "cosy-otter"


class Stranger(BaseHTTPRequestHandler):
    """Another program on the port; cuts every log off after two entries."""

    connections = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if not self.path.endswith("/log"):
            self.wfile.write(b'{"schema": "else"}')
            return
        Stranger.connections += 1
        last = int(self.headers["last-event-id"])
        for number in range(last + 1, min(last + 3, 6)):
            self.wfile.write(
                b'id: %d\nevent: entry\ndata: {"number":%d,"time_ms":0,"kind":"phase",'
                b'"text":"x","data":{}}\n\n' % (number, number)
            )
        if last >= 4:
            self.wfile.write(b"event: closed\ndata: {}\n\n")

    @override
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Be quiet."""


@pytest.fixture
def stranger() -> Iterator[str]:
    Stranger.connections = 0
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_log_cut_off_is_taken_up_where_it_ended(
    stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_PAUSE_SECONDS", 0.0)
    with Client(url=stranger) as client:
        assert [entry.number for entry in client.events("j-1")] == [1, 2, 3, 4, 5]
    assert Stranger.connections == 3


def test_another_program_on_the_port_is_not_taken_for_a_node(stranger: str) -> None:
    with Client(url=stranger) as client, pytest.raises(ClientError) as failed:
        client.node()
    assert failed.value.code == "wrong-answer"


def test_a_node_that_died_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_PAUSE_SECONDS", 0.0)
    with Client(url="http://127.0.0.1:9") as client, pytest.raises(Unreachable):
        list(client.events("j-1"))


def test_importing_it_loads_neither_torch_nor_libp2p_nor_trio() -> None:
    code = (
        "import sys, dpin.client.client\n"
        "heavy = {'torch', 'libp2p', 'trio', 'anyio', 'starlette', 'anycorn', 'numpy'}\n"
        "print(sorted(heavy & {*sys.modules}))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert made.stdout.strip() == "[]"


def test_a_generation_is_read_as_its_words(node: Client, control: FakeControl) -> None:
    control.entries = generation_log()
    words = [entry.text for entry in node.events(JOB) if entry.kind == "token"]
    assert "".join(words) == "to be\n"


def test_text_with_other_line_separators_stays_one_entry(
    node: Client, control: FakeControl
) -> None:
    control.entries = [train_log("done", "")[0]]
    control.entries[0].text = "a\u2028b\x85c\rd\ne"
    assert [entry.text for entry in node.events(JOB)] == ["a\u2028b\x85c\rd\ne"]


def test_whoever_finds_no_node_is_told_how_the_last_one_ended(tmp_path: Path) -> None:
    home = locate(str(tmp_path), {})
    log_path(home).write_text("error[unavailable]: cannot write the log: No space left on device\n")
    with pytest.raises(Unreachable, match="the last one ended: cannot write the log"):
        Client(home)


FULL = "error[unavailable]: cannot write the log: No space left on device\n  fix: make room\n"


@pytest.mark.parametrize("ask", ["status", "follow"])
def test_whoever_loses_a_node_is_told_how_it_ended(
    control: FakeControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    monkeypatch.setattr(connection, "_PAUSE_SECONDS", 0.0)
    home = locate(str(tmp_path), {})
    with api_server(control) as url:
        homes.write_running(home, Running(1, url, 5_000, "0"))
        client = Client(home)
    homes.clear_running(home)
    log_path(home).write_text(FULL)
    with client, pytest.raises(Unreachable, match="the last one ended: cannot write") as told:
        client.node() if ask == "status" else list(client.watch(JOB))
    assert told.value.fix.startswith("make room; then: dpin ")


def test_the_end_of_an_earlier_run_explains_nothing(control: FakeControl, tmp_path: Path) -> None:
    home = locate(str(tmp_path), {})
    log_path(home).write_text(FULL)
    os.utime(log_path(home), (4, 4))
    with api_server(control) as url:
        homes.write_running(home, Running(1, url, 5_000, "0"))
        client = Client(home)
    with client, pytest.raises(Unreachable) as told:
        client.node()
    assert "ended" not in str(told.value)


def test_the_log_and_the_result_of_a_job_that_is_served_are_elsewhere(
    node: Client, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    detail = control.job(JOB)
    detail.job.role, detail.output, detail.files = "served", None, []
    monkeypatch.setattr(control, "job", lambda _: detail)
    with pytest.raises(ClientError, match="is a job of another node, which keeps its log") as told:
        node.log(JOB)
    assert told.value.code == "not-found"
    with pytest.raises(ClientError, match="is a job of another node, which has its result") as told:
        node.fetch(JOB)
    assert told.value.code == "no-result"

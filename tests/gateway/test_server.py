"""The HTTP API, over real sockets."""

import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
import trio

from dpin.base.errors import Unavailable
from dpin.gateway.api import BODY_BYTES_MAX
from dpin.gateway.server import serve
from dpin.node.control import ProofRequest
from tests.support.fake_control import FakeControl, generation_log

GETS = {
    "/healthz": "health",
    "/api/v1/node": "node",
    "/api/v1/peers": "peers",
    "/api/v1/jobs": "jobs",
    "/api/v1/jobs/j-7f3a": "job",
    "/api/v1/jobs/j-7f3a/explain": "explain",
    "/api/v1/jobs/j-7f3a/receipts": "receipts",
    "/api/v1/ledger/proof": "proof",
    "/api/v1/doctor": "checks",
    "/api/v1/network": "network",
    "/api/v1/network/peers": "links",
    "/api/v1/network/bans": "bans",
}
JOB = "type: train\ndata: {path: corpus}\n"
SUBMIT = {"text": JOB, "folder": "/tmp", "name": "tiny"}  # noqa: S108  # Nothing is written.


@asynccontextmanager
async def served(control: FakeControl) -> AsyncIterator[httpx.AsyncClient]:
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(serve, control, 0)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("path", "schema"), GETS.items())
async def test_every_picture_is_json_that_names_its_schema(path: str, schema: str) -> None:
    async with served(FakeControl()) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.json()["schema"] == f"dpin.v1/{schema}"


async def test_a_job_is_planned_submitted_and_cancelled() -> None:
    control = FakeControl()
    async with served(control) as client:
        plan = await client.post("/api/v1/jobs?dry_run=1", json=SUBMIT)
        assert plan.json()["schema"] == "dpin.v1/plan"
        assert control.asked == []
        made = await client.post("/api/v1/jobs", json=SUBMIT)
        assert (made.status_code, made.json()["name"]) == (201, "tiny")
        gone = await client.delete(f"/api/v1/jobs/{made.json()['id']}")
        assert gone.json()["state"] == "cancelled"


async def test_tokens_are_sent_an_invite_is_made_and_the_node_drains_and_stops() -> None:
    control = FakeControl()
    stopped = trio.Event()
    control.on_stop = stopped.set
    async with served(control) as client:
        sent = await client.post("/api/v1/wallet/transfer", json={"to": "ab" * 32, "amount": "1.5"})
        assert sent.json()["height"] == 121
        invited = await client.post("/api/v1/network/invite", json={"grant": "5", "to": "ab" * 32})
        assert invited.json()["invite"] == "dpin1:xyz"
        assert (await client.post("/api/v1/node/drain")).json()["state"] == "draining"
        assert control.drained
        assert (await client.post("/api/v1/node/resume")).json()["state"] == ""
        paused = await client.post("/api/v1/node/pause", json={"length": "2h"})
        assert (paused.json()["schema"], paused.json()["state"]) == ("dpin.v1/rest", "paused")
        assert (await client.post("/api/v1/node/stop")).status_code == 202
    assert stopped.is_set()


async def test_a_stranger_s_proof_is_compared_with_what_the_node_knows() -> None:
    control = FakeControl()
    control.verdict = "other"
    text = control.proof(ProofRequest(account="ab" * 32)).proof
    async with served(control) as client:
        answer = await client.post("/api/v1/ledger/compare", json={"proof": text})
    told = answer.json()
    assert (answer.status_code, told["schema"]) == (200, "dpin.v1/comparison")
    assert (told["verdict"], told["checkpoint"]["epoch"]) == ("other", 3)
    assert told["signed_both"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/jobs/nobody", 404, "not-found"),
        ("GET", "/api/v1/jobs/nobody/log", 404, "not-found"),
        ("GET", "/api/v1/jobs/j-7f3a/log?after=-1", 400, "misuse"),
        ("GET", "/nowhere", 404, "no-such-route"),
        ("PUT", "/api/v1/jobs", 405, "wrong-method"),
        ("POST", "/api/v1/jobs", 415, "not-json"),
    ],
)
async def test_an_error_says_code_message_and_fix(
    method: str, path: str, status: int, code: str
) -> None:
    async with served(FakeControl()) as client:
        answer = await client.request(method, path)
    told = answer.json()
    assert (answer.status_code, told["error"]["code"]) == (status, code)
    assert told["schema"] == "dpin.v1/error"
    assert told["error"]["message"]
    assert told["error"]["fix"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b'{"text": 1}', b'{"text": "", "folder": "", "more": 1}', b"\xff",
        b"[" * 9_999, b'{"text": "", "folder": "", "id": "../x"}',
    ],
)  # fmt: skip
async def test_a_body_that_is_not_what_it_should_be_is_refused(content: bytes) -> None:
    headers = {"content-type": "application/json"}
    async with served(FakeControl()) as client:
        answer = await client.post("/api/v1/jobs", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "misuse")


async def test_a_bug_is_told_logged_and_survived(capsys: pytest.CaptureFixture[str]) -> None:
    async with served(FakeControl()) as client:
        body = {"to": "ab" * 32, "amount": "1", "memo": "bug"}
        answer = await client.post("/api/v1/wallet/transfer", json=body)
        told = answer.json()["error"]
        assert (answer.status_code, told["code"]) == (500, "internal")
        assert "AssertionError: a broken invariant" in told["message"]
        assert (await client.get("/healthz")).status_code == 200
    assert "api-bug" in capsys.readouterr().out


async def test_a_body_over_the_limit_is_cut_off() -> None:
    headers = {"content-type": "application/json"}
    async with served(FakeControl()) as client:
        answer = await client.post(
            "/api/v1/jobs", content=b" " * (BODY_BYTES_MAX + 1), headers=headers
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")
        assert (await client.get("/healthz")).status_code == 200


async def test_more_than_there_is_has_a_code_of_its_own() -> None:
    control = FakeControl()
    control.balance = 5
    async with served(control) as client:
        answer = await client.post("/api/v1/jobs", json=SUBMIT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "over-budget")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:80"},
        {"host": "127.0.0.1.evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1"},
    ],
)
async def test_what_a_web_page_could_cause_is_refused(headers: dict[str, str]) -> None:
    async with served(FakeControl()) as client:
        answer = await client.get("/api/v1/node", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not-local")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80"])
async def test_names_of_this_machine_are_served(host: str) -> None:
    async with served(FakeControl()) as client:
        origin = {"host": host, "origin": "http://localhost:3000"}
        assert (await client.get("/api/v1/node", headers=origin)).status_code == 200


def read_events(url: str, headers: dict[str, str]) -> list[str]:
    """The lines of a log up to its first quiet moment, read as a program without trio would."""
    lines: list[str] = []
    with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            lines.append(line)
            if line == ": idle":
                break
    return lines


async def events(client: httpx.AsyncClient, **headers: str) -> list[str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{client.base_url}/api/v1/jobs/j-7f3a/log"
    return await trio.to_thread.run_sync(read_events, url, named)


async def test_a_log_is_numbered_events_and_says_when_it_is_closed() -> None:
    control = FakeControl()
    control.entries = generation_log()
    async with served(control) as client:
        lines = await events(client)
    assert [line for line in lines if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3"]
    first = next(line for line in lines if line.startswith("data:"))
    assert msgspec.json.decode(first.removeprefix("data: "))["text"] == "to "
    assert "event: closed" in lines


async def test_a_reader_goes_on_where_it_was_cut_off() -> None:
    async with served(FakeControl()) as client:
        lines = await events(client, last_event_id="6")
    assert [line for line in lines if line.startswith("id:")] == ["id: 7", "id: 8"]


async def test_a_quiet_log_says_so_and_lets_its_reader_go() -> None:
    control = FakeControl()
    control.stay_open = True
    async with served(control) as client:
        assert (await events(client))[-1] == ": idle"
        assert (await client.get("/healthz")).status_code == 200


async def test_only_so_many_requests_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpin.gateway.crowd.REQUESTS_MAX", 2)
    control = FakeControl()
    control.stay_open = True
    log = "/api/v1/jobs/j-7f3a/log"
    async with served(control) as client:
        async with client.stream("GET", log), client.stream("GET", log):
            refused = await client.get("/api/v1/peers")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        with trio.fail_after(5):
            while (await client.get("/api/v1/peers")).status_code != 200:
                await trio.sleep(0.05)


async def test_the_owner_can_look_at_a_crowded_node_and_stop_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpin.gateway.crowd.REQUESTS_MAX", 1)
    control = FakeControl()
    control.stay_open = True
    async with served(control) as client, client.stream("GET", "/api/v1/jobs/j-7f3a/log"):
        assert (await client.get("/api/v1/peers")).status_code == 503
        for look in ("/healthz", "/api/v1/node", "/api/v1/jobs", "/api/v1/doctor"):
            assert (await client.get(look)).status_code == 200
        headers = {"content-type": "application/json"}
        ended = await client.post("/api/v1/node/stop", content=b"{}", headers=headers)
        assert ended.status_code == 202


async def test_the_places_kept_for_the_owner_have_an_end_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpin.gateway.crowd.REQUESTS_MAX", 1)
    monkeypatch.setattr("dpin.gateway.crowd.KEPT", 0)
    control = FakeControl()
    control.stay_open = True
    async with served(control) as client, client.stream("GET", "/api/v1/jobs/j-7f3a/log"):
        assert (await client.get("/healthz")).status_code == 503


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_taken_port_is_a_clear_error() -> None:
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(serve, FakeControl(), 0)
        with pytest.raises(Unavailable, match=rf"port {port} is in use: api\.port") as caught:
            await serve(FakeControl(), port)
        fix = caught.value.fix
        del caught  # It holds the frames that hold the socket.
        assert "ss -ltnp" in fix
        nursery.cancel_scope.cancel()
    gc.collect()  # anycorn leaves the socket that it could not bind to the collector.


NONSENSE = (
    "GET /api/v1/node HTTP/1.1|POST /api/v1/jobs HTTP/1.1|Host: 127.0.0.1|Content-Length: 5"
    "|Content-Length: -1|Content-Length: 99999999999999999999|Transfer-Encoding: chunked"
    "|Transfer-Encoding: gzip|Connection: upgrade|Upgrade: websocket|Upgrade: h2c"
    "|HTTP2-Settings: AAAA|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: x|Expect: 100-continue"
    "|Content-Type: application/json|PRI * HTTP/2.0|SM|GET / HTTP/9.9|GET  HTTP/1.1|: x|\0"
    "|X: \xff|ffffffffffffffffffff|-1|0|zz|" + "X" * 20_000
)


def malformed(dice: random.Random) -> bytes:
    """A request that no client sends."""
    lines = [line.encode("latin-1") for line in NONSENSE.split("|")]
    parts = [dice.choice(lines) for _ in range(dice.randrange(1, 9))]
    text = dice.choice([b"\r\n", b"\n"]).join(parts) + b"\r\n\r\n" * dice.randrange(2)
    if dice.randrange(3) == 0:
        cut = dice.randrange(len(text) + 1)
        text = text[:cut] + dice.randbytes(dice.randrange(20)) + text[cut:]
    return text


async def send_and_leave(port: int, data: bytes) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    with trio.move_on_after(0.02):
        async with stream:
            await stream.send_all(data)
            await stream.receive_some(1_000)


async def test_two_hundred_malformed_requests_leave_it_serving() -> None:
    dice = random.Random(7)  # noqa: S311  # The same nonsense every time.
    async with served(FakeControl()) as client:
        port = client.base_url.port
        assert port is not None
        for _ in range(200):
            try:
                await send_and_leave(port, malformed(dice))
            except (trio.BrokenResourceError, OSError):
                continue
        assert (await client.get("/api/v1/node")).status_code == 200

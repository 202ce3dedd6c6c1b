"""The commands, against a fake node behind the real HTTP server."""

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dpin.base.codec import decode
from dpin.base.crypto import verify
from dpin.base.errors import OverBudget
from dpin.cli import follow, payments
from dpin.cli.app import run
from dpin.client.client import Client
from dpin.ledger.transactions import TRANSACTION_TAG, SignedTransaction, transaction_id
from dpin.node.control import (
    PauseRequest,
    PayRequest,
    RunRequest,
    SignedRequest,
    TransferRequest,
    ValidatorRequest,
)
from dpin.node.status import LogEntry, TransferView
from tests.support.api_server import api_server
from tests.support.fake_blobs import BLOB
from tests.support.fake_control import (
    NODE_ID,
    FakeControl,
    generation_log,
    ledger_view,
    movement_view,
)

JOB = "j-7f3a2c10"
Printed = pytest.CaptureFixture[str]
SCHEMAS = {
    "status": "status",
    f"status {JOB}": "job",
    "jobs": "jobs",
    f"explain {JOB}": "explain",
    f"receipts {JOB}": "receipts",
    f"cancel {JOB}": "submitted",
    "peers": "peers",
    "doctor": "checks",
    "node status": "node",
    "node drain": "rest",
    "node pause": "rest",
    "node pause 30m": "rest",
    "node resume": "rest",
    "node stop": "ok",
    "wallet": "wallet",
    "wallet show": "wallet",
    f"wallet send {NODE_ID} 1.5": "transfer",
    "wallet history": "movements",
    "net invite": "invite",
    "net peers": "links",
    "net bans": "bans",
    "net bans --lift swift-yak": "lifted",
    "net ping swift-yak": "ping",
    "net trace swift-yak": "trace",
    "blob list": "blobs",
    f"blob get {BLOB}": "fetch",
    f"blob get {BLOB} --trace --pin": "fetch",
    "blob pin cdcd": "blob",
    "blob unpin cdcd": "blob",
    f"net invite --grant 5 --to {NODE_ID}": "invite",
    "version": "version",
    "config show": "config",
    f"fetch {JOB}": "files",
}


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture(autouse=True)
def api(control: FakeControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    control.output = str(tmp_path / "made")
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        monkeypatch.setenv("DPIN_HOME", str(tmp_path / "home"))
        yield url


@pytest.fixture
def job_file(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text("type: train\ndata: {path: corpus}\n")
    return str(path)


@pytest.mark.parametrize(("words", "schema"), SCHEMAS.items())
def test_json_goes_to_stdout_alone_and_names_its_schema(
    words: str, schema: str, capsys: Printed
) -> None:
    assert run([*words.split(), "--json"]) in {0, 1}
    printed = capsys.readouterr()
    assert json.loads(printed.out)["schema"] == f"dpin.v1/{schema}"
    assert not printed.err


@pytest.mark.parametrize("words", SCHEMAS)
def test_without_json_people_can_read_it(words: str, capsys: Printed) -> None:
    run(words.split())
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert text.strip()
    assert "{" not in text
    assert "error[" not in text


def test_status_of_a_job_shows_phases_providers_rounds_and_where_the_result_lies(
    capsys: Printed,
) -> None:
    assert run(["status", JOB]) == 0
    shown = capsys.readouterr().out
    for part in ("[ok] plan", "swift-yak", "2.900", "loss 5.500 -> 2.600", "model.safetensors"):
        assert part in shown


def test_what_the_node_refuses_keeps_its_code(capsys: Printed, job_file: str) -> None:
    assert run(["explain", "j-none"]) == 4
    assert "error[not-found]: there is no job 'j-none'\n  fix: dpin jobs" in capsys.readouterr().err
    assert run(["wallet", "send", "short", "1"]) == 2
    assert run(["wallet", "send", NODE_ID, "1.0000001"]) == 2
    assert run(["net", "invite", "--grant", "5"]) == 2
    assert run(["submit", job_file, "--set", "limits.cost=99999"]) == 9
    assert "error[over-budget]" in capsys.readouterr().err


def test_no_node_is_status_five(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(["jobs", "--home", str(tmp_path / "other")]) == 5
    assert f"  fix: dpin init --home {tmp_path}/other\n" in capsys.readouterr().err
    monkeypatch.setenv("DPIN_API", "http://127.0.0.1:9")
    assert run(["jobs"]) == 5
    told = capsys.readouterr().err
    assert "error[unreachable]: no node answers" in told
    assert "DPIN_API" in told


def test_a_job_is_planned_and_not_started(
    control: FakeControl, capsys: Printed, job_file: str
) -> None:
    assert run(["submit", job_file, "--dry-run", "--set", "args.rounds=3"]) == 0
    told = capsys.readouterr()
    assert "reading the data and the model as the job would" in told.err
    assert "3 rounds of 20 steps" in told.out
    assert "9 units, each 0.001 at most and 0.0001 for its checks" in told.out
    assert "what is not used comes back at the end" in told.out
    assert run(["submit", job_file, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "dpin.v1/plan"
    assert control.asked == []


def test_a_job_is_followed_to_its_end_and_gives_its_status(
    control: FakeControl, capsys: Printed, job_file: str
) -> None:
    assert run(["submit", job_file]) == 0
    told = capsys.readouterr()
    assert not told.out
    lines = told.err.splitlines()
    assert lines[0] == f"{JOB} tiny"
    assert [line.split()[1] for line in lines[1:9]] == [
        "phase", "phase", "lease", "progress", "round", "round", "verify", "end",
    ]  # fmt: skip
    assert lines[-3].startswith("done  loss 5.500 -> 2.600  cost 0.39: 0.001 for 1 unit, ")
    assert "0.389 for checks and fees; " in lines[-3]
    assert " came back" in lines[-3]
    assert lines[-1] == "   model.safetensors, sub/receipts.json"
    control.end = ("failed", "expired")
    assert run(["submit", job_file]) == 6
    assert f"fix: dpin explain {JOB}" in capsys.readouterr().err
    control.end = ("failed", "no-provider")
    assert run(["submit", job_file]) == 6
    words = capsys.readouterr().err
    assert "failed (3 of 4 nodes decline)" in words
    assert words.endswith("fix: retry in 5 s\n")


def test_a_job_that_could_not_be_prepared_or_that_nobody_takes_says_what_to_correct(
    control: FakeControl, capsys: Printed, job_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.end = ("failed", "preparing the job: no column 'txt'")
    assert run(["submit", job_file]) == 3
    assert "fix: correct that and submit it again" in capsys.readouterr().err
    control.end = ("failed", "no-provider")
    said = msgspec.structs.replace(control.explain(JOB), next_step="")
    monkeypatch.setattr(control, "explain", lambda _job: said)
    assert run(["submit", job_file]) == 6
    first, words = said.declines[0], capsys.readouterr().err
    assert f"of {said.providers_seen} decline, {first.name}: " in words
    assert f"fix: dpin explain {JOB}" in words


def test_detached_only_the_id_is_printed(capsys: Printed, job_file: str) -> None:
    assert run(["submit", job_file, "--detach", "--name", "mine"]) == 0
    assert capsys.readouterr() == (f"{JOB}\n", "")
    assert run(["submit", job_file, "--detach", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == JOB


def test_a_job_is_taken_up_again_after_a_broken_terminal(
    control: FakeControl, capsys: Printed
) -> None:
    assert run(["submit", "--attach", "j-7f3a"]) == 0
    assert run(["submit", "--attach", "j-7f3a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "dpin.v1/job"
    control.end = ("failed", "the check failed: disagreed")
    assert run(["submit", "--attach", "j-7f3a"]) == 8


def test_a_node_that_forgot_the_log_is_asked_until_the_job_has_ended(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.entries = []
    control.end = ("running", "")

    def later(_: float) -> None:
        control.end = ("done", "")

    monkeypatch.setattr(time, "sleep", later)
    assert run(["submit", "--attach", JOB]) == 0


def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, job_file: str, control: FakeControl
) -> None:
    def interrupted(*_: object) -> Iterator[LogEntry | None]:
        yield None
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "watch", interrupted)
    assert run(["submit", job_file]) == 130
    assert f"dpin submit --attach {JOB} | dpin cancel {JOB}" in capsys.readouterr().err
    assert len(control.asked) == 1


def test_on_a_terminal_it_is_one_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, job_file: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(follow, "DRAW_SECONDS", 0.0)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert run(["submit", job_file]) == 0
    shown = capsys.readouterr().err
    for part in ("[ok] plan", "round 2/2 [####################]", "loss 2.900", "Ctrl-C detaches"):
        assert part in shown


def test_progress_is_throttled_where_nobody_watches(capsys: Printed) -> None:
    step = LogEntry(number=1, time_ms=0, kind="progress", text="step", data={})
    screen = follow.Lines()
    for _ in range(5):
        screen.see(Client(url="http://127.0.0.1:9"), JOB, step)
    assert capsys.readouterr().err.count("step") == 1


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["submit"], "name a job file"),
        (["submit", "BAD"], "bad.yaml:3: unknown key 'rouns' in args"),
        (["submit", "BAD", "--attach", JOB], "name a job file"),
    ],
)
def test_a_bad_job_file_is_status_two_and_reaches_no_node(
    words: list[str], where: str, tmp_path: Path, capsys: Printed, control: FakeControl
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("type: train\nargs:\n  rouns: 3\n")
    assert run([str(bad) if word == "BAD" else word for word in words]) == 2
    assert where in capsys.readouterr().err
    assert control.asked == []


def test_logs_are_lines_or_json_lines(capsys: Printed) -> None:
    assert run(["logs", JOB]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("end      done")
    assert run(["logs", JOB, "-f", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1, 9))


def test_a_result_is_copied_where_it_is_wanted(tmp_path: Path, capsys: Printed) -> None:
    made = tmp_path / "made"
    (made / "sub").mkdir(parents=True)
    (made / "model.safetensors").write_text("weights")
    (made / "sub" / "receipts.json").write_text("{}")
    assert run(["fetch", JOB, "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "out" / "model.safetensors")
    assert (tmp_path / "out" / "sub" / "receipts.json").read_text() == "{}"


def test_a_text_streams_to_stdout_and_its_speed_to_stderr(
    control: FakeControl, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    control.entries = generation_log()
    control.entries[0].data["bytes"] = b"to \xff".hex()
    words = ["run", str(tmp_path), "prompt", "--tokens", "6", "--seed", "3", "--verbose"]
    assert run(words) == 0
    printed = capsysbinary.readouterr()
    assert printed.out == b"to \xffbe\n\n"
    assert b"tok/s, TTFT" in printed.err
    asked = control.asked[0]
    assert isinstance(asked, RunRequest)
    assert (asked.model, asked.tokens, asked.seed) == (str(tmp_path), 6, 3)


def test_a_text_as_json_holds_its_bytes(control: FakeControl, capsys: Printed) -> None:
    control.entries = generation_log()
    control.end = ("failed", "expired")
    assert run(["run", "model", "prompt", "--json"]) == 6
    printed = capsys.readouterr()
    assert json.loads(printed.out)["text"] == "to be\n"
    assert "error[job-failed]" in printed.err


def test_ctrl_c_ends_a_generation(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Iterator[LogEntry]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "events", interrupted)
    assert run(["run", "model", "prompt"]) == 130
    assert control.asked[-1] == ("cancel", JOB)


def test_sent_tokens_and_their_memo_reach_the_node(control: FakeControl) -> None:
    assert run(["wallet", "send", NODE_ID, "1,000.5", "--memo", "thanks"]) == 0
    payment = TransferRequest(to=NODE_ID, amount="1,000.5", memo="thanks")
    assert control.asked == [PayRequest(payments=[payment])]


def test_doctor_fails_without_a_key_and_says_how_to_get_one(capsys: Printed) -> None:
    assert run(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  key" in shown
    assert "fix: dpin init" in shown


def test_stop_and_drain_reach_the_node(control: FakeControl, capsys: Printed) -> None:
    assert run(["node", "drain"]) == 0
    assert run(["node", "stop"]) == 0
    assert control.drained
    assert "the node has stopped" in capsys.readouterr().err


def test_a_node_is_paused_and_resumed_and_its_status_says_why_it_takes_nothing(
    control: FakeControl, capsys: Printed
) -> None:
    assert run(["node", "pause", "30m"]) == 0
    assert control.asked == [PauseRequest(length="30m")]
    assert "takes nothing new: until 18:30" in capsys.readouterr().err
    for words in (["status"], ["node", "status"]):
        assert run(words) == 0
        assert "takes nothing new: until 18:30" in capsys.readouterr().out
    assert run(["node", "resume"]) == 0
    assert "the node takes work again" in capsys.readouterr().err
    assert run(["status"]) == 0
    assert "takes nothing new" not in capsys.readouterr().out


def test_several_are_paid_at_once_and_a_batch_in_parts_of_sixteen(
    control: FakeControl, capsys: Printed, tmp_path: Path
) -> None:
    assert run(["wallet", "send", NODE_ID, "1.5", NODE_ID, "2", "--memo", "rent"]) == 0
    [asked] = control.asked
    assert isinstance(asked, PayRequest)
    assert [(one.to, one.amount, one.memo) for one in asked.payments] == [
        (NODE_ID, "1.5", "rent"),
        (NODE_ID, "2", "rent"),
    ]
    assert "sent 3.5 in 2 payments in commit 121: ok" in capsys.readouterr().err
    batch = tmp_path / "wages.csv"
    batch.write_text("# whom, how much, why\n\n" + f"{NODE_ID}, 0.5, July\n" * 17)
    assert run(["wallet", "send", "--batch", str(batch)]) == 0
    parts = [asked.payments for asked in control.asked[1:] if isinstance(asked, PayRequest)]
    assert [len(part) for part in parts] == [16, 1]
    assert parts[0][0].memo == "July"
    capsys.readouterr()
    assert run(["wallet", "send", "--batch", str(batch), "--json"]) == 0
    [first, second] = json.loads(capsys.readouterr().out)["transfers"]
    assert first["height"] == second["height"] == 121


def test_what_was_paid_before_a_refusal_is_still_told(
    control: FakeControl, capsys: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, pay = tmp_path / "wages.csv", control.pay

    async def one_only(request: PayRequest) -> TransferView:
        if control.asked:
            raise OverBudget("there is no more", fix="send less")
        return await pay(request)

    monkeypatch.setattr(control, "pay", one_only)
    batch.write_text(f"{NODE_ID},1\n" * 17)
    assert run(["wallet", "send", "--batch", str(batch), "--json"]) == 9
    told = capsys.readouterr()
    assert len(json.loads(told.out)["transfers"]) == 1
    assert told.err.startswith("error[over-budget]: there is no more")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no payments"),
        (f"{NODE_ID},1\n{NODE_ID}\n", "line 2: 1 fields"),
        (f"{NODE_ID},1\nshort,1\n", "line 2: 'short' is not a node id"),
        (f"{NODE_ID},much\n", "line 1: 'much' is not an amount"),
    ],
)
def test_a_batch_with_a_wrong_line_sends_nothing(
    text: str, said: str, control: FakeControl, capsys: Printed, tmp_path: Path
) -> None:
    batch = tmp_path / "wages.csv"
    batch.write_text(text)
    assert run(["wallet", "send", "--batch", str(batch)]) == 2
    assert said in capsys.readouterr().err
    assert control.asked == []


def test_a_payment_without_its_amount_is_refused(control: FakeControl, capsys: Printed) -> None:
    for words in ([], [NODE_ID], [NODE_ID, "1", NODE_ID]):
        assert run(["wallet", "send", *words]) == 2
        assert "every payment is a node and an amount" in capsys.readouterr().err
    assert control.asked == []


def test_credit_is_bought_for_somebody(control: FakeControl, capsys: Printed) -> None:
    assert run(["wallet", "credit", NODE_ID, "4"]) == 0
    [asked] = control.asked
    assert isinstance(asked, PayRequest)
    assert asked.credit
    assert "sent 4 of credit in commit 121" in capsys.readouterr().err
    assert run(["wallet"]) == 0
    assert "credit                  2\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["status"], ["node", "status"]])
def test_a_small_network_says_that_it_tolerates_nobody(
    words: list[str], control: FakeControl, capsys: Printed
) -> None:
    control.ledger = ledger_view(committee=["alone"], tolerates=0)
    assert run(words) == 0
    assert "1 validator, tolerates 0 faulty validators" in capsys.readouterr().out
    control.ledger = ledger_view()
    assert run(words) == 0
    assert "tolerates 1 faulty validator\n" in capsys.readouterr().out


def test_history_is_paged_and_says_how_to_see_more(control: FakeControl, capsys: Printed) -> None:
    assert run(["wallet", "history", "--count", "2"]) == 0
    printed = capsys.readouterr()
    head, newest, older = printed.out.splitlines()
    assert head.split()[:4] == ["NUMBER", "COMMIT", "AGE", "WHAT"]
    assert (newest.split()[0], older.split()[0]) == ("3", "2")
    assert "-1.50015" in newest
    assert "dpin wallet history --before 2" in printed.err
    assert run(["wallet", "history", "--before", "2", "--json"]) == 0
    [movement] = json.loads(capsys.readouterr().out)["movements"]
    assert movement["number"] == 1
    control.movements = []
    assert run(["wallet", "history"]) == 0
    assert "nothing has moved yet" in capsys.readouterr().out


def test_a_generated_text_cannot_command_a_terminal_and_is_whole_elsewhere(
    control: FakeControl,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = b"\xc3\xa9t\xc3\xa9\x1b]52;c;x\x07\n"
    pieces = [LogEntry(1, 0, "token", "", {"bytes": piece.hex()}) for piece in (said[:1], said[1:])]
    control.entries = [*pieces, *generation_log()[2:]]
    run(["run", "model", "prompt"])
    assert capsysbinary.readouterr().out.startswith(said)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run(["run", "model", "prompt"])
    assert capsysbinary.readouterr().out.startswith("été?]52;c;x?\n".encode())


def test_history_leaves_out_steps_that_moved_nothing(control: FakeControl, capsys: Printed) -> None:
    idle = movement_view(2, what="have", change=0, fee=0)
    control.movements = [movement_view(1), idle, movement_view(3, change=0, detail="refused")]

    def numbers(*words: str) -> list[str]:
        assert run(["wallet", "history", *words]) == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]

    assert numbers() == ["3", "1"]
    assert numbers("--all") == ["3", "2", "1"]


def test_the_wallet_says_what_work_and_checks_have_brought(
    control: FakeControl, capsys: Printed
) -> None:
    now = int(time.time() * 1000)
    control.movements = [
        movement_view(1, what="work", change=9_000_000, time_ms=now - 2 * 86_400_000),
        movement_view(2, what="work", change=1_000_000, time_ms=now),
        movement_view(3, what="check", change=500_000, time_ms=now),
        movement_view(4, what="transfer", change=700_000, time_ms=now),
    ]
    assert run(["wallet"]) == 0
    printed = capsys.readouterr()
    assert "earned                1.5\n" in printed.out
    assert "by work and checks in 24 hours" in printed.err
    assert run(["wallet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["earned_in_a_day"] == 1_500_000


def test_the_wallet_counts_all_that_is_remembered_and_says_where_that_is_less_than_a_day(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setattr(payments, "FOLLOWED_MAX", 2)
    now = int(time.time() * 1000)
    control.movements = [
        movement_view(number, what="work", change=1_000_000, time_ms=now - 3_600_000)
        for number in range(5, 10)
    ]
    assert run(["wallet"]) == 0
    printed = capsys.readouterr()
    assert "earned                  5\n" in printed.out
    assert "in the 1h remembered" in printed.err


def test_a_generation_says_what_it_waits_for_until_its_text_comes(
    control: FakeControl, capsys: Printed
) -> None:
    phase = LogEntry(number=1, time_ms=0, kind="phase", text="match: asking providers", data={})
    control.entries = [phase, *generation_log()]
    assert run(["run", "model", "prompt"]) == 0
    assert "match: asking providers" in capsys.readouterr().err


def test_a_strangers_memo_cannot_move_the_cursor(control: FakeControl, capsys: Printed) -> None:
    control.movements = [movement_view(1, memo="\x1b[2Jgone\n")]
    assert run(["wallet", "history"]) == 0
    assert "?[2Jgone?" in capsys.readouterr().out


@pytest.mark.parametrize("json_lines", [False, True])
def test_what_moves_is_shown_until_ctrl_c_which_is_no_error(
    json_lines: bool,  # noqa: FBT001
    control: FakeControl,
    capsys: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = [movement_view(4, change=2_000_000, what="credit"), movement_view(5)]

    def sleep(_: float) -> None:
        if not more:
            raise KeyboardInterrupt
        control.movements.append(more.pop(0))

    monkeypatch.setattr(time, "sleep", sleep)
    assert run(["wallet", "watch", *(["--json"] if json_lines else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    if json_lines:
        assert [json.loads(line)["number"] for line in lines] == [4, 5]
    else:
        assert lines[0].startswith(f"commit 40  credit  +2  from {NODE_ID[:16]}")
        assert lines[1].startswith(f"commit 50  transfer  -1.50015  to {NODE_ID[:16]}")


def test_a_report_that_is_written_again_and_again_says_so_and_stays_after_ctrl_c(
    control: FakeControl, capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    control.end = ("running", "")
    monkeypatch.setattr(time, "sleep", interrupted)
    assert run(["report", JOB, "--watch", "-o", str(tmp_path)]) == 130
    page = tmp_path / "report.html"
    assert f"{page} is there, and written again until the job has ended" in capsys.readouterr().err
    assert page.exists()


def test_a_cold_key_pays_what_was_prepared_and_shown(
    control: FakeControl, capsys: Printed, tmp_path: Path
) -> None:
    key, paper, signed = (str(tmp_path / name) for name in ("cold.key", "paper", "signed"))
    assert run(["wallet", "create", key, "--plain"]) == 0
    account = capsys.readouterr().out.strip()
    assert run(["wallet", "prepare", account, NODE_ID, "1.5", "--out", paper]) == 0
    assert f"to be signed by {account}" in capsys.readouterr().err
    assert run(["wallet", "sign", paper, "--key", key, "--out", signed, "--yes"]) == 0
    shown = capsys.readouterr().err
    for words in (f"account   {account}, transaction 4", f"1.5 to {NODE_ID}", "at most 0.0003"):
        assert words in shown
    assert run(["wallet", "submit", signed]) == 0
    assert "in commit 121: ok" in capsys.readouterr().err
    carried = control.asked[-1]
    assert isinstance(carried, SignedRequest)
    made = decode(SignedTransaction, bytes.fromhex(carried.transaction))
    assert made.transaction.sender.hex() == account
    identity, chain = transaction_id(made.transaction), made.transaction.chain
    assert verify(made.transaction.sender, TRANSACTION_TAG, chain, identity, made.signature)


def test_nobody_else_signs_it_and_nothing_else_is_signed(
    control: FakeControl, capsys: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other, paper = (str(tmp_path / name) for name in ("cold.key", "other.key", "paper"))
    assert run(["wallet", "create", other, "--plain"]) == 0
    assert run(["wallet", "create", key, "--plain"]) == 0
    account = capsys.readouterr().out.split()[-1]
    assert run(["wallet", "prepare", account, NODE_ID, "1.5", "--out", paper]) == 0
    assert run(["wallet", "prepare", account, NODE_ID, "1.5", "--out", paper]) == 2  # it is there
    assert run(["wallet", "sign", paper, "--key", other, "--yes"]) == 2
    assert "not of the account that pays" in capsys.readouterr().err
    assert run(["wallet", "submit", paper]) == 2  # it is not signed
    assert run(["wallet", "sign", key, "--key", key, "--yes"]) == 2
    for typed, status, said in [("n\n", 130, "nothing is signed"), ("", 2, "add --yes")]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert run(["wallet", "sign", paper, "--key", key]) == status
        assert said in capsys.readouterr().err
    assert not any(isinstance(asked, SignedRequest) for asked in control.asked)


def test_another_accounts_tokens_are_shown(capsys: Printed) -> None:
    assert run(["wallet", "show", "--account", NODE_ID]) == 0
    assert "free                    7\n" in capsys.readouterr().out
    assert run(["wallet", "show", "--account", "short"]) == 2


def test_what_a_validator_asks_reaches_the_node(control: FakeControl, capsys: Printed) -> None:
    assert run(["validator", "register", "--bond", "150"]) == 0
    assert run(["validator", "bond", "12.5"]) == 0
    assert run(["validator", "retire", "--json"]) == 0
    assert control.asked == [
        ValidatorRequest(action="register", amount="150"),
        ValidatorRequest(action="bond", amount="12.5"),
        ValidatorRequest(action="retire"),
    ]
    assert "register in commit 121: ok" in capsys.readouterr().err
    assert run(["validator", "withdraw"]) == 2
    assert "fix: dpin validator retire" in capsys.readouterr().err


@pytest.mark.usefixtures("control")
def test_validators_are_shown_with_what_keeps_them_from_a_seat(capsys: Printed) -> None:
    assert run(["validator", "status"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "epoch 3, ends in 9 s or later"
    assert shown[2].split() == ["*", "swift-yak", "100", "1", "4/5", "1", "seated"]
    assert shown[3].endswith("jailed until epoch 7")
    assert run(["validator", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["validators"][1]["bond"] == 50_000_000


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("dpin status j-7f", JOB),
        ("dpin logs j-", JOB),
        ("dpin submit --attach j-", JOB),
        ("dpin logs x-", ""),
        ("dpin net ping swift", "swift-yak"),
        ("dpin wal", "wallet"),
    ],
)
def test_a_shell_completes_commands_jobs_and_peers(
    typed: str, completed: str, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setenv("_DPIN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    with pytest.raises(SystemExit):
        run([])
    assert capsys.readouterr().out.split() == completed.split()


def test_a_shell_waits_for_no_node_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setenv("DPIN_API", "http://127.0.0.1:9")
    test_a_shell_completes_commands_jobs_and_peers("dpin status j-7f", "", monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["status", ""], 2),
        (["node", "pause", ""], 2),
        (["node", "pause", " "], 2),
        (["status", "--home", ""], 2),
        (["init", "--home", ""], 2),
        (["init", "--home", "/dev/null"], 2),
        (["status", "--home", "/dev/null"], 2),
        *(
            (["wallet", "send", "--", NODE_ID, amount], 2)
            for amount in ("-1", "1e9", "", "é", "nan", "9" * 40, "1.0000001")
        ),
    ],
)
def test_wrong_words_end_in_one_sentence_with_a_fix_and_change_nothing(
    control: FakeControl, capsys: Printed, words: list[str], status: int
) -> None:
    assert run(words) == status
    told = capsys.readouterr()
    assert not told.out
    first, second = told.err.splitlines()
    assert first.startswith("error[")
    assert second.startswith("  fix: ")
    assert control.asked == []

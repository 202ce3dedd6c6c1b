"""`dpin ledger prove` and `dpin verify`: from a node to somebody who has never run one."""

import json
import time
from pathlib import Path

import pytest

from dpin.base.codec import encode
from dpin.cli.app import run
from dpin.light.files import read_proof, write_trust
from dpin.node.control import CompareRequest
from dpin.node.invite import Invite, write_invite
from tests.support.api_server import api_server
from tests.support.fake_control import FakeControl
from tests.support.witnessed import sample

Printed = pytest.CaptureFixture[str]
LEDGER, SENT = sample()
CHAIN = LEDGER.executor.chain.hex()
BOB = LEDGER.id("bob").hex()


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where no node has ever run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPIN_HOME", str(tmp_path / "nowhere"))
    return tmp_path


@pytest.fixture
def asked(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as a node writes them: receipt.json, checkpoint.json; then the node is gone."""
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        assert run(["ledger", "checkpoint", "-o", "checkpoint.json"]) == 0
        assert run(["ledger", "prove", SENT.hex(), "--account", BOB, "-o", "receipt.json"]) == 0
    monkeypatch.delenv("DPIN_API")


@pytest.mark.usefixtures("asked")
def test_a_proof_is_checked_by_the_network_s_id_alone(capsys: Printed) -> None:
    capsys.readouterr()
    assert run(["verify", "receipt.json", "--chain", CHAIN]) == 0
    printed = capsys.readouterr()
    assert "proven: the ledger committed this transaction" in printed.out
    assert f"{SENT.hex()}: ok" in printed.out
    assert "3 of 4 validators" in printed.out
    assert "the founders of the network; 3 ends of epochs" in printed.out
    assert "days old" in printed.err  # The genesis of the tests is of 2023.


@pytest.mark.usefixtures("asked")
def test_programs_are_told_the_same(capsys: Printed) -> None:
    capsys.readouterr()
    assert run(["verify", "receipt.json", "--chain", CHAIN, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["verified"]) == ("dpin.v1/verified", True)
    assert told["receipt"]["subject"] == SENT.hex()
    assert told["account"]["node"] == BOB
    assert told["account"]["free"] == LEDGER.account("bob").free
    assert (told["weight"], told["total"], told["epochs_crossed"]) == (3, 4, 3)


@pytest.mark.usefixtures("asked")
def test_a_genesis_an_invite_or_a_home_is_trusted_as_well(place: Path) -> None:
    (place / "genesis").write_bytes(encode(LEDGER.genesis))
    (place / "invite").write_text(write_invite(Invite(LEDGER.genesis, ())) + "\n")
    assert run(["verify", "receipt.json", "--genesis", "genesis"]) == 0
    assert run(["verify", "receipt.json", "--genesis", "invite"]) == 0
    line = (place / "invite").read_text().strip()
    assert run(["init", "--home", "home", "--name", "otter", "--yes"]) == 0
    assert run(["net", "join", line, "--home", "home"]) == 0
    assert run(["verify", "receipt.json", "--home", "home"]) == 0


@pytest.mark.usefixtures("asked")
def test_a_checkpoint_is_trusted_and_kept_up_to_date(place: Path, capsys: Printed) -> None:
    assert run(["verify", "receipt.json", "--trust", "checkpoint.json"]) == 0
    assert "checkpoint 10 of epoch 3" in capsys.readouterr().out.split("trusted")[1]
    old = write_trust(LEDGER.prover.trust(int(time.time() * 1000)))
    (place / "old.json").write_text(old)
    words = ["verify", "receipt.json", "--trust", "old.json", "--update", "new.json"]
    assert run(words) == 0
    assert json.loads((place / "new.json").read_text())["size"] == json.loads(old)["size"]


@pytest.mark.usefixtures("asked")
def test_what_is_altered_is_not_verified(place: Path, capsys: Printed) -> None:
    text = (place / "receipt.json").read_text()
    for old, new in (('"code": 0', '"code": 1'), (SENT.hex(), BOB), ("ok", "no")):
        assert old in text
        (place / "forged.json").write_text(text.replace(old, new))
        capsys.readouterr()
        assert run(["verify", "forged.json", "--chain", CHAIN, "--json"]) == 8
        printed = capsys.readouterr()
        assert not printed.out
        assert printed.err.startswith("error[not-verified]: not proven: ")


@pytest.mark.usefixtures("asked")
def test_nothing_is_believed_without_a_trust(capsys: Printed) -> None:
    assert run(["verify", "receipt.json"]) == 2
    assert "nothing is trusted" in capsys.readouterr().err
    assert run(["verify", "receipt.json", "--chain", CHAIN, "--trust", "checkpoint.json"]) == 2
    assert run(["verify", "receipt.json", "--chain", "ab" * 32]) == 8
    assert run(["verify", "receipt.json", "--genesis", "receipt.json"]) == 2
    assert run(["verify", "receipt.json", "--trust", "receipt.json"]) == 2


@pytest.mark.usefixtures("asked")
def test_an_old_trust_is_refused_where_that_is_asked() -> None:
    assert run(["verify", "receipt.json", "--chain", CHAIN, "--max-age", "30"]) == 8
    years = ["--max-age", "36500"]
    assert run(["verify", "receipt.json", "--chain", CHAIN, *years]) == 0


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"format": "dpin-proof/9"}'])
def test_what_is_no_proof_is_wrong_usage(place: Path, capsys: Printed, text: str) -> None:
    (place / "file").write_text(text)
    assert run(["verify", "file", "--chain", CHAIN]) == 2
    assert "is no proof" in capsys.readouterr().err
    assert run(["verify", "missing", "--chain", CHAIN]) == 4


def test_a_proof_that_is_not_there_yet_is_waited_for(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        control.early = 2
        assert run(["ledger", "prove", SENT.hex()]) == 7
        assert "--wait 30" in capsys.readouterr().err
        assert run(["ledger", "prove", SENT.hex(), "--wait", "10"]) == 0
        assert json.loads(capsys.readouterr().out)["format"] == "dpin-proof/1"
        assert run(["ledger", "prove"]) == 2
        assert run(["ledger", "prove", "ab" * 32]) == 4


@pytest.mark.usefixtures("asked")
def test_for_whoever_trusts_a_checkpoint_the_proof_is_short(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        words = ["ledger", "prove", SENT.hex(), "--trust", "checkpoint.json", "-o", "short.json"]
        assert run(words) == 0
    short = json.loads((place / "short.json").read_text())
    assert short["crossings"] == []
    assert not short["genesis"]
    assert short["continuation"]["size"] == LEDGER.certificates[-1].size
    assert run(["verify", "short.json", "--trust", "checkpoint.json"]) == 0


@pytest.mark.usefixtures("asked")
def test_a_proof_is_held_against_what_the_own_node_knows(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    words = ["verify", "receipt.json", "--chain", CHAIN, "--node"]
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        assert run(words) == 0
        assert "your node   has the same 3 of 4 signed checkpoints" in capsys.readouterr().out
        control.verdict = "unknown"
        assert run(words) == 0
        assert "your node   cannot tell: checkpoint 10 of epoch 3" in capsys.readouterr().out
        assert run([*words, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["verified"], told["node"]["verdict"]) == (True, "unknown")
    asked = [one for one in control.asked if isinstance(one, CompareRequest)]
    assert all(len(one.proof) < len(Path("receipt.json").read_text()) for one in asked)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("verdict", "words"),
    [("other", "two signed ledgers: checkpoint 10"), ("unsigned", "not signed by a quorum")],
)
def test_a_signed_proof_of_another_ledger_is_refused(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, capsys: Printed, verdict: str, words: str
) -> None:
    control.verdict = verdict
    asked = ["verify", "receipt.json", "--chain", CHAIN, "--node", "--update", "new.json"]
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        capsys.readouterr()
        assert run(asked) == 8
        printed = capsys.readouterr()
        assert printed.err.startswith(f"error[not-verified]: {words}")
        assert not printed.out
        assert run([*asked, "--json"]) == 8
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["verified"]) == ("dpin.v1/verified", False)
    assert told["node"]["verdict"] == verdict
    assert not Path("new.json").exists()


@pytest.mark.usefixtures("asked")
def test_without_a_running_node_there_is_nothing_to_compare_with(capsys: Printed) -> None:
    assert run(["verify", "receipt.json", "--chain", CHAIN, "--node"]) == 5
    assert "error[unreachable]" in capsys.readouterr().err


@pytest.mark.usefixtures("asked")
def test_a_long_proof_is_asked_about_in_parts_and_to_its_end(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setattr("dpin.cli.comparing.AT_ONCE", 2)
    with api_server(control) as url:
        monkeypatch.setenv("DPIN_API", url)
        assert run(["verify", "receipt.json", "--chain", CHAIN, "--node", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    parts = [read_proof(one.proof) for one in control.asked if isinstance(one, CompareRequest)]
    shown = [
        checkpoint.checkpoint.epoch
        for part in parts
        for checkpoint in [*(one.closing for one in part.crossings), part.certificate]
    ]
    assert shown == [0, 1, 2, 3]
    assert [len(part.crossings) for part in parts] == [1, 1]
    assert told["node"]["compared"] == 8

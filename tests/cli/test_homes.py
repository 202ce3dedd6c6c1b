"""Commands that work on a home alone: no node is needed for them."""

import io
import json
import sys
from pathlib import Path

import pytest

from dpin.cli.app import run
from dpin.ledger import beacon
from dpin.ledger.beacon import Chain
from dpin.node import home as homes
from dpin.node.invite import CARD_PREFIX, INVITE_PREFIX
from dpin.sim.scenarios import NAMES

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def short_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of full length takes seconds."""
    monkeypatch.setattr(homes, "Chain", lambda: Chain(1 << 11))
    monkeypatch.setattr(beacon, "Chain", lambda: Chain(1 << 11))
    monkeypatch.delenv("DPIN_HOME", raising=False)
    monkeypatch.delenv("DPIN_API", raising=False)


def made(folder: Path, capsys: Printed) -> str:
    """A new home; its card."""
    assert run(["init", "--yes", "--home", str(folder)]) == 0
    return capsys.readouterr().out.strip()


def home_made(folder: Path, capsys: Printed) -> str:
    made(folder, capsys)
    return str(folder)


def test_init_makes_a_key_and_a_config_and_prints_a_card(tmp_path: Path, capsys: Printed) -> None:
    home = str(tmp_path / "h")
    assert run(["init", "--name", "my-node", "--home", home]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(CARD_PREFIX)
    assert "my-node" in printed.err
    assert 'name = "my-node"' in (tmp_path / "h" / "config.toml").read_text()
    assert (tmp_path / "h" / "key").stat().st_mode & 0o777 == 0o600


def test_init_again_keeps_the_key_and_makes_what_is_missing(
    tmp_path: Path, capsys: Printed
) -> None:
    card = made(tmp_path, capsys)
    (tmp_path / "beacon.table").unlink()
    (tmp_path / "config.toml").unlink()
    assert made(tmp_path, capsys) == card
    assert run(["init", "--json", "--home", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == card


def test_init_does_not_pass_over_what_it_cannot_do_any_more(
    tmp_path: Path, capsys: Printed
) -> None:
    home = home_made(tmp_path / "h", capsys)
    assert run(["init", "--encrypt", "--home", home]) == 2
    assert f"fix: dpin wallet encrypt --home {home}" in capsys.readouterr().err
    assert run(["init", "--name", "other", "--home", home]) == 2
    assert 'fix: set it there: name = "other"' in capsys.readouterr().err


def test_init_says_the_step_that_is_next(tmp_path: Path, capsys: Printed) -> None:
    home = str(tmp_path / "h")
    for founded, step in ((False, "net create NAME"), (True, "node start")):
        assert run(["init", "--yes", "--home", home]) == 0
        assert f"next:  dpin {step} --home {home}" in capsys.readouterr().err
        assert founded or run(["net", "create", "home", "--home", home]) == 0
        capsys.readouterr()


def test_a_network_is_founded_shown_and_joined(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = [made(tmp_path / name, capsys) for name in "abcd"]
    first, last = str(tmp_path / "a"), str(tmp_path / "d")
    others = [word for card in cards[1:] for word in ("--validator", card)]
    assert run(["net", "create", "garden", *others, "--home", first]) == 0
    invite = capsys.readouterr().out.strip()
    assert invite.startswith(INVITE_PREFIX)
    assert run(["net", "join", invite, "--home", last]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{invite}\n"))
    assert run(["net", "join", "-", "--home", str(tmp_path / "b")]) == 0
    capsys.readouterr()
    assert run(["net", "show", "--json", "--home", last]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["development"], len(shown["validators"])) == ("garden", True, 4)
    assert (shown["invite"], shown["tolerates"]) == (invite, 1)
    assert run(["net", "create", "alone", "--home", home_made(tmp_path / "e", capsys)]) == 0
    assert "tolerates 0 faulty validators" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["net", "create", "Garden!"], "cannot be a network's name"),
        (["net", "create", "garden", "--preset", "fast"], "there is no preset"),
        (["net", "create", "garden", "--validator", "dpinv1:xyz"], "not the whole"),
        (["net", "join", "hello"], "does not begin an invite"),
        (["net", "show"], "dpin net create NAME --home "),
        (["node", "start"], ", or: dpin net join INVITE --home "),
    ],
)
def test_what_cannot_be_is_status_two(
    words: list[str], said: str, tmp_path: Path, capsys: Printed
) -> None:
    made(tmp_path, capsys)
    assert run([*words, "--home", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "genesis").exists()


def test_two_validators_are_refused(tmp_path: Path, capsys: Printed) -> None:
    made(tmp_path / "a", capsys)
    card = made(tmp_path / "b", capsys)
    words = ["net", "create", "pair", "--validator", card, "--home", str(tmp_path / "a")]
    assert run(words) == 2
    assert "1 validator or 4 to 31, not 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fault", "sing"], "there is no fault 'sing'"),
        (["--fault", "vanish"], "no development network"),
        (["--listen", "/ip4/1.2.3.4/udp/1"], "cannot be listened on"),
        (["--api-port", "70000"], "api.port"),
        (["--log-format", "loud"], "log.format"),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_it(
    flags: list[str], said: str, tmp_path: Path, capsys: Printed
) -> None:
    made(tmp_path, capsys)
    assert run(["net", "create", "garden", "--preset", "public", "--home", str(tmp_path)]) == 0
    assert run(["node", "start", *flags, "--home", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_a_home_without_a_node_leads_to_init(tmp_path: Path, capsys: Printed) -> None:
    for words in (["node", "start"], ["net", "create", "garden"], ["net", "join", "x"]):
        assert run([*words, "--home", str(tmp_path)]) == 2
        assert f"fix: dpin init --home {tmp_path}" in capsys.readouterr().err


def test_a_key_that_others_may_read_is_refused(tmp_path: Path, capsys: Printed) -> None:
    made(tmp_path, capsys)
    (tmp_path / "key").chmod(0o640)
    assert run(["net", "create", "garden", "--home", str(tmp_path)]) == 2
    assert "fix: chmod 600" in capsys.readouterr().err


def test_a_network_other_than_the_one_joined_is_refused(tmp_path: Path, capsys: Printed) -> None:
    made(tmp_path, capsys)
    assert run(["net", "create", "garden", "--home", str(tmp_path)]) == 0
    (tmp_path / "config.toml").write_text('[network]\nnetwork = "meadow"\n')
    assert run(["node", "start", "--home", str(tmp_path)]) == 2
    assert "network.network is 'meadow'" in capsys.readouterr().err


def test_config_says_where_each_value_is_from(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, capsys)
    monkeypatch.setenv("DPIN_API__PORT", "8460")
    assert run(["config", "show", "--origin", "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "8460" in next(line for line in shown.splitlines() if "DPIN_API__PORT" in line)
    assert str(tmp_path / "config.toml") in shown
    assert run(["config", "show", "--home", str(tmp_path)]) == 0
    assert "default" not in capsys.readouterr().out


def test_simulations_are_listed_by_name(capsys: Printed) -> None:
    assert run(["sim", "run"]) == 0
    assert capsys.readouterr().out.splitlines() == list(NAMES)
    assert run(["sim", "run", "nothing"]) == 2

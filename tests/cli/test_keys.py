"""Key files by command: made, copied, encrypted; and a node that starts with one."""

import getpass
import json
import os
import sys
from pathlib import Path

import pytest

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse
from dpin.cli import passphrase
from dpin.cli.app import run
from dpin.ledger import beacon
from dpin.ledger.beacon import Chain
from dpin.node import home as homes
from dpin.node import keyfile
from dpin.node.keyfile import Cost

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A chain of full length and a key stretched in earnest take seconds."""
    monkeypatch.setattr(homes, "Chain", lambda: Chain(1 << 11))
    monkeypatch.setattr(beacon, "Chain", lambda: Chain(1 << 11))
    monkeypatch.setattr(keyfile.seal_key, "__defaults__", (Cost(1, 8_192),))
    for name in ("DPIN_API", "DPIN_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DPIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DPIN_PASSPHRASE", "right")


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Somebody at a terminal who types these, one at each prompt."""
    monkeypatch.delenv("DPIN_PASSPHRASE")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    answers = iter(words)

    def answer(prompt: str, stream: object) -> str:
        del prompt, stream
        return next(answers)

    monkeypatch.setattr(getpass, "getpass", answer)


def test_a_cold_account_is_encrypted_and_named_without_its_passphrase(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = tmp_path / "cold.key"
    assert run(["wallet", "create", str(cold)]) == 0
    account = capsys.readouterr().out.strip()
    assert len(account) == 64
    assert cold.stat().st_mode & 0o777 == 0o600
    assert cold.read_text().startswith("dpin key 2: encrypted")
    monkeypatch.delenv("DPIN_PASSPHRASE")
    assert run(["wallet", "account", str(cold)]) == 0
    assert capsys.readouterr().out.strip() == account
    assert run(["wallet", "create", str(cold)]) == 2


def test_a_plain_account_is_made_with_a_warning(tmp_path: Path, capsys: Printed) -> None:
    assert run(["wallet", "create", str(tmp_path / "k"), "--plain", "--json"]) == 0
    printed = capsys.readouterr()
    assert "not encrypted; whoever can read the file" in printed.err
    assert json.loads(printed.out)["schema"] == "dpin.v1/created"
    assert (tmp_path / "k").read_text().startswith("dpin key 1")


def test_without_a_terminal_or_a_variable_nobody_is_asked(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DPIN_PASSPHRASE")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert run(["wallet", "create", str(tmp_path / "k")]) == 2
    assert "DPIN_PASSPHRASE_FILE" in capsys.readouterr().err
    assert not (tmp_path / "k").exists()


def test_a_new_passphrase_is_typed_twice(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "one", "other", "same", "same", "same")
    assert run(["wallet", "create", str(tmp_path / "k")]) == 2
    assert "the two passphrases differ" in capsys.readouterr().err
    assert run(["wallet", "create", str(tmp_path / "k")]) == 0
    assert run(["wallet", "decrypt", "--key", str(tmp_path / "k")]) == 0


def test_a_service_reads_its_passphrase_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.delenv("DPIN_PASSPHRASE")
    monkeypatch.setenv("DPIN_PASSPHRASE_FILE", str(tmp_path / "secret"))
    assert run(["init", "--yes", "--encrypt"]) == 4
    assert "is not there" in capsys.readouterr().err
    for text, why in ((b"\n", "is empty"), (b"\xff\xfe", "cannot be read")):
        (tmp_path / "secret").write_bytes(text)
        assert run(["init", "--yes", "--encrypt"]) == 2
        assert why in capsys.readouterr().err
    (tmp_path / "secret").write_text("from the file\n")
    assert run(["init", "--yes", "--encrypt"]) == 0
    monkeypatch.delenv("DPIN_PASSPHRASE_FILE")
    monkeypatch.setenv("DPIN_PASSPHRASE", "from the file")
    assert run(["init", "--yes"]) == 0


def test_a_wrong_passphrase_is_one_clear_sentence(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["init", "--yes", "--encrypt"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("DPIN_PASSPHRASE", "wrong")
    assert run(["net", "create", "garden"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "error[misuse]: that is not the passphrase of this key"
    assert told[1].startswith("  fix: ")


def test_init_without_encryption_warns(capsys: Printed) -> None:
    assert run(["init", "--yes"]) == 0
    assert "warning: this key is not encrypted" in capsys.readouterr().err


def test_a_node_is_the_same_with_and_without_a_passphrase(tmp_path: Path, capsys: Printed) -> None:
    assert run(["init", "--yes", "--json"]) == 0
    node = json.loads(capsys.readouterr().out)["node_id"]
    key = tmp_path / "home" / "key"
    assert run(["wallet", "encrypt"]) == 0
    assert key.read_text().startswith("dpin key 2")
    assert key.stat().st_mode & 0o777 == 0o600
    assert run(["wallet", "encrypt"]) == 2
    assert run(["init", "--yes", "--json"]) == 0
    assert run(["wallet", "decrypt"]) == 0
    assert run(["wallet", "decrypt"]) == 2
    assert run(["wallet", "account"]) == 0
    assert capsys.readouterr().out.split()[-1] == node
    assert key.read_text().startswith("dpin key 1")


def test_an_exported_key_makes_the_node_again_on_another_machine(
    tmp_path: Path, capsys: Printed
) -> None:
    assert run(["init", "--yes"]) == 0
    copy, other = str(tmp_path / "copy.key"), str(tmp_path / "other")
    card = capsys.readouterr().out
    assert run(["wallet", "export", copy]) == 0
    assert Path(copy).read_text().startswith("dpin key 2")
    assert run(["wallet", "import", copy, "--home", other]) == 0
    capsys.readouterr()
    assert run(["init", "--yes", "--home", other]) == 0
    assert capsys.readouterr().out == card
    assert run(["wallet", "import", copy, "--home", other]) == 2
    assert run(["wallet", "import", str(tmp_path / "none")]) == 4


def test_the_opened_key_reaches_the_node_process_and_the_passphrase_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(["init", "--yes", "--encrypt"]) == 0
    home = homes.locate(None, os.environ)
    seed = passphrase.opened_if_sealed(home)
    assert seed is not None
    assert "DPIN_PASSPHRASE" not in passphrase.clean_environment()
    assert passphrase.take_key(home, passphrase.hand_over(seed)) == seed
    assert "DPIN_PASSPHRASE" not in os.environ
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(Misuse, match="needs a passphrase"):
        passphrase.take_key(home, None)
    assert keyfile.account_of(homes.key_text(home)) == SigningKey(seed).node_id


def test_doctor_says_whether_the_key_is_encrypted(capsys: Printed) -> None:
    assert run(["init", "--yes", "--encrypt"]) == 0
    run(["doctor"])
    assert "mode 0600, encrypted" in capsys.readouterr().out

"""A file that is named and not there is status 4 in every command; one that is wrong is 2."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from dpin.base.crypto import SigningKey
from dpin.cli.app import commands, run
from dpin.node.home import create_key, locate, prepare
from tests.support.api_server import api_server
from tests.support.fake_control import FakeControl

ID = SigningKey(bytes(32)).node_id.hex()
ABSENT, BAD, OUT = "ABSENT", "BAD", "OUT"
Printed = pytest.CaptureFixture[str]
READ = {  # a command that reads a file, and that file's name among its parameters
    ("privacy", "file"): ["privacy", ABSENT],
    ("verify", "file"): ["verify", ABSENT],
    ("lineage", "folder"): ["lineage", ABSENT],
    ("ledger verify", "source"): ["ledger", "verify", ABSENT],
    ("ledger show", "source"): ["ledger", "show", ABSENT],
    ("ledger diff", "one"): ["ledger", "diff", ABSENT, BAD],
    ("ledger prove", "trust"): ["ledger", "prove", ID, "--trust", ABSENT],
    ("wallet send", "batch"): ["wallet", "send", "--batch", ABSENT],
    ("wallet sign", "file"): ["wallet", "sign", ABSENT, "--key", BAD],
    ("wallet submit", "file"): ["wallet", "submit", ABSENT],
    ("wallet import", "file"): ["wallet", "import", ABSENT],
    ("wallet account", "file"): ["wallet", "account", ABSENT],
    ("wallet export", "key"): ["wallet", "export", OUT, "--key", ABSENT],
    ("wallet encrypt", "key"): ["wallet", "encrypt", "--key", ABSENT],
    ("wallet decrypt", "key"): ["wallet", "decrypt", "--key", ABSENT],
    ("blob seal", "file"): ["blob", "seal", ABSENT, "--out", OUT, "--to", ID],
    ("blob open", "file"): ["blob", "open", ABSENT, "--out", OUT],
    ("sim clients", "source"): ["sim", "clients", ABSENT],
    ("submit", "file"): ["submit", ABSENT],
}
WRITTEN = {"out", "output", "target", "update"}
ELSEWHERE = {  # read only after another file, or by the node
    ("verify", "trust"), ("verify", "genesis"), ("wallet sign", "key"), ("ledger diff", "other"),
    ("audit", "result"), ("audit", "ledger"), ("audit", "blobs"), ("wallet create", "file"),
    ("wallet export", "file"), ("blob put", "file"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    home = locate(str(tmp_path / "home"), {})
    prepare(home)
    create_key(home)
    with api_server(FakeControl()) as url:
        monkeypatch.setenv("DPIN_API", url)
        monkeypatch.setenv("DPIN_HOME", str(home.root))
        yield url


def paths(group: TyperGroup, before: str = "") -> Iterator[tuple[str, str]]:
    """Every parameter of every command that is a file or a folder."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, TyperGroup):
            yield from paths(command, f"{before}{name} ")
            continue
        context = typer.Context(command)
        for parameter in command.params:
            assert isinstance(parameter, typer.core.TyperArgument | typer.core.TyperOption)
            if "path" in str(parameter.display_type(context)):
                yield f"{before}{name}", str(parameter.name)


def test_every_command_that_takes_a_file_is_in_the_table() -> None:
    found = {one for one in paths(commands()) if one[1] not in WRITTEN}
    assert len(found) > 15
    assert found <= {*READ, *ELSEWHERE}


@pytest.mark.parametrize("words", READ.values(), ids=" ".join)
def test_a_file_that_is_not_there_is_status_four(
    words: list[str], tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / BAD).write_text("neither this nor that")
    typed = [str(tmp_path / word) if word in {ABSENT, BAD, OUT} else word for word in words]
    assert run(typed) == 4
    told = capsys.readouterr().err
    assert told.startswith("error[not-found]: ")
    assert str(tmp_path / ABSENT) in told
    assert "  fix: " in told
    assert not (tmp_path / OUT).exists()


@pytest.mark.parametrize(
    "words",
    [words for words in READ.values() if words[0] not in {"blob", "sim", "lineage"}],
    ids=" ".join,
)
def test_a_file_that_is_something_else_is_status_two(
    words: list[str], tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / BAD).write_text("neither this nor that")
    Path(tmp_path / BAD).chmod(0o600)
    typed = [str(tmp_path / BAD) if word in {ABSENT, BAD} else word for word in words]
    assert run([str(tmp_path / OUT) if word == OUT else word for word in typed]) in {2, 8}
    assert "Traceback" not in capsys.readouterr().err


def test_files_that_are_sealed_opened_and_keys_that_are_encrypted_are_told_as_json(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*words: str) -> dict[str, object]:
        assert run([*words, "--json"]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    (tmp_path / "plain").write_text("to be or not to be")
    mine = str(told("wallet", "account")["account"])
    sealed, opened = str(tmp_path / "sealed"), str(tmp_path / "opened")
    made = told("blob", "seal", str(tmp_path / "plain"), "--out", sealed, "--to", mine)
    assert made == {"schema": "dpin.v1/sealed", "file": sealed, "bytes": 18, "readers": [mine]}
    back = told("blob", "open", sealed, "--out", opened)
    assert back == {"schema": "dpin.v1/opened", "file": opened, "bytes": 18}
    (tmp_path / "words").write_text("correct horse battery staple\n")
    (tmp_path / "words").chmod(0o600)
    monkeypatch.setenv("DPIN_PASSPHRASE_FILE", str(tmp_path / "words"))
    for words in ("encrypt", "decrypt"):
        shown = told("wallet", words)
        assert (shown["schema"], shown["account"]) == (f"dpin.v1/{words}ed", mine)


@pytest.mark.parametrize("words", [["prove", "--account", "ab" * 32], ["checkpoint"]])
def test_proofs_are_told_as_json_and_written_beside(
    words: list[str], tmp_path: Path, capsys: Printed
) -> None:
    out = tmp_path / "proof"
    assert run(["ledger", *words, "--json", "-o", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "dpin.v1/proof"
    assert out.read_text() in {found["proof"], found["checkpoint"]}

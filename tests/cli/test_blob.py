"""Files sealed by one node and opened by another."""

import os
from pathlib import Path

import pytest

from dpin.base.crypto import SigningKey
from dpin.base.sealed import PIECE_BYTES, SEALED_PIECE_BYTES
from dpin.cli.app import run
from dpin.cli.exits import ExitCode
from dpin.cli.sealing import new_file
from dpin.node.keyfile import encode_key

SEED = bytes(range(32))
READER = SigningKey(SEED).node_id.hex()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    key = folder / "key"
    key.write_text(encode_key(SEED))
    key.chmod(0o600)
    monkeypatch.setenv("DPIN_HOME", str(folder))
    return folder


def seal(file: Path, sealed: Path, to: str = READER) -> int:
    return run(["blob", "seal", str(file), "--to", to, "--out", str(sealed)])


def unseal(sealed: Path, out: Path) -> int:
    return run(["blob", "open", str(sealed), "--out", str(out)])


@pytest.mark.parametrize("length", [0, 10, PIECE_BYTES, 2 * PIECE_BYTES + 1])
def test_a_file_sealed_for_a_node_is_opened_by_it(tmp_path: Path, length: int) -> None:
    file, sealed, out = (tmp_path / name for name in ("file", "sealed", "out"))
    file.write_bytes(bytes(length))
    assert seal(file, sealed) == ExitCode.OK
    assert unseal(sealed, out) == ExitCode.OK
    assert out.read_bytes() == file.read_bytes()
    assert out.stat().st_mode & 0o077 == 0


def test_what_is_opened_is_private_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "chmod", lambda *_: None)  # A later change would come too late.
    with new_file(tmp_path / "out") as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600


def test_another_node_opens_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, sealed, out = (tmp_path / name for name in ("file", "sealed", "out"))
    file.write_bytes(b"private")
    other = SigningKey(bytes(32)).node_id.hex()
    assert seal(file, sealed, to=other) == ExitCode.OK
    assert unseal(sealed, out) == ExitCode.USAGE
    assert "sealed for others" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_was_cut_leaves_nothing_behind(tmp_path: Path) -> None:
    file, sealed, out = (tmp_path / name for name in ("file", "sealed", "out"))
    file.write_bytes(bytes(2 * PIECE_BYTES))
    seal(file, sealed)
    sealed.write_bytes(sealed.read_bytes()[:-SEALED_PIECE_BYTES])
    assert unseal(sealed, out) == ExitCode.USAGE
    assert not out.exists()


def test_nothing_is_overwritten_and_nobody_unreal_can_read(tmp_path: Path) -> None:
    file, sealed = tmp_path / "file", tmp_path / "sealed"
    file.write_bytes(b"data")
    sealed.write_bytes(b"here before")
    assert seal(file, sealed) == ExitCode.USAGE
    assert sealed.read_bytes() == b"here before"
    assert seal(file, tmp_path / "new", to="ada") == ExitCode.USAGE
    assert seal(tmp_path / "nothing", tmp_path / "new") == ExitCode.NOT_FOUND
    assert not (tmp_path / "new").exists()

"""`dpin ledger`: an archive is written beside a node, and checked by whoever has the file alone."""

import json
from pathlib import Path

import msgspec
import pytest

from dpin.base.codec import encode
from dpin.cli.app import run
from dpin.cli.archives import ARCHIVE_KIND
from dpin.ledger.archive import read_entry
from dpin.ledger.reexecution import Told
from dpin.node.home import Home
from dpin.storage.frames import Record, encode_record, scan
from tests.support.ledger_logs import logs, write_home, write_segment

LOGS = logs()
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return write_home(tmp_path / "home", LOGS)


@pytest.fixture
def archive(home: Home, tmp_path: Path, capsys: Printed) -> Path:
    path = tmp_path / "town.dpin"
    assert run(["ledger", "export", str(path), "--home", str(home.root)]) == 0
    capsys.readouterr()
    return path


def asked(capsys: Printed, *words: object) -> dict[str, object]:
    """What a command that must succeed says as JSON."""
    assert run(["ledger", *map(str, words), "--json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def rewrite(archive: Path, bodies: list[bytes]) -> None:
    data = bytearray()
    for body in bodies:
        data += encode_record(Record(ARCHIVE_KIND, body), len(data))
    archive.write_bytes(data)


def test_an_archive_is_verified_by_whoever_has_it_alone(
    archive: Path, home: Home, capsys: Printed
) -> None:
    chain = str(asked(capsys, "show", archive)["chain"])
    for path in (home.genesis, *home.ledger_log.iterdir()):
        path.unlink()  # No node is needed.
    found = asked(capsys, "verify", archive, "--chain", chain.upper())
    assert (found["ok"], found["height"]) == (True, LOGS.height)
    assert found["log_root"] == LOGS.log_root.hex()
    assert run(["ledger", "verify", str(archive)]) == 0
    printed = capsys.readouterr()
    assert "all pools hold 1,000,000,000" in printed.out
    assert "every block, commit, receipt and root is as told" in printed.err


def test_another_network_is_not_the_one_that_was_asked_for(archive: Path, capsys: Printed) -> None:
    assert run(["ledger", "verify", str(archive), "--chain", "ab" * 32]) == 8
    assert "error[difference]: this is the ledger of another network" in capsys.readouterr().err


def test_the_first_commit_that_differs_is_named(archive: Path, capsys: Printed) -> None:
    bodies = [record.body for record in scan(archive.read_bytes()).records]
    at = next(at for at, body in enumerate(bodies) if isinstance(read_entry(body), Told))
    wrong = msgspec.structs.replace(read_entry(bodies[at]), receipts=5)
    rewrite(archive, [*bodies[:at], encode(wrong), *bodies[at + 1 :]])
    assert run(["ledger", "verify", str(archive)]) == 8
    said = "error[difference]: commit 1: receipts is 5 as told, "
    assert said in capsys.readouterr().err


def test_a_file_that_was_damaged_or_cut_is_not_verified(archive: Path, capsys: Printed) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1])
    assert run(["ledger", "verify", str(archive)]) == 8
    assert "is damaged at byte" in capsys.readouterr().err
    middle = len(whole) // 2
    archive.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert run(["ledger", "verify", str(archive)]) == 8
    archive.write_bytes(b"")
    assert run(["ledger", "verify", str(archive)]) == 2
    assert run(["ledger", "verify", str(archive.with_name("none"))]) == 4


def test_a_log_is_exported_while_its_node_writes(
    home: Home, tmp_path: Path, capsys: Printed
) -> None:
    [segment] = home.ledger_log.iterdir()
    segment.write_bytes(segment.read_bytes()[:-3])
    path = tmp_path / "town.dpin"
    assert run(["ledger", "export", str(path), "--home", str(home.root)]) == 0
    assert run(["ledger", "verify", str(path)]) == 0
    assert run(["ledger", "export", str(path), "--home", str(home.root)]) == 2
    assert "exists" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.part"))


def test_an_archive_may_go_into_a_folder(home: Home, tmp_path: Path, capsys: Printed) -> None:
    said = asked(capsys, "export", tmp_path, "--home", home.root)
    assert said["file"] == str(tmp_path / "audit.dpin-ledger")


def test_a_log_without_its_beginning_is_no_archive(home: Home, capsys: Printed) -> None:
    [segment] = home.ledger_log.iterdir()
    segment.rename(segment.with_name("0000000002.log"))
    assert run(["ledger", "export", str(home.root / "x"), "--home", str(home.root)]) == 2
    assert "older segments were dropped" in capsys.readouterr().err


def test_all_segments_of_an_archive_node_are_read(home: Home, capsys: Printed) -> None:
    [segment] = home.ledger_log.iterdir()
    bodies = [record.body for record in scan(segment.read_bytes()).records]
    write_segment(home, 1, bodies[:100])
    write_segment(
        home, 2, [bodies[5], b"\2of another owner", *bodies[100:]]
    )  # one was carried over
    assert asked(capsys, "show", "--home", home.root)["height"] == LOGS.height


def test_a_commit_a_transaction_and_an_account_are_shown(archive: Path, capsys: Printed) -> None:
    points = asked(capsys, "show", archive, "--checkpoints")["checkpoints"]
    assert isinstance(points, list)
    assert [point["height"] for point in points] == list(range(10, LOGS.height + 1, 10))
    identity = sender = ""
    for height in range(1, LOGS.height + 1):
        commit = asked(capsys, "show", archive, "--height", height)
        assert (commit["height"], commit["epoch"]) == (height, 0)
        transactions = commit["transactions"]
        assert isinstance(transactions, list)
        for one in transactions:
            identity, sender = one["id"], one["sender"]
    found = asked(capsys, "show", archive, "--transaction", identity[:10])
    assert (found["id"], found["sender"]) == (identity, sender)
    account = asked(capsys, "show", archive, "--account", sender)
    assert account["sequence"] != 0
    for words in (["--height", "10"], ["--transaction", identity], ["--account", sender], []):
        assert run(["ledger", "show", str(archive), *words]) == 0
        assert "{" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--height", "100000"], 4),
        (["--transaction", "ff"], 4),
        (["--account", "ab" * 32], 4),
        (["--account", "short"], 2),
        (["--checkpoints", "--height", "1"], 2),
    ],
)
def test_what_is_not_there_is_not_shown(archive: Path, words: list[str], code: int) -> None:
    assert run(["ledger", "show", str(archive), *words]) == code


def test_two_nodes_have_one_ledger_of_which_one_may_have_more(
    archive: Path, tmp_path: Path, capsys: Printed
) -> None:
    other = write_home(tmp_path / "other", LOGS, node=1)
    same = asked(capsys, "diff", archive, other.root)
    assert same["same"] == LOGS.height or same["ahead"] != 0
    [segment] = other.ledger_log.iterdir()
    bodies = [record.body for record in scan(segment.read_bytes()).records]
    write_segment(other, 1, bodies[:60])
    shorter = asked(capsys, "diff", archive, other.root)
    assert isinstance(shorter["ahead"], int)
    assert shorter["ahead"] > 0
    assert run(["ledger", "diff", str(archive), str(other.root)]) == 0
    assert f"{archive} goes on for {shorter['ahead']} more" in capsys.readouterr().out


def test_ledgers_of_two_networks_or_of_two_histories_differ(
    archive: Path, tmp_path: Path, capsys: Printed
) -> None:
    others = write_home(tmp_path / "other", logs(transfers=3, name="other"))
    assert run(["ledger", "diff", str(archive), str(others.root)]) == 8
    assert "they are of two networks" in capsys.readouterr().err
    fork = write_home(tmp_path / "fork", logs(transfers=3))
    assert run(["ledger", "diff", str(archive), str(fork.root)]) == 8
    said = capsys.readouterr().err
    assert "error[difference]: commit " in said
    assert " by A, " in said

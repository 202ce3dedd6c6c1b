"""`dpin ledger diff` of a dump: which accounts a node had wrong, and what others have."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens
from dpin.cli.app import run
from dpin.cli.archives import ArchiveRun
from dpin.ledger.certificates import Certificate
from dpin.ledger.certifier import Made, made
from dpin.ledger.divergence import Certified, Parting, differing
from dpin.ledger.dump import dump, head_of
from dpin.ledger.execute import Executor
from dpin.node.mishaps import DUMP_KIND
from dpin.storage.frames import Record, encode_record
from tests.support.ledger_logs import logs, write_home

LOGS = logs(transfers=6)
WRONG_AT = 15  # the commit after which an account is wrong
Printed = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dumps")
    home = write_home(folder / "home", LOGS)
    path = folder / "town.dpin"
    assert run(["ledger", "export", str(path), "--home", str(home.root)]) == 0
    return path


def parted(archive: Path, change: int) -> tuple[Executor, Executor, Made]:
    """A node one of whose accounts got so much more, and one that was right, at a checkpoint."""
    right = ArchiveRun(archive)
    wrong = Executor(right.again.genesis)
    for step in right.steps():
        checkpoint = wrong.apply(step.commit).checkpoint
        if step.commit.height > WRONG_AT and checkpoint is not None:
            return wrong, right.again.executor, made(checkpoint, wrong.receipts)
        if step.commit.height == WRONG_AT:
            for node, more in (
                (min(wrong.state.accounts), change),
                (max(wrong.state.accounts), -change),
            ):
                account = wrong._book.account(node)
                account.free = MicroTokens(account.free + more)
    raise AssertionError("the ledger is too short")


def write_dump(path: Path, archive: Path, change: int, *, alone: bool = False) -> NodeId:
    """The dump of such a node; returns whose account has more."""
    wrong, right, own_made = parted(archive, change)
    own, frozen, log = wrong.frozen.newest, right.frozen.newest, right.receipts
    assert frozen is not None
    assert own is not None
    numbers = differing(own.hashes, frozen.hashes)
    found = Certified(frozen.hashes, {number: frozen.bucket(number) for number in numbers})
    certificate = Certificate(frozen.checkpoint, len(log), log.root, (), ())
    shown, whose = None if alone else found, min(wrong.state.accounts)
    write(
        path,
        dump(
            head_of(wrong.chain, whose, Parting(own_made, (), certificate), own, shown), own, shown
        ),
    )
    return whose


def write(path: Path, bodies: Iterable[bytes]) -> None:
    data = bytearray()
    for body in bodies:
        data += encode_record(Record(DUMP_KIND, body), len(data))
    path.write_bytes(data)


def test_a_dump_names_the_accounts_that_differ(
    archive: Path, tmp_path: Path, capsys: Printed
) -> None:
    path = tmp_path / "divergence-20.dump"
    whose = write_dump(path, archive, 5)
    assert run(["ledger", "diff", str(path)]) == 8
    said = capsys.readouterr()
    assert f"account {whose.hex()}\n  free: " in said.out
    assert "state root certified  " in said.out
    assert "buckets of the state differ: account " in said.err
    assert run(["ledger", "diff", str(path), "--json"]) == 8
    values, _ = json.JSONDecoder().raw_decode(capsys.readouterr().out)
    [first, second] = [one["differs"]["free"] for one in values["parts"]]
    assert {int(first[0]) - int(first[1]), int(second[0]) - int(second[1])} == {5, -5}


def test_the_dump_of_a_node_that_nobody_answered_is_held_against_an_archive(
    archive: Path, tmp_path: Path, capsys: Printed
) -> None:
    path = tmp_path / "divergence-20-own.dump"
    whose = write_dump(path, archive, 7, alone=True)
    assert run(["ledger", "diff", str(path)]) == 8
    assert "no peer has shown its state" in capsys.readouterr().err
    assert run(["ledger", "diff", str(path), str(archive)]) == 8
    assert f"account {whose.hex()}\n  free: " in capsys.readouterr().out
    write_dump(path, archive, 0, alone=True)
    assert run(["ledger", "diff", str(path), str(archive)]) == 0
    assert "is the same there" in capsys.readouterr().out


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: data[:-40] + data[-39:]])
def test_a_dump_that_was_cut_or_changed_is_refused(
    archive: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], capsys: Printed
) -> None:
    path = tmp_path / "divergence-20.dump"
    write_dump(path, archive, 5)
    path.write_bytes(spoil(path.read_bytes()))
    assert run(["ledger", "diff", str(path)]) in {2, 8}
    assert "error[" in capsys.readouterr().err


def test_an_archive_alone_differs_from_nothing(archive: Path, capsys: Printed) -> None:
    assert run(["ledger", "diff", str(archive)]) == 2
    assert "is no dump" in capsys.readouterr().err

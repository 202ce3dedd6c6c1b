"""What befalls a ledger is said once, and what differs is written down once."""

from collections import deque
from pathlib import Path

import trio

from dpin.ledger.inquest import Dump
from dpin.ledger.replica import Diverged, Silenced
from dpin.node.mishaps import DUMP_KIND, Mishap, Mishaps
from dpin.storage.frames import scan

BODIES = [b"head", b"bucket" * 1_000, b"end"]


def after(folder: Path, *mishaps: Mishap) -> list[str]:
    """The warnings that these lead to."""
    warnings: deque[str] = deque(maxlen=16)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for mishap in mishaps:
                Mishaps(nursery, folder, warnings).take(mishap)

    trio.run(main)
    return [*warnings]


def dump(*, whole: bool = True) -> Dump:
    return Dump("divergence-20.dump", "1 of 256 buckets differs", whole, iter(BODIES))


def test_a_dump_is_written_into_the_home_and_its_owner_told(tmp_path: Path) -> None:
    [warning] = after(tmp_path, dump())
    path = tmp_path / "divergence-20.dump"
    assert f"1 of 256 buckets differs; look: dpin ledger diff {path}" == warning
    found = scan(path.read_bytes())
    assert found.problem is None
    assert [(one.kind, one.body) for one in found.records] == [(DUMP_KIND, one) for one in BODIES]
    assert list(tmp_path.iterdir()) == [path]


def test_a_dump_that_shows_more_stays(tmp_path: Path) -> None:
    after(tmp_path, dump(whole=False))
    own = tmp_path / "divergence-20-own.dump"
    assert own.exists()
    after(tmp_path, dump())
    whole = tmp_path / "divergence-20.dump"
    whole.write_bytes(b"as it was")
    own.unlink()
    after(tmp_path, dump(), dump(whole=False))
    assert whole.read_bytes() == b"as it was"
    assert not own.exists()


def test_a_dump_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    [warning] = after(tmp_path / "nowhere", dump())
    assert "could not be written" in warning


def test_what_is_said_twice_is_shown_once(tmp_path: Path) -> None:
    said = after(tmp_path, Silenced("x"), Silenced("x"), Diverged("roots"))
    assert said == [
        "this validator signs no more: x",
        "this node's ledger is not that of others: roots",
    ]

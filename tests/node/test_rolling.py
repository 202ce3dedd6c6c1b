"""While a state is written down the node goes on, and may be killed at any moment."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from dpin.base.machine import Roll
from dpin.ledger.keeper import Keeper
from dpin.node.rolling import Roller
from dpin.storage.durable import UNFINISHED
from dpin.storage.log import Log
from tests.ledger.test_parts import busy

BEFORE, DURING = [b"before"], [b"during %d" % number for number in range(20)]
KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from tests.node.test_rolling import roll
async def main():
    def kill(carried):
        if carried == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    await roll(Path(sys.argv[1]), kill)
trio.run(main)
"""


def state() -> list[bytes]:
    """The records of a whole state, of 256 buckets."""
    return list(Keeper(busy().executor).pieces())


async def roll(folder: Path, look: Callable[[int], object]) -> list[bytes]:
    """Roll a log to a state while records are appended and synced; `look` is called at each."""
    log, _ = await Log.open(folder)
    log.append(BEFORE)
    await log.sync()
    pieces, carried, done = state(), 0, trio.Event()

    def counted() -> Iterator[bytes]:
        nonlocal carried
        for piece in pieces:
            carried += 1
            look(carried)
            yield piece

    async with trio.open_nursery() as nursery:
        Roller(nursery, log, done.set).perform(Roll(counted()))
        for record in DURING:
            log.append([record])
            await log.sync()
        await done.wait()
        await log.sync()
    await log.close()
    return pieces


async def test_the_log_begins_with_the_state_and_goes_on_with_what_came_meanwhile(
    tmp_path: Path,
) -> None:
    appended_at: list[int] = []
    pieces = await roll(tmp_path / "wal", appended_at.append)
    log, replay = await Log.open(tmp_path / "wal")
    await log.close()
    assert replay.records == [*pieces, *DURING]
    assert appended_at == list(range(1, len(pieces) + 1))


@pytest.mark.parametrize("at", [1, 100, 250])
async def test_sigkill_in_the_midst_of_a_state_leaves_the_old_log_and_what_was_synced(
    tmp_path: Path, at: int
) -> None:
    folder = tmp_path / "wal"
    words = [sys.executable, "-c", KILLED, str(folder), str(at)]
    root = Path(__file__).parents[2]
    done = await trio.run_process(words, cwd=root, capture_stderr=True, check=False)
    assert done.returncode == -9, done.stderr
    assert [path for path in folder.iterdir() if path.suffix == UNFINISHED]
    log, replay = await Log.open(folder)
    await log.close()
    assert replay.records == [*BEFORE, *DURING[: len(replay.records) - 1]]
    assert not [path for path in folder.iterdir() if path.suffix == UNFINISHED]


async def test_what_must_be_at_once_is(tmp_path: Path) -> None:
    log, _ = await Log.open(tmp_path / "wal")
    async with trio.open_nursery() as nursery:
        roller = Roller(nursery, log, lambda: None)
        roller.perform(Roll(iter([b"never"])))
        roller.perform(Roll(iter([b"joined"]), at_once=True))
        log.append([b"own"])
        await log.sync()
    await log.close()
    log, replay = await Log.open(tmp_path / "wal")
    await log.close()
    assert replay.records == [b"joined", b"own"]

"""Processes that check signatures: real children, killed, silent and rude ones too."""

import os
import signal
import sys
from collections.abc import Sequence

import psutil
import pytest
import trio

from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import ChainId
from dpin.ledger.offload import CheckSignatures, SignaturesChecked
from dpin.ledger.transactions import TRANSACTION_TAG
from dpin.node import checkers
from dpin.node.checkers import LOST, Checkers, checkers_for, command_for

CHAIN = ChainId(bytes(range(32)))
KEY = SigningKey(bytes(32))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds count from before a process starts, which may take them on a busy machine."""
    monkeypatch.setattr(checkers, "ANSWER_SECONDS", 60.0)


def claim(number: int, *, good: bool) -> bytes:
    what = digest("test/claim", number.to_bytes(4))
    signature = KEY.sign(TRANSACTION_TAG, CHAIN, what) if good else bytes(64)
    return KEY.node_id + signature + what


class Office:
    """Checkers in a nursery, and what they say."""

    def __init__(self, nursery: trio.Nursery, command: Sequence[str], count: int) -> None:
        self.alarms: list[str] = []
        self._tell, self._told = trio.open_memory_channel[SignaturesChecked](64)
        self.checkers = Checkers(nursery, command, count, self._tell.send, self.alarms.append)

    async def ask(self, *batches: tuple[int, bytes]) -> dict[int, SignaturesChecked]:
        for batch, claims in batches:
            self.checkers.perform(CheckSignatures(batch, claims))
        with trio.fail_after(100):
            answers = [await self._told.receive() for _ in batches]
        return {answer.batch: answer for answer in answers}


async def test_each_claim_gets_its_own_bit() -> None:
    wanted = [number % 3 != 1 for number in range(21)]
    claims = b"".join(claim(number, good=good) for number, good in enumerate(wanted))
    async with trio.open_nursery() as nursery:
        office = Office(nursery, command_for(CHAIN), 1)
        found = (await office.ask((7, claims)))[7]
        nursery.cancel_scope.cancel()
    bits = [bool(found.verdicts[place >> 3] >> (place & 7) & 1) for place in range(21)]
    assert (bits, found.lost, office.alarms) == (wanted, False, [])


async def test_a_killed_worker_is_reported_and_the_other_goes_on() -> None:
    async with trio.open_nursery() as nursery:
        office = Office(nursery, command_for(CHAIN), 2)
        await office.ask((1, claim(1, good=True)))
        with trio.fail_after(60):
            while len(office.checkers.pids) < 2:
                await trio.sleep(0.01)
        os.kill(office.checkers.pids[0], signal.SIGKILL)
        lost = [
            answer
            for batch in range(2, 12)
            for answer in (await office.ask((batch, claim(1, good=True)))).values()
            if answer.lost
        ]
        nursery.cancel_scope.cancel()
    assert len(lost) == 1
    assert office.alarms == [LOST]


async def test_when_all_are_gone_every_batch_is_handed_back() -> None:
    async with trio.open_nursery() as nursery:
        office = Office(nursery, [sys.executable, "-c", "pass"], 2)
        answers = await office.ask(*[(batch, claim(1, good=True)) for batch in range(4)])
        assert all(answer.lost for answer in answers.values())
        again = await office.ask((9, claim(1, good=True)))
        assert again[9].lost
        nursery.cancel_scope.cancel()
    assert {*office.alarms} == {LOST}


async def test_a_program_that_cannot_be_started_is_a_lost_worker() -> None:
    async with trio.open_nursery() as nursery:
        office = Office(nursery, ["/nonexistent/python"], 1)
        assert (await office.ask((1, claim(1, good=True))))[1].lost
        nursery.cancel_scope.cancel()


async def test_a_worker_that_starts_slowly_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkers, "ANSWER_SECONDS", 0.3)
    slowly = "import os, sys, time; time.sleep(0.6); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", slowly, *command_for(CHAIN)]
    async with trio.open_nursery() as nursery:
        office = Office(nursery, command, 1)
        assert not (await office.ask((1, claim(1, good=True))))[1].lost
        assert office.alarms == []
        nursery.cancel_scope.cancel()


HANGS = """
import sys, time
for _ in range(int(sys.argv[1])):
    sys.stdin.buffer.read(132)
    sys.stdout.buffer.write(b"\\1")
    sys.stdout.buffer.flush()
time.sleep(600)
"""


@pytest.mark.parametrize(("patience", "answers"), [("START_SECONDS", 0), ("ANSWER_SECONDS", 1)])
async def test_a_worker_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, patience: str, answers: int
) -> None:
    monkeypatch.setattr(checkers, patience, 0.3)
    async with trio.open_nursery() as nursery:
        office = Office(nursery, [sys.executable, "-c", HANGS, str(answers)], 1)
        found = [
            (await office.ask((batch, claim(1, good=True))))[batch].lost
            for batch in range(answers + 1)
        ]
        assert found == [False] * answers + [True]
        with trio.fail_after(60):
            while psutil.pid_exists(office.checkers.pids[0]):  # while the others' work goes on
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_no_process_outlives_the_node() -> None:
    async with trio.open_nursery() as nursery:
        office = Office(nursery, command_for(CHAIN), 2)
        await office.ask((1, claim(1, good=True)))
        nursery.cancel_scope.cancel()
    assert office.checkers.pids
    assert not any(psutil.pid_exists(pid) for pid in office.checkers.pids)


async def test_a_worker_loads_no_torch_and_no_network() -> None:
    code = (
        "import sys, dpin.node.signature_worker as w; "
        "print([n for n in ('torch', 'libp2p', 'trio', 'numpy') if n in sys.modules])"
    )
    done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
    assert done.stdout.decode().strip() == "[]"


@pytest.mark.parametrize(
    ("cores", "count"), [(None, 0), (1, 0), (2, 0), (4, 1), (8, 2), (16, 4), (128, 4)]
)
def test_a_small_machine_checks_in_the_node_itself(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, count: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert checkers_for(-1) == count
    assert checkers_for(3) == 3

"""Rank 0 of a group, without the processes: who comes, and when the group is called anew."""

import signal
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from subprocess import Popen, TimeoutExpired
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from dpin.base.crypto import digest
from dpin.compute.board import GO, Board, epoch_key, goes_key, joined_key, meets_key, size_key
from dpin.compute.crew import Assembly, Crew, Rejoin, Surroundings
from dpin.compute.engine import Engine
from dpin.compute.member import stands
from dpin.compute.ranks import Standing
from dpin.compute.torchrun import STOP_SECONDS, TorchRun

THREE = Engine(nproc_per_node=3)
NUMBERS = digest("test/numbers", b"")


@dataclass
class Counts:
    """A board that does nothing but count."""

    counted: dict[str, int] = field(default_factory=dict)

    def count(self, key: str, more: int) -> int:
        self.counted[key] = self.counted.get(key, 0) + more
        return self.counted[key]

    def put(self, key: str, data: bytes) -> None:
        """Nobody reads it."""


@dataclass
class Group:
    """An assembly of so many processes."""

    world: int
    loaded: bool = True
    ends: list[object] = field(default_factory=list)

    @property
    def ranks(self) -> SimpleNamespace:
        return SimpleNamespace(standing=SimpleNamespace(world=self.world))

    def end(self, word: object) -> None:
        self.ends.append(word)


def crew_of(group: Group, joined: int) -> Crew:
    """Of three processes; so many of the others have come since the epoch began."""
    board, said = Counts(), list[str]()
    board.count(joined_key(0), joined)
    crew = Crew(THREE, NUMBERS, Surroundings(TorchRun(THREE), lambda: 0, said.append))
    crew._board, crew._assembly = cast("Board", board), cast("Assembly", group)
    return crew


def test_a_group_that_lacks_somebody_is_called_anew_when_one_more_has_come() -> None:
    group = Group(world=2)
    crew_of(group, joined=1).changed()
    assert (group.ends, group.loaded) == ([], False)
    crew_of(group, joined=2).changed()
    assert group.ends == [Rejoin()]


class NoMembers:
    """Nobody is started."""

    def start(self, port: int) -> None:
        """They come by themselves."""

    def stop(self) -> None:
        """They go by themselves."""


def test_who_has_come_and_died_before_the_group_met_costs_seconds_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpin.compute.crew.MEETING", timedelta(seconds=0.3))
    said: list[str] = []
    two = Engine(nproc_per_node=3)
    crew = Crew(two, NUMBERS, Surroundings(NoMembers(), lambda: 0, said.append))
    board = crew._opened()
    for rank in (1, 2):  # As members do who come; then only the second reads on.
        assert board.count(joined_key(1), 1) == rank
    board.put(meets_key(1, 2), b"")
    assert crew._assembled(torch.device("cpu")) is None
    assert said[-1] == "the group of epoch 1 is over: rank 1 has come and is gone again"
    assert board.wait_for(goes_key(1)) == b""
    assert board.wait_for(epoch_key(2)) == b""
    crew.close()


def test_a_member_goes_on_where_all_have_met_and_to_the_next_epoch_where_not() -> None:
    own = Board("127.0.0.1", 0, own=True)
    for epoch, word in ((1, GO), (2, b"")):
        own.put(size_key(epoch), b"2")
        own.put(goes_key(epoch), word)
    assert stands(own, 1, 1) == Standing(1, 1, 2)
    assert own.comes(meets_key(1, 1))
    assert stands(own, 2, 1) is None
    assert stands(own, 2, 1) is None  # It is one too many besides.


class Stubborn:
    """A process that does not end when it is asked to."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def terminate(self) -> None:
        self.calls.append("terminate")

    def kill(self) -> None:
        self.calls.append("kill")

    def wait(self, timeout: float | None = None) -> None:
        self.calls.append(timeout)
        if timeout is not None:
            raise TimeoutExpired("torchrun", timeout)


def test_a_torchrun_that_does_not_end_is_killed_after_a_while() -> None:
    run, process = TorchRun(THREE), Stubborn()
    run.stop()  # Nothing was started.
    run._process = cast("Popen[bytes]", process)
    run.stop()
    assert process.calls == ["terminate", STOP_SECONDS, "kill", None]


def test_a_torchrun_that_ends_when_it_is_asked_to_is_waited_for() -> None:
    run = TorchRun(THREE)
    run._process = Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run.stop()
    assert run._process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("joined", [2, 3, 9])
def test_a_whole_group_goes_on_whoever_comes_besides(joined: int) -> None:
    """Those of a machine that began anew, of whom the old ones live on; or one too many."""
    group = Group(world=3)
    crew_of(group, joined).changed()
    assert (group.ends, group.loaded) == ([], False)

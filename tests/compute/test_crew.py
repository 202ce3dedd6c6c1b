"""Rank 0 of a group, without the processes: who comes, and when the group is called anew."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from dpin.base.crypto import digest
from dpin.compute.board import Board
from dpin.compute.crew import Assembly, Crew, Rejoin, Surroundings, joined_key
from dpin.compute.engine import Engine
from dpin.compute.torchrun import TorchRun

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


@pytest.mark.parametrize("joined", [2, 3, 9])
def test_a_whole_group_goes_on_whoever_comes_besides(joined: int) -> None:
    """Those of a machine that began anew, of whom the old ones live on; or one too many."""
    group = Group(world=3)
    crew_of(group, joined).changed()
    assert (group.ends, group.loaded) == ([], False)

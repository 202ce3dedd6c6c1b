"""Nothing is left behind by peers that come and go: the short form of `python -m scripts.soak`."""

from scripts.soak import Levels as LevelsNow
from scripts.soak import cycles, grown


async def test_peers_that_come_and_go_leave_nothing_behind() -> None:
    said: list[str] = []
    assert await cycles(12, 4, said.append) == [], said


async def test_what_grew_is_named() -> None:
    """The check can fail."""
    before, after = LevelsNow(), LevelsNow()
    after.bytes, after.tasks, after.descriptors = 1 << 40, 1 << 20, 1 << 20
    assert len(grown(before, after, 1)) == 3
    assert grown(before, before, 1) == []

"""News of a running node, and who waits for it."""

import pytest
import trio

from dpin.base.errors import Unavailable
from dpin.base.ids import NO_DIGEST
from dpin.base.units import Instant
from dpin.ledger.pledges import Pledged
from dpin.ledger.wishes import OK, Outcome
from dpin.node.bulletin import Bulletin

KEY = "chain:7"
DONE = Outcome(KEY, NO_DIGEST, OK, 3)

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_several_may_wait_for_the_outcome_of_one_wish_and_one_may_give_up() -> None:
    bulletin = Bulletin(lambda: Instant(0))
    heard: list[Outcome] = []

    async def wait() -> None:
        heard.append(await bulletin.outcome(KEY, 15.0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        with pytest.raises(Unavailable, match="not decided within 1 "):
            await bulletin.outcome(KEY, 1.0)
        bulletin.take(DONE)
    assert heard == [DONE, DONE]


async def test_whoever_waits_in_vain_for_what_was_written_down_is_told_so() -> None:
    bulletin = Bulletin(lambda: Instant(0))

    async def pledge() -> None:
        await trio.sleep(0.5)
        bulletin.take(Pledged(KEY))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pledge)
        with pytest.raises(Unavailable, match="do not send it again"):
            await bulletin.outcome(KEY, 1.0)
    bulletin.take(DONE)  # Nobody waits any more.

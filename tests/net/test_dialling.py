"""Several addresses of one peer: the first that works wins, and nobody waits for the others."""

import trio
from trio.testing import MockClock

from dpin.base.errors import Unavailable
from dpin.net.dialling import STAGGER_SECONDS, first_of


async def works() -> None:
    await trio.sleep(0.1)


async def fails() -> None:
    raise Unavailable("nobody there")


async def hangs() -> None:
    await trio.sleep(3600)


async def test_a_dial_that_hangs_holds_up_the_next_one_for_a_moment_only(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    began = trio.current_time()
    assert await first_of([hangs, fails, works, hangs], 10) == []
    assert trio.current_time() - began < STAGGER_SECONDS + 0.2


async def test_where_none_works_each_says_why_in_order(autojump_clock: MockClock) -> None:  # noqa: ARG001
    errors = await first_of([fails, hangs], 10)
    assert [type(error) for error in errors] == [Unavailable, trio.TooSlowError]
    assert await first_of([], 10) == []

"""Many nodes in one fake world: they part and meet, restart together, move, sleep and wake."""

from collections import Counter
from pathlib import Path

import trio
from trio.testing import MockClock

from dpin.net.network import Readdressed
from tests.support.villages import Village, village

PEOPLE = 10


def all_meet(made: Village) -> bool:
    """Validators all see each other, the others see enough, and the whole hangs together."""
    validators = [one for one in made.people.values() if one.node in made.validators]
    members = set(made.validators)
    full = all(members - {one.node} <= set(one.host.peers()) for one in validators)
    return full and made.whole() and all(one.host.peers() for one in made.people.values())


async def test_two_halves_that_were_apart_become_one_again(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with village(tmp_path, PEOPLE) as made:
        await made.until(lambda: all_meet(made), 120)
        near = [one.node for number, one in made.people.items() if number % 2]
        far = [one.node for number, one in made.people.items() if not number % 2]
        for one in near:
            for other in far:
                made.world.cut(one, other)
        await trio.sleep(150)
        assert not made.whole()
        for one in near:
            for other in far:
                made.world.heal(one, other)
        await made.until(lambda: all_meet(made), 130)
        author, hearer = made.people[1], made.people[2]
        since = hearer.seen.met(author.node).seen
        await made.until(lambda: hearer.seen.met(author.node).seen > since, 60)


async def test_a_restart_of_all_within_seconds_ends_with_all_connected(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with village(tmp_path, PEOPLE) as made:
        await made.until(lambda: all_meet(made), 120)
        await trio.sleep(40)  # Everybody remembers its peers.
        for number in range(PEOPLE):
            made.leave(number)
            await trio.sleep(0.1)
        made.dials.clear()
        for number in range(PEOPLE):
            made.enter(number)
            await trio.sleep(0.15)
        took = await made.until(lambda: all_meet(made), 60)
        assert took < 30
        each = Counter(node for _, node in made.dials)
        assert max(each.values()) < 8 * PEOPLE


async def test_those_who_wait_for_one_do_not_all_dial_it_at_once(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with village(tmp_path, PEOPLE) as made:
        await made.until(lambda: all_meet(made), 120)
        made.leave(0)
        await trio.sleep(60)  # All have failed several times, each with its own waits.
        made.dials.clear()
        await trio.sleep(30)
        seconds = Counter(int(at) for at, _ in made.dials)
        assert len(seconds) > 10
        assert max(seconds.values()) <= PEOPLE // 2
        made.enter(0)
        await made.until(lambda: all_meet(made), 30)


async def test_who_answers_elsewhere_is_known_there(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with village(tmp_path, 6) as made:
        await made.until(lambda: all_meet(made), 120)
        mover, other = made.people[5], made.people[1]
        old = mover.host.addresses[0]
        new = old.replace("127.0.0.1", "127.0.0.2")
        mover.host.addresses[:] = [new]
        mover.host.inbox.post(Readdressed((new,)))
        known = other.built[0].discovery.peers
        await made.until(lambda: known.addresses(mover.node)[:1] == (new,), 60)


async def test_a_laptop_that_wakes_is_back_at_once_and_blames_nobody(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with village(tmp_path, 8) as made:
        await made.until(lambda: all_meet(made), 120)
        sleeper = made.people[7]
        made.sleep(sleeper)
        await trio.sleep(200)
        assert not sleeper.host.peers()
        made.wake(sleeper)
        took = await made.until(lambda: len(sleeper.host.peers()) >= len(made.people) - 2, 30)
        assert took < 5
        assert blames(made) == 0


def blames(made: Village) -> int:
    return sum(met.blames for one in made.people.values() for met in one.seen.peers.values())


async def test_nobody_is_blamed_for_a_clock_that_is_an_hour_off(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with village(tmp_path, 5) as made:
        made.people[4].skew[0] = 3_600_000_000
        await made.until(lambda: all_meet(made), 120)
        await trio.sleep(120)
        assert all_meet(made)
        assert blames(made) == 0


async def test_a_clock_that_is_set_back_makes_nobody_wait_for_it(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with village(tmp_path, 5) as made:
        await made.until(lambda: all_meet(made), 120)
        made.leave(0)
        late = made.people[4]
        late.skew[0] -= 7_200_000_000
        await trio.sleep(10)
        made.enter(0)
        await made.until(lambda: made.people[0].node in late.host.peers(), 60)

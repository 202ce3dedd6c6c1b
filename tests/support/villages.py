"""Many neighbourhoods in one fake world, under a clock that jumps: who finds whom, and when."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
import trio
import trio.lowlevel

from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import ChainId, NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.base.units import Instant
from dpin.net.fake import FakeHost, FakeWorld, open_world
from dpin.node.home import Home, home_in, prepare
from dpin.node.neighbourhood import Neighbourhood, Self, Ties
from dpin.node.seen import Seen
from tests.support.greeting import STATUS

P = ParamSpec("P")
T = TypeVar("T")
CHAIN = ChainId(digest("test/net", b"village"))
BEGAN = 1_700_000_000_000_000


def key_of(number: int) -> SigningKey:
    return SigningKey(digest("test/key", b"villager %d" % number))


@dataclass
class Villager:
    """One neighbourhood; its process may end and begin again."""

    number: int
    home: Home
    host: FakeHost
    seen: Seen
    scope: trio.CancelScope
    built: list[Neighbourhood]  # one, as soon as its process has begun
    skew: list[int]  # one: microseconds that its clock has jumped
    asleep: list[Instant]  # when its machine went to sleep, while it sleeps: its clock stands still

    @property
    def node(self) -> NodeId:
        return self.host.node_id


@dataclass
class Village:
    """All of them."""

    world: FakeWorld
    folder: Path
    nursery: trio.Nursery
    validators: tuple[NodeId, ...]
    bootstrap: tuple[str, ...] = ()
    people: dict[int, Villager] = field(default_factory=dict)
    dials: list[tuple[float, NodeId]] = field(default_factory=list)

    def enter(self, number: int) -> Villager:
        """A process starts; what its home remembers of the last one is still there."""
        key = key_of(number)
        home = home_in(self.folder / str(number), self.folder / str(number) / "config.toml")
        prepare(home)
        host, seen, skew = self.world.join(key.node_id), Seen(), [0]
        asleep: list[Instant] = []
        self._count_dials(host)
        scope = trio.CancelScope()

        def now() -> Instant:
            return (
                asleep[0]
                if asleep
                else Instant(BEGAN + round(trio.current_time() * 1_000_000) + skew[0])
            )

        me = Self(key, CHAIN, f"node-{number}", "1", self.validators, self.bootstrap)
        built: list[Neighbourhood] = []

        async def live() -> None:
            with scope:
                async with trio.open_nursery() as nursery:
                    ties = Ties(host, home, seen, now, _ignore, lambda: STATUS)
                    built.append(Neighbourhood(me, ties, nursery))
                    built[0].start()
                    await trio.sleep_forever()

        self.nursery.start_soon(live)
        villager = Villager(number, home, host, seen, scope, built, skew, asleep)
        self.people[number] = villager
        return villager

    def sleep(self, sleeper: Villager) -> None:
        """The lid is closed: nobody reaches it, and its clock stands still."""
        sleeper.asleep.append(_village_time())
        for one in self.people.values():
            if one is not sleeper:
                self.world.cut(sleeper.node, one.node)

    def wake(self, sleeper: Villager) -> None:
        """The lid is opened: the clock has jumped, and the network is there again."""
        for one in self.people.values():
            self.world.heal(sleeper.node, one.node)
        sleeper.asleep.clear()

    def leave(self, number: int) -> None:
        """Its process is killed."""
        gone = self.people.pop(number)
        gone.scope.cancel()
        self.world.leave(gone.node)

    def whole(self) -> bool:
        """Whether everybody can hear everybody else, through others."""
        hosts = [one.host for one in self.people.values()]
        first = hosts[0]
        found, ahead = {first.node_id}, [first.node_id]
        while ahead:
            for peer in self.world.nodes[ahead.pop()].peers():
                if peer not in found:
                    found.add(peer)
                    ahead.append(peer)
        return len(found) == len(hosts)

    async def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Wait in the village's time; how long it took. Fails when that is too long."""
        began = trio.current_time()
        with trio.fail_after(seconds):
            while not condition():
                await trio.sleep(0.1)
        return trio.current_time() - began

    def _count_dials(self, host: FakeHost) -> None:
        plain = host.dial

        async def dial(address: str, *others: str) -> NodeId:
            self.dials.append((trio.current_time(), host.node_id))
            return await plain(address, *others)

        host.dial = dial  # type: ignore[method-assign]  # To see who dials when.


def _village_time() -> Instant:
    return Instant(BEGAN + round(trio.current_time() * 1_000_000))


async def _ignore(_event: PeerUp | PeerDown | Received) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def village(folder: Path, people: int, validators: int = 4) -> AsyncIterator[Village]:
    """People who know the first of them and nobody else."""
    with pytest.MonkeyPatch.context() as patch:
        # Meanwhile a clock that jumps would go on, by more the slower the disk is.
        patch.setattr(trio.to_thread, "run_sync", _at_once)
        async with _peopled(folder, people, validators) as made:
            yield made


async def _at_once(work: Callable[P, T], *what: P.args, **words: P.kwargs) -> T:
    """In no time of the village, instead of in a thread."""
    await trio.lowlevel.checkpoint()
    return work(*what, **words)


@asynccontextmanager
async def _peopled(folder: Path, people: int, validators: int) -> AsyncIterator[Village]:
    async with open_world() as world, trio.open_nursery() as nursery:
        members = tuple(key_of(number).node_id for number in range(validators))
        made = Village(world, folder, nursery, members)
        made.bootstrap = tuple(made.enter(0).host.addresses)
        for number in range(1, people):
            made.enter(number)
        yield made
        nursery.cancel_scope.cancel()

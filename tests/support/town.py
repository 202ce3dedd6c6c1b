"""A few whole nodes whose mail, ledger, stores, workers and clocks move as somebody else decides.

The machines are those of real nodes, and so are the rules of the ledger; the order of transactions
is the town's, and each node hears of commits when it is told to. Workers and stores are simulated.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from dpin.base.ids import NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Roll, Send, Store, Tick
from dpin.base.units import Instant, Micros, MicroTokens, after, seconds
from dpin.compute.work import Dismiss, Exited, Hire, Order, WorkEffect, WorkerId
from dpin.ledger.identity import Identity
from dpin.ledger.order import OrderedCommit
from dpin.ledger.replica import Applied, Refused
from dpin.ledger.wishes import Submission
from dpin.market.engagement import Fault
from dpin.market.provider import Choice, Probe
from dpin.node.peer import Effect, Event, Peer, PeerOptions, _Inner
from dpin.sim.depot import Depot
from dpin.sim.ledgers import Owner
from dpin.sim.peers import PeerDevice
from dpin.sim.timeline import dice
from dpin.sim.workers import PROBED
from tests.support.ledgers import CREATED_MS, Ledger

BEAT: Final = seconds(0.4)
BEGINNING: Final = Instant(CREATED_MS * 1_000)
NAMES: Final = ("buyer", "ann", "bob", "cat")
STAKE: Final = MicroTokens(2_000_000_000)


class Townsman(Peer):
    """A node whose ledger moves by commits from outside; what it submits waits in `pool`."""

    def __init__(self, options: PeerOptions, pool: list[bytes]) -> None:
        super().__init__(options)
        self._pool = pool

    @override
    def _take(self, event: Event | OrderedCommit, now: Instant, *, more: bool) -> Iterator[_Inner]:
        match event:
            case OrderedCommit():
                done = self.executor.apply(event)
                yield Applied(event, done.receipts, done.state_root)
            case PeerUp() | PeerDown():
                yield from self._market(self.requester.step(event, now))
            case Tick():
                yield from self._follow(now, moved=False)
            case _:
                yield from super()._take(event, now, more=more)

    @override
    def _pass_on(self, effect: _Inner, outside: list[Effect], now: Instant) -> Iterator[_Inner]:
        match effect:
            case Submission(id=identity, data=data):
                reason = self.executor.check(data)
                if reason is None:
                    self._pool.append(data)
                else:
                    yield Refused(identity, reason)
            case Applied(commit=commit, receipts=receipts):
                yield from self.wishes.settled(receipts, now)
                yield from self.wishes.review(commit, self.state, now)
                yield from self._follow(now)
            case _:
                yield from super()._pass_on(effect, outside, now)


@dataclass(slots=True, eq=False)
class Letter:
    """Something on its way to a node, there at `ripe`."""

    to: str
    event: Event
    ripe: Instant
    worker: WorkerId | None = None  # of one worker what was first comes first


@dataclass(slots=True)
class Home:
    """One node: its process, and what outlives that."""

    name: str
    body: Townsman
    device: PeerDevice
    records: list[bytes] = field(default_factory=list)
    height: int = 0
    skew: int = 0  # microseconds
    hired: set[WorkerId] = field(default_factory=set)
    killed: set[WorkerId] = field(default_factory=set)  # its machine may not know yet


class Town:
    """All of them; `bag` is what is on its way, `pool` what waits for a commit."""

    def __init__(self) -> None:
        self.ledger = Ledger(*NAMES)
        self.now = BEGINNING
        self.bag: list[Letter] = []
        self.pool: list[bytes] = []
        self.cut: set[str] = set()
        self.blames: list[Blame] = []
        self.ids = {self.ledger.id(name): name for name in NAMES}
        self.depot = Depot(_always, dice(1, "town"))
        self.homes = {
            name: Home(name, self._body(name, ()), PeerDevice(Owner(key, None), self.depot))
            for name, key in self.ledger.keys.items()
        }
        for name in NAMES:
            _greet(self, name)

    def _body(self, name: str, records: tuple[bytes, ...]) -> Townsman:
        choice = Choice(
            name,
            provides=name != "buyer",
            price=MicroTokens(10_000_000 + NAMES.index(name)),
            stake=STAKE,
            leases_max=8,
            fault=Fault.NONE,
        )
        identity = Identity(self.ledger.keys[name])
        options = PeerOptions(identity, self.ledger.genesis, records, choice)
        return Townsman(options, self.pool)

    # --- events ---

    def feed(self, name: str, event: Event | OrderedCommit) -> None:
        """One event to one node, and what it does is done."""
        home = self.homes[name]
        clock = Instant(self.now + home.skew)
        for effect in home.body.step(event, clock):  # type: ignore[arg-type]  # Commits, too.
            self._perform(home, effect)

    def _perform(self, home: Home, effect: Effect) -> None:
        match effect:
            case Send(peer, payload):
                self._post(home.name, peer, payload)
            case Store(record=record):
                home.records.append(record)
            case Roll(records=records):
                home.records = list(records)
            case Blame():
                self.blames.append(effect)
            case Hire() | Order() | Dismiss():
                self._work(home, effect)
            case _:
                for wait, event in home.device.perform(effect, self.now):
                    self.bag.append(Letter(home.name, event, after(self.now, wait)))  # type: ignore[arg-type]  # As the world's.

    def _post(self, sender: str, peer: NodeId, payload: bytes) -> None:
        to = self.ids.get(peer)
        if to is not None and not self.cut & {sender, to}:  # Else it is an answer to a stranger.
            event = Received(self.ledger.id(sender), payload)
            self.bag.append(Letter(to, event, after(self.now, Micros(1))))

    def _work(self, home: Home, effect: WorkEffect) -> None:
        known = home.hired | home.killed
        assert isinstance(effect, Hire) or effect.worker in known, f"{effect} to nobody"
        match effect:
            case Hire(worker):
                home.hired.add(worker)
            case Dismiss(worker):
                home.hired.discard(worker)
                home.device.busy.pop(worker, None)
            case Order():
                pass
        for wait, event in home.device.perform(effect, self.now):
            letter = Letter(home.name, event, after(self.now, wait), effect.worker)  # type: ignore[arg-type]  # As the world's.
            self.bag.append(letter)

    # --- what may happen ---

    def at_hand(self, *, early: bool = False) -> list[Letter]:
        """What may be delivered now: of each worker its oldest report."""
        found: list[Letter] = []
        workers: set[tuple[str, WorkerId]] = set()
        for letter in self.bag:
            whose = (letter.to, letter.worker) if letter.worker is not None else None
            if whose not in workers and (early or letter.ripe <= self.now):
                found.append(letter)
            if whose is not None:
                workers.add(whose)
        return found

    def deliver(self, letter: Letter) -> None:
        """It arrives."""
        self.bag.remove(letter)
        self.feed(letter.to, letter.event)

    def commit(
        self, take: Callable[[list[bytes]], list[bytes]] = list, span: Micros = BEAT
    ) -> None:
        """The ledger's next commit, so long after the last, with these of what waits."""
        taken = take(self.pool)
        self.pool[:] = [one for one in self.pool if one not in taken]
        self.ledger.commit(*taken, after_ms=span // 1_000)

    def learn(self, name: str, most: int = 1 << 30) -> None:
        """A node hears of commits that it has not heard of yet."""
        home = self.homes[name]
        for commit in self.ledger.commits[home.height : home.height + most]:
            home.height += 1
            self.feed(name, commit)

    def crash(self, name: str) -> None:
        """Its process is killed and starts again, and so do its workers; its files are there."""
        home = self.homes[name]
        self.bag = [one for one in self.bag if one.to != name or isinstance(one.event, Received)]
        home.hired, home.killed = set(), set()
        home.device.workers, home.device.busy = {}, {}
        home.body = self._body(name, tuple(home.records))
        for commit in self.ledger.commits[: home.height]:
            home.body.executor.apply(commit)
        _greet(self, name)
        for other in NAMES:
            if other != name:
                self.feed(other, PeerDown(self.ledger.id(name)))
                self.feed(other, PeerUp(self.ledger.id(name)))

    def kill(self, name: str, worker: WorkerId) -> None:
        """A worker dies."""
        home = self.homes[name]
        self.bag = [one for one in self.bag if (one.to, one.worker) != (name, worker)]
        home.hired.discard(worker)
        home.killed.add(worker)
        home.device.workers.pop(worker, None)
        home.device.busy.pop(worker, None)
        self.bag.append(Letter(name, Exited(worker, "killed"), self.now, worker))

    def beat(self) -> None:
        """As on a good day: all that is there is delivered, the ledger moves, everybody hears."""
        self.now = after(self.now, BEAT)
        for letter in self.at_hand():
            self.deliver(letter)
        self.commit()
        for name in NAMES:
            self.learn(name)
            self.feed(name, Tick())

    def play(self, span: Micros) -> None:
        """A while of good days."""
        for _ in range(span // BEAT):
            self.beat()


def _always(source: NodeId, target: NodeId) -> bool:
    """Blobs go everywhere."""
    return source != target


def _greet(town: Town, name: str) -> None:
    """A process has begun: it looks at its device and meets the others."""
    town.feed(name, Probe(PROBED))
    for node, other in town.ids.items():
        if other != name:
            town.feed(name, PeerUp(node))

"""A network of ledgers in a simulated world: who takes part, what clients ask, what is checked."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import NodeId
from dpin.base.units import TOKEN, Instant, Micros, MicroTokens, after, seconds
from dpin.ledger import fees
from dpin.ledger.accounts import State
from dpin.ledger.money import MAX_SUPPLY
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.replica import Submit
from dpin.ledger.transactions import (
    OPENING,
    Operation,
    SignedTransaction,
    Transfer,
    sign,
    transaction_id,
)
from dpin.sim import checks
from dpin.sim.checks import Progress, Submitted
from dpin.sim.ledgers import (
    Founding,
    LedgerNode,
    Owner,
    found_network,
    ledger_node,
    secret,
)
from dpin.sim.network import LAN
from dpin.sim.roster import Roster
from dpin.sim.station import AnyMachine, Body, Boot
from dpin.sim.timeline import BEGINNING, Check, Step, dice
from dpin.sim.world import Habits, World

MEMBERS: Final = 4
RETRY: Final[Micros] = seconds(3)  # until a client asks another node to do the same
PATIENCE: Final[Micros] = seconds(20)  # from healing to the last commit of what was asked

LOOK: Final[Micros] = seconds(0.5)  # between two looks whether all is done

Lie = Callable[["Stage", int, AnyMachine], AnyMachine]  # makes a liar of a correct machine


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a simulation. Equal names and seeds give equal reports."""

    name: str
    seed: int
    digest: str  # of all that happened
    figures: dict[str, int]
    problems: list[str]


def since(value: float) -> Instant:
    """So many seconds after the beginning."""
    return after(BEGINNING, seconds(value))


def safety(honest: frozenset[NodeId], read: checks.Reader) -> list[Check]:
    """All that must hold for honest nodes at every step."""
    return [
        checks.Agreement(honest),
        checks.States(honest),
        checks.Continuity(honest),
        checks.Conservation(honest, MAX_SUPPLY),
        checks.OneBlockARound(honest, read),
        checks.Fairness(honest),
    ]


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: how many validators, who of them lies and how, whose log gets lost.

    `watch` are further checks.
    """

    members: int = MEMBERS
    lies: Mapping[int, Lie] = field(default_factory=dict)
    forgetful: Collection[int] = ()
    watch: Sequence[Check] = ()
    epoch_ms: int = DEVELOPMENT.epoch_ms


class Stage:
    """Validators, clients that want transfers, and every check."""

    def __init__(self, name: str, seed: int, habits: Habits, cast: Cast) -> None:
        self.founding: Founding = found_network(name, seed, cast.members, cast.epoch_ms)
        self.nodes = [key.node_id for key in self.founding.keys]
        self.honest = [node for i, node in enumerate(self.nodes) if i not in cast.lies]
        self.dice = dice(seed, "plan")  # who suffers what, and when
        self.lies = dice(seed, "lies")
        self.follower = SigningKey(secret(name, seed, "follower"))
        followed = frozenset({*self.honest, self.follower.node_id})
        sound = followed - {self.nodes[index] for index in cast.forgetful}
        self.progress = Progress(followed)
        roster = Roster(self.nodes, lambda: self.world.stations)
        self.world = World(
            seed,
            habits,
            [
                *safety(followed, roster.read),
                checks.Voice(sound),
                self.progress,
                *cast.watch,
            ],
        )
        self._name, self._seed = name, seed
        self._clients = dice(seed, "clients")
        self._sequences = dict.fromkeys(self.nodes, 0)
        for index in range(cast.members):
            self.world.add(self.nodes[index], self._boot(index, cast.lies.get(index)))

    def owner(self, index: int) -> Owner:
        """The founder of that index."""
        return Owner(self.founding.keys[index], self.founding.tables[index])

    def _boot(self, index: int, lie: Lie | None) -> Boot:
        boot = ledger_node(self.founding, self.owner(index))
        if lie is None:
            return boot

        def boot_liar(records: Sequence[bytes], now: Instant) -> Body:
            body = boot(records, now)
            return Body(lie(self, index, body.machine), body.device)

        return boot_liar

    def join(self) -> None:
        """A node that is no validator comes, with an empty disk."""
        self.honest.append(self.follower.node_id)
        owner = Owner(self.follower, None)
        self.world.add(self.follower.node_id, ledger_node(self.founding, owner))

    def ask(self, count: int, start: Instant, end: Instant) -> None:
        """Let clients want so many transfers between two moments."""
        for _ in range(count):
            when = Instant(start + self._clients.below(end - start))
            self.world.timeline.at(when, self._want)

    def _want(self) -> None:
        """One founder wants to pay somebody."""
        [sender] = self._clients.chosen(self.founding.keys, 1)
        [receiver] = self._clients.chosen([*self.nodes, self.follower.node_id], 1)
        amount = MicroTokens(1 + self._clients.below(TOKEN))
        self.want(sender, Transfer(receiver, amount, b""))

    def want(self, sender: SigningKey, operation: Operation) -> None:
        """A founder wants this done."""
        self._sequences[sender.node_id] += 1
        signs = partial(self._signed, sender, self._sequences[sender.node_id], operation)
        self._post(signs(), signs)

    def _signed(self, sender: SigningKey, sequence: int, operation: Operation) -> SignedTransaction:
        """As a client signs it now: it asks whoever lives and knows most."""
        newest, params = self._newest(), self.founding.genesis.params
        terms = fees.terms(newest, params, (operation,)) if newest is not None else OPENING
        return sign(sender, self.founding.chain, sequence, operation, terms)

    def _newest(self) -> State | None:
        bodies = [self.world.stations[node].body for node in self.honest]
        machines = [body.machine for body in bodies if body is not None]
        states = [it.state for it in machines if isinstance(it, LedgerNode)]
        return max(states, key=lambda state: state.height, default=None)

    def _post(self, signed: SignedTransaction, signs: Callable[[], SignedTransaction]) -> None:
        """Hand a transaction to a living node; to another one later, until it is committed.

        One that has expired, since nobody who was asked could take it, is signed anew.
        """
        now, identity = self.world.timeline.now, transaction_id(signed.transaction)
        if identity in self.progress.first:
            return
        newest = self._newest()
        if newest is not None and signed.transaction.valid_until_epoch < newest.epoch:
            self.progress.submitted.pop(identity, None)
            signed = signs()
            identity = transaction_id(signed.transaction)
        alive = [node for node in self.honest if self.world.stations[node].body is not None]
        for node in self._clients.chosen(alive, 1):
            self.world.trace.record(Step(now, node, Submitted(identity)))
            self.world.inject(node, Submit(encode(signed)), now)
        self.world.timeline.at(after(now, RETRY), partial(self._post, signed, signs))

    def finish(self, healed: Instant) -> Report:
        """Heal all at that time; PATIENCE later everything must be done everywhere."""
        self._heal(healed)
        self.world.run(after(healed, PATIENCE))
        return self._report()

    def settle(self, healed: Instant, patience: Micros) -> Report:
        """Heal all at that time; end when everything is done everywhere, or after `patience`."""
        self._heal(healed)
        end, now = after(healed, patience), healed
        while now < end and not self.world.trace.problems and self.progress.missing(self.honest):
            now = after(now, LOOK)
            self.world.run(now)
        return self._report()

    def _heal(self, healed: Instant) -> None:
        self.world.run(healed)
        self.world.heal(LAN)
        for node in list(self.world.stations):
            self.world.start(node)

    def _report(self) -> Report:
        problems = list(self.world.trace.problems) or self.progress.missing(self.honest)
        return Report(self._name, self._seed, self.world.trace.digest, self._figures(), problems)

    def _figures(self) -> dict[str, int]:
        latencies = self.progress.latencies() or [Micros(0)]
        return figures_of(self.world) | {
            "transactions": len(self.progress.submitted),
            "committed": len(self.progress.first),
            "latency_p50_ms": latencies[len(latencies) // 2] // 1_000,
            "latency_max_ms": latencies[-1] // 1_000,
        }


def figures_of(world: World) -> dict[str, int]:
    """What a simulation took."""
    return {
        "simulated_ms": (world.timeline.now - BEGINNING) // 1_000,
        "steps": world.timeline.steps,
        "messages": world.wires.counts.sent,
        "message_bytes": world.wires.counts.bytes,
        "blames": len(world.blames),
    }

"""Safety at every step, liveness at the end.

The checks look at facts that the simulated nodes state beside their production effects: `Committed`
for every commit, `Submitted` for every transaction, and at the blocks in what nodes send. Liars are
left out: a check is told who is honest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dpin.base.ids import Digest, NodeId, short
from dpin.base.machine import Blame, Send
from dpin.base.units import Instant, Micros
from dpin.ledger.replica import Silenced
from dpin.sim.station import Booted
from dpin.sim.timeline import Step

Slot = tuple[int, int]  # epoch and round
Reader = Callable[[bytes], Sequence[tuple[NodeId, Slot, Digest]]]  # the blocks in a message


@dataclass(frozen=True, slots=True)
class Committed:
    """A node has applied a commit of the log."""

    height: int
    commit: Digest
    transactions: tuple[Digest, ...]  # those that took effect
    state: Digest | None  # names the state that it led to, where that was seen
    supply: int | None  # all tokens of that state


@dataclass(frozen=True, slots=True)
class Recovered:
    """A node has begun with a log that had led to this commit before, or has joined there.

    Whoever joined does not know what led there.
    """

    height: int
    transactions: tuple[Digest, ...]  # those that took effect in all commits up to it
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Submitted:
    """Somebody handed a valid transaction to this node, and it was taken."""

    transaction: Digest


@dataclass(slots=True)
class Agreement:
    """At one height all honest nodes apply one commit, in all their lives."""

    honest: frozenset[NodeId]
    commits: dict[int, Digest] = field(default_factory=dict)

    def see(self, step: Step) -> str | None:
        """Compare a commit with the first one applied at its height."""
        node, effect = step.node, step.effect
        if node not in self.honest or not isinstance(effect, Committed):
            return None
        first = self.commits.setdefault(effect.height, effect.commit)
        if first == effect.commit:
            return None
        return f"{short(node)} applied another commit {effect.height} than a node before"


@dataclass(slots=True)
class States:
    """At one height all honest nodes hold one state."""

    honest: frozenset[NodeId]
    states: dict[int, Digest] = field(default_factory=dict)

    def see(self, step: Step) -> str | None:
        """Compare a state with the first one at its height."""
        node, effect = step.node, step.effect
        if node not in self.honest or not isinstance(effect, Committed):
            return None
        if effect.state is None:
            return None
        if self.states.setdefault(effect.height, effect.state) == effect.state:
            return None
        return f"{short(node)} holds another state after commit {effect.height}"


@dataclass(slots=True)
class Continuity:
    """In each of its lives a node applies commits 1, 2, 3 and so on, each transaction once."""

    honest: frozenset[NodeId]
    heights: dict[NodeId, int] = field(default_factory=dict)
    done: dict[NodeId, set[Digest]] = field(default_factory=dict)

    def see(self, step: Step) -> str | None:
        """Follow one node's log."""
        node, effect = step.node, step.effect
        if isinstance(effect, Booted):
            self.heights[node] = 0
            self.done[node] = set()
        if isinstance(effect, Recovered):
            self.heights[node] = effect.height
            self.done[node].update(effect.transactions)
        if node not in self.honest or not isinstance(effect, Committed):
            return None
        if effect.height != self.heights[node] + 1:
            return f"{short(node)} applied commit {effect.height} after {self.heights[node]}"
        self.heights[node] = effect.height
        again = [short(it) for it in effect.transactions if it in self.done[node]]
        self.done[node].update(effect.transactions)
        return f"{short(node)} applied {again} twice" if again else None


@dataclass(frozen=True, slots=True)
class Conservation:
    """No token is made or lost."""

    honest: frozenset[NodeId]
    supply: int

    def see(self, step: Step) -> str | None:
        """Count the tokens of a state."""
        node, effect = step.node, step.effect
        if node not in self.honest or not isinstance(effect, Committed):
            return None
        if effect.supply is None or effect.supply == self.supply:
            return None
        return f"{short(node)} counts {effect.supply - self.supply:+} tokens at {effect.height}"


@dataclass(slots=True)
class OneBlockARound:
    """An honest node shows the world one block a round, in all its lives together."""

    honest: frozenset[NodeId]
    read: Reader
    blocks: dict[tuple[NodeId, Slot], Digest] = field(default_factory=dict)

    def see(self, step: Step) -> str | None:
        """Look for a node's own blocks in what it sends."""
        node, effect = step.node, step.effect
        if node not in self.honest or not isinstance(effect, Send):
            return None
        for author, slot, digest in self.read(effect.payload):
            if author == node and self.blocks.setdefault((node, slot), digest) != digest:
                return f"{short(node)} made two blocks in round {slot[1]} of epoch {slot[0]}"
        return None


@dataclass(frozen=True, slots=True)
class Fairness:
    """No honest node blames another one, whatever the network does."""

    honest: frozenset[NodeId]

    def see(self, step: Step) -> str | None:
        """Look at who blames whom."""
        node, effect = step.node, step.effect
        if node not in self.honest or not isinstance(effect, Blame):
            return None
        if effect.peer not in self.honest:
            return None
        return f"{short(node)} blames {short(effect.peer)}: {effect.reason}"


@dataclass(frozen=True, slots=True)
class Voice:
    """A validator whose disk kept its promises is never silenced: it had said nothing it forgot."""

    honest: frozenset[NodeId]

    def see(self, step: Step) -> str | None:
        """Look for validators that gave up signing."""
        if step.node not in self.honest or not isinstance(step.effect, Silenced):
            return None
        return f"{short(step.node)}: {step.effect.reason}"


@dataclass(slots=True)
class Progress:
    """Every valid transaction takes effect at every honest node. Asked for at the end."""

    honest: frozenset[NodeId]
    submitted: dict[Digest, Instant] = field(default_factory=dict)
    first: dict[Digest, Instant] = field(default_factory=dict)  # when any honest node applied it
    heights: dict[Digest, int] = field(default_factory=dict)  # of the commit that did
    done: dict[NodeId, set[Digest]] = field(default_factory=dict)

    def see(self, step: Step) -> str | None:
        """Remember who has seen what; nothing is wrong before the end."""
        match step.effect:
            case Submitted(transaction):
                self.submitted.setdefault(transaction, step.now)
            case Booted():
                self.done[step.node] = set()
            case Recovered(height=height, transactions=done, joined=joined):
                self.done[step.node].update(done)
                if joined:
                    before = {it for it, at in self.heights.items() if at <= height}
                    self.done[step.node].update(before)
            case Committed(height=height, transactions=done) if step.node in self.honest:
                self.done[step.node].update(done)
                for transaction in done:
                    self.first.setdefault(transaction, step.now)
                    self.heights.setdefault(transaction, height)
            case _:
                pass
        return None

    def missing(self, nodes: Iterable[NodeId]) -> list[str]:
        """What has not taken effect at these nodes."""
        return [
            f"Progress: {len(late)} of {len(self.submitted)} transactions are missing"
            f" at {short(node)}, the first is {short(late[0])}"
            for node in nodes
            if (late := [it for it in self.submitted if it not in self.done[node]])
        ]

    def latencies(self) -> list[Micros]:
        """From submission to the first node's commit, ascending."""
        return sorted(
            Micros(self.first[transaction] - at)
            for transaction, at in self.submitted.items()
            if transaction in self.first
        )

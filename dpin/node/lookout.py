"""What a running node knows of the network around it, and the way to each peer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import trio

from dpin.base.errors import Misuse, NotFound, Unavailable
from dpin.base.ids import NodeId, short
from dpin.base.units import MICROS_PER_MILLI, MICROS_PER_SECOND, Instant
from dpin.net.address import node_in
from dpin.net.ask import PROTOCOL, AskStatus, Greeted, Status, greeting
from dpin.net.network import Network, Outcome, Traffic, Unreached
from dpin.net.reachability import Finding
from dpin.net.tally import Dialled, Histogram
from dpin.node.acquaintances import unfit
from dpin.node.directoryviews import directory_view
from dpin.node.health import FIXES
from dpin.node.inquirer import GREET_SECONDS
from dpin.node.neighbourhood import Neighbourhood
from dpin.node.netviews import (
    DialView,
    HistogramView,
    LinkView,
    NetworkView,
    PingView,
    ReachView,
    StepView,
    TraceView,
    TrialView,
)
from dpin.node.peer import Peer
from dpin.node.seen import Met, Seen
from dpin.node.status import NodeView

PINGS_MAX: Final = 100
_TRACED_ADDRESSES_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Lookout:
    """Views of the network around one node."""

    peer: Peer
    seen: Seen
    host: Network
    now: Callable[[], Instant]
    neighbours: Callable[[], Neighbourhood]

    def network(self) -> NetworkView:
        """The node's place in it."""
        traffic = self.host.traffic().values()
        total = sum(traffic, Traffic())
        tally = self.seen.tally
        ahead = self.seen.acquaintances.clock_ahead()
        return NetworkView(
            network=self.peer.genesis.name,
            chain=self.peer.chain.hex(),
            node_id=self.host.node_id.hex(),
            is_open=not self.host.problem,
            problem=self.host.problem,
            restarts=self.host.restarts,
            addresses=list(self.host.addresses),
            peers=len(self.host.peers()),
            reach=self._reach(),
            clock_ahead_ms=None if ahead is None else ahead // MICROS_PER_MILLI,
            bytes_in=_bytes(total, "_in"),
            bytes_out=_bytes(total, "_out"),
            mesh=dict(self.host.observer.mesh()),
            dials=dict(sorted(tally.dials.items())),
            dropped=_summed(self.host.observer.dropped(), tally.dropped),
            announcement_delay=_histogram(tally.announcements),
            round_trip=_histogram(tally.round_trips),
            dialled=[_dialled(*item) for item in tally.addresses.items()],
            directory=directory_view(self.neighbours().whereabouts, self.host.node_id),
            line_up=self.seen.line.up.rate,
            line_down=self.seen.line.down.rate,
        )

    def status(self, view: NodeView) -> Status:
        """The node in short, for anybody."""
        ledger = view.ledger
        clock = self.now() // MICROS_PER_MILLI
        return Status(
            protocol=PROTOCOL,
            chain=self.peer.chain,
            network=self.peer.genesis.name,
            name=view.name,
            version=view.version,
            height=ledger.height,
            epoch=ledger.epoch,
            root_height=ledger.root_height,
            root=bytes.fromhex(ledger.root or ""),
            peers=view.peers,
            validator=ledger.validator,
            uptime_ms=clock - view.started_ms,
            clock_ms=clock,
        )

    def finding(self) -> Finding:
        """How others reach this node."""
        return self.seen.reachability.finding(self.host.addresses, self.now())

    def _reach(self) -> ReachView:
        found = self.finding()
        trials = [
            TrialView(
                node_id=node.hex(),
                seen_at=trial.seen_at,
                port=trial.port,
                outcome=trial.outcome,
                proven=trial.proven,
                at_ms=trial.at // MICROS_PER_MILLI,
            )
            for node, trial in self.seen.reachability.trials.items()
        ]
        return ReachView(
            verdict=found.verdict.value,
            scope=found.scope.value,
            seen_at=found.seen_at,
            detail=found.detail,
            fix=found.fix,
            trials=trials,
        )

    def links(self) -> list[LinkView]:
        """Who is connected."""
        return [self._link(node) for node in self.host.peers()]

    def _link(self, node: NodeId) -> LinkView:
        known = self.seen.acquaintances.known.get(node)
        met = self.seen.peers.get(node, Met())
        traffic = self.host.traffic().get(node, Traffic())
        return LinkView(
            node_id=node.hex(),
            name=self.name(node),
            path=self.host.observer.path(node),
            seen_at=self.host.observer.seen_at(node),
            version=known.version if known else "",
            protocol=known.protocol if known else None,
            round_trip=known.round_trip if known else None,
            clock_ahead_ms=known.clock_ahead // MICROS_PER_MILLI if known else None,
            bytes_in=_bytes(traffic, "_in"),
            bytes_out=_bytes(traffic, "_out"),
            blame=met.blames,
        )

    def name(self, node: NodeId) -> str:
        """What a node calls itself, or the beginning of its id."""
        presence = self.seen.peers.get(node, Met()).presence
        return presence.name if presence else short(node)

    def named(self, text: str) -> NodeId:
        """The one peer whose id begins so, or whose name is this; raises NotFound."""
        around = {*self.host.peers(), *self.seen.peers, *self.seen.acquaintances.known}
        around |= {node for node in map(node_in, self.seen.tally.addresses) if node is not None}
        found = [node for node in sorted(around) if text and node.hex().startswith(text.lower())]
        found = found or [node for node in sorted(around) if self.name(node) == text]
        if len(found) != 1:
            why = "more than one node goes" if found else "no node is known that goes"
            raise NotFound(f"{why} by {text[:64]!r}", fix="dpin net peers lists who is connected")
        return found[0]

    async def ping(self, text: str, count: int) -> PingView:
        """Greet a connected peer so many times; raises NotFound, or Misuse where it is not."""
        node = self.named(text)
        if node not in self.host.peers():
            raise Misuse(f"{self.name(node)} is not connected", fix=f"dpin net trace {text}")
        trips = [await self._round_trip(node) for _ in range(min(count, PINGS_MAX))]
        return PingView(node_id=node.hex(), name=self.name(node), round_trips=trips)

    async def _round_trip(self, node: NodeId) -> int | None:
        began = trio.current_time()
        answered = await self.neighbours().inquirer.greet(node)
        return round((trio.current_time() - began) * MICROS_PER_SECOND) if answered else None

    async def trace(self, text: str) -> TraceView:
        """Go the way to a peer step by step, as far as it leads; raises NotFound."""
        node = self.named(text)
        steps, fix = await self._connect(node)
        if not fix:
            more, fix = await self._talk(node)
            steps += more
        return TraceView(node_id=node.hex(), name=self.name(node), steps=steps, fix=fix)

    async def _connect(self, node: NodeId) -> tuple[list[StepView], str]:
        if node in self.host.peers():
            where = self.host.observer.seen_at(node) or "through a relay"
            return [_step("connection", 0, f"stands, {where}")], ""
        addresses = self._addresses(node)
        if not addresses:
            missing = _step("address", 0, "nobody has said where it answers", ok=False)
            return [missing], "ask its owner for an invite: dpin net invite"
        steps: list[StepView] = []
        fix = ""
        for address in addresses:
            step, outcome = await self._dial(address)
            steps.append(step)
            if outcome == Outcome.CONNECTED:
                return steps, ""
            fix = fix or FIXES[outcome]
        return steps, fix

    async def _dial(self, address: str) -> tuple[StepView, Outcome]:
        began = trio.current_time()
        outcome, detail = Outcome.CONNECTED, address
        try:
            await self.host.dial(address)
        except Unreached as error:
            outcome, detail = error.outcome, f"{address}: {error}"
        took = trio.current_time() - began
        return _step("dial", took, detail, ok=outcome == Outcome.CONNECTED), outcome

    async def _talk(self, node: NodeId) -> tuple[list[StepView], str]:
        """Greeting and status of a peer that is connected."""
        asked = self.now()
        question = greeting(self.peer.chain, "", asked // MICROS_PER_MILLI)
        try:
            answer = await self.neighbours().inquirer.ask(node, question, GREET_SECONDS)
            took = (self.now() - asked) / MICROS_PER_SECOND
            status = await self.neighbours().inquirer.ask(node, AskStatus(), GREET_SECONDS)
        except Unavailable as error:
            silent = _step("greeting", GREET_SECONDS, str(error), ok=False)
            return [silent], "it is no dpin node, too old, or overloaded: look at its log"
        steps = [_greeted(answer, took, self.peer)] if isinstance(answer, Greeted) else []
        took = (self.now() - asked) / MICROS_PER_SECOND - took
        if isinstance(status, Status):
            steps.append(_step("status", took, f"height {status.height}, {status.peers} peers"))
        foreign = [step.detail for step in steps if not step.ok]
        return steps, f"leave it alone: it {foreign[0]}" if foreign else ""

    def _addresses(self, node: NodeId) -> Sequence[str]:
        presence = self.seen.peers.get(node, Met()).presence
        said = presence.addresses if presence else ()
        tried = [address for address in self.seen.tally.addresses if node_in(address) == node]
        return list(dict.fromkeys([*said, *tried]))[:_TRACED_ADDRESSES_MAX]


def _greeted(answer: Greeted, took: float, peer: Peer) -> StepView:
    reason = unfit(peer.chain, answer)
    said = f"dpin {answer.version or '?'}, protocol {answer.protocol}, it sees us at "
    return _step("greeting", took, reason or f"{said}{answer.seen_at or 'a relay'}", ok=not reason)


def _step(name: str, seconds: float, detail: str, *, ok: bool = True) -> StepView:
    return StepView(name=name, ok=ok, took=round(seconds * MICROS_PER_SECOND), detail=detail)


def _bytes(traffic: Traffic, ending: str) -> dict[str, int]:
    names = [field.name for field in fields(traffic) if field.name.endswith(ending)]
    return {name.removesuffix(ending): getattr(traffic, name) for name in names}


def _summed(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def _histogram(histogram: Histogram) -> HistogramView:
    return HistogramView(
        bounds=list(histogram.bounds),
        counts=list(histogram.counts),
        total=histogram.total,
        p50=histogram.quantile(0.5),
        p99=histogram.quantile(0.99),
    )


def _dialled(address: str, end: Dialled) -> DialView:
    return DialView(
        address=address,
        outcome=end.outcome,
        reason=end.reason,
        at_ms=end.at // MICROS_PER_MILLI,
        took_ms=end.took // MICROS_PER_MILLI,
    )

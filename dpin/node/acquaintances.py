"""What peers said when greeted: their protocol, network, version and clock, and what follows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Final, TypeVar

from dpin.base.ids import ChainId, NodeId, short
from dpin.base.units import MICROS_PER_MILLI, Instant, Micros, seconds
from dpin.net.ask import PROTOCOL, Greeted, Greeting
from dpin.net.envelope import CHAIN_PREFIX_BYTES
from dpin.node.status import Check
from dpin.node.words import counted

KNOWN_MAX: Final = 256
STRANGERS_MAX: Final = 16
CLOCK_WARN: Final = seconds(5)
CLOCK_FAIL: Final = seconds(60)
_MINUTE: Final = 60


@dataclass(slots=True)
class Acquaintance:
    """One peer, as it greeted."""

    protocol: int
    version: str
    greeted: Instant
    round_trip: Micros
    clock_ahead: Micros  # of ours; as good as half of the round trip
    seen_at: str  # where it sees us


@dataclass(frozen=True, slots=True)
class Stranger:
    """A node that answered and does not belong here."""

    chain: str  # the first bytes of its network's id, in hex
    protocol: int
    version: str
    at: Instant


@dataclass(slots=True)
class Acquaintances:
    """Everybody greeted, and everybody turned away."""

    known: dict[NodeId, Acquaintance] = field(default_factory=dict)
    strangers: dict[NodeId, Stranger] = field(default_factory=dict)

    def greeted(
        self, chain: ChainId, peer: NodeId, answer: Greeted, asked: Instant, now: Instant
    ) -> str:
        """A peer answered; returns why it must be left, or nothing."""
        reason = unfit(chain, answer)
        if reason:
            stranger = Stranger(answer.chain.hex(), answer.protocol, answer.version, now)
            _keep(self.strangers, peer, stranger, STRANGERS_MAX)
            return reason
        self.strangers.pop(peer, None)
        middle = (asked + now) // 2
        acquaintance = Acquaintance(
            protocol=answer.protocol,
            version=answer.version,
            greeted=now,
            round_trip=Micros(now - asked),
            clock_ahead=Micros(answer.clock_ms * MICROS_PER_MILLI - middle),
            seen_at=answer.seen_at,
        )
        _keep(self.known, peer, acquaintance, KNOWN_MAX)
        return ""

    def told(self, chain: ChainId, peer: NodeId, said: Greeting, now: Instant) -> None:
        """A peer has greeted this node: one that does not belong here may go before it answers."""
        if unfit(chain, said):
            stranger = Stranger(said.chain.hex(), said.protocol, said.version, now)
            _keep(self.strangers, peer, stranger, STRANGERS_MAX)
        else:
            self.strangers.pop(peer, None)

    def turned_away(self, chain: ChainId, peer: NodeId) -> str:
        """Why a peer that was last heard of as a stranger must be left; empty: it is none."""
        one = self.strangers.get(peer)
        if one is None:
            return ""
        return unfit(chain, Greeting(one.protocol, bytes.fromhex(one.chain), one.version, 0))

    def clock_ahead(self) -> Micros | None:
        """How far the clocks of peers are ahead of ours, in the middle; None: nobody told."""
        offsets = [one.clock_ahead for one in self.known.values()]
        return median_low(offsets) if offsets else None

    def checks(self, chain: ChainId) -> list[Check]:
        """What the greetings say about this node and its peers."""
        return [self._clock(), self._network(chain), self._version(chain)]

    def _clock(self) -> Check:
        ahead = self.clock_ahead()
        if ahead is None:
            return _ok("clock", "no peer to compare it with yet")
        whose = counted(len(self.known), "peer")
        if abs(ahead) <= CLOCK_WARN:
            return _ok("clock", f"{abs(ahead) / 1e6:.2f} s from that of {whose}")
        side = "behind" if ahead > 0 else "ahead of"
        return Check(
            name="clock",
            verdict="fail" if abs(ahead) > CLOCK_FAIL else "warn",
            detail=f"this machine's clock is {_length(abs(ahead))} {side} that of {whose}",
            fix="set the clock: sudo timedatectl set-ntp true",
        )

    def _network(self, chain: ChainId) -> Check:
        here = chain[:CHAIN_PREFIX_BYTES].hex()
        foreign = [(node, one) for node, one in self.strangers.items() if one.chain != here]
        if not foreign:
            return _ok("networks", "all peers belong to this network")
        node, one = foreign[-1]
        return Check(
            name="networks",
            verdict="fail" if not self.known else "warn",
            detail=f"node {short(node)} belongs to another network ({one.chain}), "
            f"not to this one ({here})",
            fix="take its address out of network.bootstrap, or join with a new invite: "
            "dpin net join INVITE",
        )

    def _version(self, chain: ChainId) -> Check:
        here = chain[:CHAIN_PREFIX_BYTES].hex()
        others = [(node, one) for node, one in self.strangers.items() if one.chain == here]
        newer = [one for _, one in others if one.protocol > PROTOCOL]
        if newer:
            return Check(
                name="version",
                verdict="fail" if not self.known else "warn",
                detail=f"{counted(len(newer), 'peer')} of this network speak protocol "
                f"{newer[-1].protocol} (dpin {newer[-1].version}), this node {PROTOCOL}: "
                "this node is too old",
                fix="update dpin on this machine",
            )
        if others:
            node, one = others[-1]
            return Check(
                name="version",
                verdict="warn",
                detail=f"node {short(node)} speaks protocol {one.protocol} (dpin {one.version}), "
                f"this node {PROTOCOL}: that one is too old",
                fix="update dpin on that machine",
            )
        return _ok("version", f"all peers speak protocol {PROTOCOL}")


def unfit(chain: ChainId, answer: Greeted | Greeting) -> str:
    """Why two nodes cannot work together; empty: they can."""
    if answer.chain != chain[:CHAIN_PREFIX_BYTES]:
        return f"belongs to another network ({answer.chain.hex()})"
    if answer.protocol != PROTOCOL:
        return f"speaks protocol {answer.protocol}, this node {PROTOCOL}"
    return ""


T = TypeVar("T")


def _keep(kept: dict[NodeId, T], peer: NodeId, value: T, most: int) -> None:
    """The newest last; of too many the oldest goes."""
    kept.pop(peer, None)
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[peer] = value


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, verdict="ok", detail=detail, fix="")


def _length(micros: int) -> str:
    whole = round(micros / 1_000_000)
    minutes, rest = divmod(whole, _MINUTE)
    parts: Sequence[str] = [f"{minutes} min"] if minutes else []
    return " ".join([*parts, f"{rest} s"])

"""Can others dial this node? Peers try it, and what they find becomes a verdict with its fix.

A yes is proven: the nonce that was asked for came in by a new connection. A no is a peer's word,
so one yes outweighs all of them. Method: AutoNAT v2 of libp2p, with the address left to the one
who dials: it is the one that it sees the asker at, so nobody can be made to dial a third party.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import Instant, after, seconds
from dpin.net.ask import Answer, DialledBack
from dpin.net.network import Outcome

TRIALS_MAX: Final = 32  # peers whose last trial is kept
TRIAL_LASTS: Final = seconds(600)  # what was found before says nothing of now
RELAYED: Final = "/p2p-circuit"


class Verdict(StrEnum):
    """How others reach this node."""

    UNKNOWN = "unknown"
    DIRECT = "direct"
    RELAY = "relay"
    OUTBOUND = "outbound only"


class Scope(StrEnum):
    """From how far."""

    NOWHERE = "nowhere"
    MACHINE = "this machine"
    LOCAL = "the local network"
    EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of asking one peer."""

    at: Instant
    seen_at: str  # the address that the peer dialled
    port: int
    outcome: str
    proven: bool  # the nonce came in


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict, in words that tell what to do."""

    verdict: Verdict
    scope: Scope
    seen_at: str  # what the world calls this machine; empty: not known
    detail: str
    fix: str


@dataclass(slots=True)
class _Asked:
    nonce: bytes
    ports: tuple[int, ...]
    proven: bool = False


class Reachability:
    """All trials of one node."""

    def __init__(self) -> None:
        self.trials: dict[NodeId, Trial] = {}
        self.asking: dict[NodeId, _Asked] = {}

    def asked(self, peer: NodeId, nonce: bytes, ports: tuple[int, ...]) -> None:
        """A peer was asked to dial these ports."""
        self.asking[peer] = _Asked(nonce, ports)

    def came(self, nonce: bytes) -> bool:
        """Somebody says a nonce on a new connection; False for one that nobody was given."""
        for asked in self.asking.values():
            if asked.nonce == nonce:
                asked.proven = True
                return True
        return False

    def answered(self, peer: NodeId, answer: Answer, now: Instant) -> Trial | None:
        """The peer says how it went; None: it did not try. Raises PeerFault for a bad answer."""
        asked = self.asking.pop(peer, None)
        if asked is None or not isinstance(answer, DialledBack):
            return None
        if len(answer.outcomes) != len(asked.ports) or scope_of(answer.seen_at) == Scope.NOWHERE:
            raise PeerFault("tells of a dial-back that was not asked for")
        outcome, port = min(zip(answer.outcomes, asked.ports, strict=True), key=_best_first)
        self.trials.pop(peer, None)
        if len(self.trials) >= TRIALS_MAX:
            del self.trials[next(iter(self.trials))]
        trial = self.trials[peer] = Trial(now, answer.seen_at, port, outcome, asked.proven)
        return trial

    def proof(self, addresses: Sequence[str], now: Instant) -> bool | None:
        """Whether the world can dial this node; None where nobody of the world has tried."""
        found = self.finding(addresses, now)
        if found.verdict == Verdict.DIRECT and found.scope == Scope.EVERYWHERE:
            return True
        tried = found.verdict in {Verdict.OUTBOUND, Verdict.RELAY}
        return False if tried and scope_of(found.seen_at) == Scope.EVERYWHERE else None

    def forget(self, peer: NodeId) -> None:
        """The peer did not answer."""
        self.asking.pop(peer, None)

    def finding(self, addresses: Sequence[str], now: Instant) -> Finding:
        """What the trials of the last ten minutes come to; `addresses` are this node's own."""
        fresh = [trial for trial in self.trials.values() if now < after(trial.at, TRIAL_LASTS)]
        proven = [trial for trial in fresh if trial.proven]
        if proven:
            return _direct(max(proven, key=lambda trial: _order(trial.seen_at)), addresses)
        if any(RELAYED in address for address in addresses):
            return Finding(
                Verdict.RELAY,
                Scope.EVERYWHERE,
                _seen(fresh),
                "others reach this node through a relay, which is slower",
                _forward(fresh, addresses),
            )
        if not fresh:
            detail = "no peer has tried to dial this node yet"
            return Finding(Verdict.UNKNOWN, Scope.NOWHERE, "", detail, "")
        return _outbound(max(fresh, key=lambda trial: _order(trial.seen_at)), addresses)


def scope_of(ip: str) -> Scope:
    """From where an address can be dialled; NOWHERE for what is no address."""
    try:
        address = ip_address(ip)
    except ValueError:
        return Scope.NOWHERE
    if address.is_loopback:
        return Scope.MACHINE
    return Scope.EVERYWHERE if address.is_global else Scope.LOCAL


def ip_of(address: str) -> str:
    """The IP address in `/ip4/…/tcp/…`; empty where there is none."""
    kind, _, rest = address.removeprefix("/").partition("/")
    return rest.partition("/")[0] if kind in {"ip4", "ip6"} else ""


def ports_of(addresses: Iterable[str]) -> tuple[int, ...]:
    """The TCP ports that a node listens at, sorted."""
    found = {address.split("/")[4] for address in addresses if "/tcp/" in address}
    return tuple(sorted(int(port) for port in found if port.isdecimal()))


def _order(ip: str) -> int:
    return list(Scope).index(scope_of(ip))


def _best_first(end: tuple[str, int]) -> tuple[bool, int]:
    outcome, port = end
    return outcome != Outcome.CONNECTED, port


def _seen(trials: Sequence[Trial]) -> str:
    return max((trial.seen_at for trial in trials), key=_order, default="")


def _direct(trial: Trial, addresses: Sequence[str]) -> Finding:
    scope = scope_of(trial.seen_at)
    detail = f"a peer dialled this node at {trial.seen_at} port {trial.port}"
    fix = ""
    if scope == Scope.MACHINE:
        detail += ", from this machine; nobody has tried from further away"
    elif scope == Scope.LOCAL:
        detail += ", from the local network; nobody has tried from further away"
    if _only_loopback(addresses):
        fix = _listen(trial.port)
    return Finding(Verdict.DIRECT, scope, trial.seen_at, detail, fix)


def _outbound(trial: Trial, addresses: Sequence[str]) -> Finding:
    where = f"{trial.seen_at} port {trial.port}"
    match trial.outcome:
        case Outcome.SILENT:
            detail = f"dials to {where} get no answer: a firewall or a router drops them silently"
        case Outcome.WRONG_NODE:
            detail = f"another node answers at {where}: the router forwards the port elsewhere"
        case Outcome.REFUSED:
            detail = f"nobody listens at {where} (connection refused)"
        case _:
            detail = f"a peer could not dial {where}: {trial.outcome}"
    fix = _forward([trial], addresses)
    return Finding(Verdict.OUTBOUND, Scope.NOWHERE, trial.seen_at, detail, fix)


def _forward(trials: Sequence[Trial], addresses: Sequence[str]) -> str:
    """The one thing that would make this node dialled directly."""
    ports = ports_of(addresses) or (0,)
    port = trials[0].port if trials else ports[0]
    if _only_loopback(addresses):
        return _listen(port)
    seen_at = _seen(trials)
    if trials and seen_at in map(ip_of, addresses):
        return f"let TCP port {port} through this machine's firewall: sudo ufw allow {port}/tcp"
    return f"forward TCP port {port} to this machine on the router, and let its firewall pass it"


def _listen(port: int) -> str:
    listen = f"/ip4/0.0.0.0/tcp/{port}"
    return f"it listens on this machine only: dpin node start --listen {listen}"


def _only_loopback(addresses: Sequence[str]) -> bool:
    own = [scope_of(ip_of(address)) for address in addresses if RELAYED not in address]
    return bool(own) and all(scope == Scope.MACHINE for scope in own)

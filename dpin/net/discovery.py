"""Whom to dial next, and when to give up: never, but ever more rarely.

A node starts alone and works alone; in the background it dials validators (all of them, always),
then bootstrap addresses, its anchors and whomever it heard of, until it has enough peers, of which
enough are of its own choice: who comes in cannot keep it from going out. It hears of others by
remembered peers, by asking its peers, who answer with signed records, by presence and by mDNS. Now
and then it tries a stranger, to know more peers that answer than those it needs (a feeler).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.chance import Chance
from dpin.base.ids import NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import Instant, Micros, after, seconds
from dpin.net.address import node_in
from dpin.net.bans import Bans
from dpin.net.dials import BACK_OFF_MAX_VALIDATOR, Dials
from dpin.net.introductions import Introductions, Start
from dpin.net.peers import Peers
from dpin.net.prefix import ip_in

PEERS_WANTED: Final = 16
OUTBOUND_WANTED: Final = 8  # of them, at least so many that this node dialled
FEELER_EVERY: Final = seconds(120)
UNFIT_LASTS: Final = seconds(120)  # then it may have changed its mind
UNFIT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class LearntAddresses:
    """Somebody (presence, mDNS, a person) says that nodes answer here."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """Where this node answers has changed: it is here now, and nowhere else."""

    mine: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DialFailed:
    """A dial came to nothing; the reason is for people."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Blamed:
    """Another machine, or the host, blames this peer, which comes from `ip`."""

    peer: NodeId
    ip: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unfit:
    """A peer that does not belong here: another network's, or of another version."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Woke:
    """Time has jumped (a laptop slept, a clock was set): what was planned is void."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to this address, or one of the others; PeerUp or DialFailed follows."""

    address: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Close all connections to a peer: it is banned, or was only tried."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Refuse:
    """Take no connections from these sites (see `prefix.py`) from now on, and only these."""

    sites: tuple[str, ...]


_Turn = DialFailed | Unfit | Woke
Event = Tick | PeerUp | PeerDown | Received | LearntAddresses | Moved | Blamed | _Turn
Effect = Dial | Drop | Refuse | Send | Wake | Blame


class Discovery:
    """The dialler's state; see `Start` for what it begins with."""

    def __init__(self, start: Start, peers: Peers, bans: Bans) -> None:
        self.peers = peers
        self.bans = bans
        self._me = start.me
        self._chance = Chance(b"discovery" + start.me + start.seed)
        self._introductions = Introductions(start, peers, self._chance)
        self._validators = frozenset(start.validators) - {start.me}
        self._dials = Dials(self._chance, self._validators)
        self._up: dict[NodeId, Instant] = {}  # since when
        self._outbound: dict[NodeId, Instant] = {}  # of them, those that this node dialled
        self._feeler: NodeId | None = None
        self._feel_at = Instant(0)
        self._refused: tuple[str, ...] = ()
        self._unfit: dict[NodeId, Instant] = {}  # until when
        self._wake_at = Instant(0)
        _learn(peers, start.me, start.bootstrap)
        first = [n for n in map(node_in, start.bootstrap) if n is not None]
        self._first = [*start.anchors, *first]

    def step(self, event: Event, now: Instant) -> Sequence[Effect]:
        """See dpin.base.machine.Machine."""
        effects: list[Effect] = list(self._take(event, now))
        effects += self._refuse(now)
        effects += self._introductions.renew(self._up, now)
        if len(self._up) < PEERS_WANTED:
            effects += self._introductions.ask_around(self._up, now)
        effects += self._dial(now)
        effects += self._feel(now)
        return [*effects, *self._wake(now)]

    def anchors(self) -> list[NodeId]:
        """Peers of this node's own choice, those that have stayed longest first."""
        return sorted(self._outbound, key=lambda node: (self._outbound[node], node))

    def _take(self, event: Event, now: Instant) -> Iterable[Effect]:
        match event:
            case PeerUp(peer):
                return self._met(peer, now)
            case PeerDown(peer):
                self._parted(peer, now)
            case Received(peer, payload):
                return self._introductions.heard(peer, payload, self._up, now)
            case LearntAddresses() | Moved():
                return self._addressed(event, now)
            case Blamed():
                return self._blamed(event, now)
            case Tick():
                pass
            case _:
                return self._turned(event, now)
        return ()

    def _turned(self, event: _Turn, now: Instant) -> Iterable[Effect]:
        match event:
            case DialFailed(address):
                self._dials.failed(address, now)
            case Unfit(peer):
                if len(self._unfit) >= UNFIT_MAX:
                    del self._unfit[next(iter(self._unfit))]
                self._unfit[peer] = after(now, UNFIT_LASTS)
                return [Drop(peer)]
            case Woke():
                self._dials = Dials(self._chance, self._validators)
                self._unfit.clear()
                self._wake_at = Instant(0)
            case _:
                assert_never(event)
        return []

    def _met(self, peer: NodeId, now: Instant) -> Iterable[Effect]:
        if self._banned(peer, now):
            return [Drop(peer)]
        dialled = self._dials.answered(peer)
        self.peers.proved(peer, now, dialled)
        self._up[peer] = now
        if dialled is not None and peer == self._feeler:
            self._feeler = None
            return [Drop(peer)]  # It answers: that is all we wanted to know.
        if dialled is not None:
            self._outbound[peer] = now
        return [self._introductions.ask(peer, now)]

    def _addressed(self, event: LearntAddresses | Moved, now: Instant) -> Iterable[Effect]:
        if isinstance(event, Moved):
            return self._introductions.moved(event.mine, self._up, now)
        _learn(self.peers, self._me, event.addresses)
        return []

    def _parted(self, peer: NodeId, now: Instant) -> None:
        since = self._up.pop(peer, None)
        self._outbound.pop(peer, None)
        self._introductions.parted(peer)
        if since is not None:
            # Whoever left at once is dialled like one that never came.
            settled = now - since > BACK_OFF_MAX_VALIDATOR
            self._dials.back_off(peer, now, 0 if settled else 1)

    def _banned(self, node: NodeId, now: Instant) -> bool:
        if self._unfit.get(node, now) > now:
            return True
        known = self.peers.of(node)
        ip = ip_in(known.addresses[0]) if known is not None and known.addresses else ""
        return node not in self._validators and self.bans.banned(node, ip, now)

    def _blamed(self, blamed: Blamed, now: Instant) -> Iterable[Effect]:
        if blamed.peer in self._validators:  # Consensus has its own answer to a lying validator.
            return []
        banned = self.bans.blame(blamed.peer, blamed.ip, blamed.reason, now)
        return [Drop(blamed.peer)] if banned else []

    def _refuse(self, now: Instant) -> Iterable[Effect]:
        sites = tuple(self.bans.sites(now))
        if sites == self._refused:
            return []
        self._refused = sites
        return [Refuse(sites)]

    def _wanted(self, now: Instant) -> list[NodeId]:
        """Whom we miss, the most wanted first."""
        wanted = sorted(self._validators)
        if len(self._up) < PEERS_WANTED or len(self._outbound) < OUTBOUND_WANTED:
            wanted += [*self._first, *self.peers.in_turn(self._outbound)]
        missed = {
            node: None  # A dict keeps the order; a set would not.
            for node in wanted
            if node != self._me and node not in self._up and self.peers.addresses(node)
        }
        return [node for node in missed if not self._banned(node, now)]

    def _dial(self, now: Instant) -> Iterable[Effect]:
        self._dials.expire(now)
        effects: list[Effect] = []
        for node in self._wanted(now):
            if self._dials.full:
                break
            if self._dials.may_begin(node, now):
                effects.append(_begin(self._dials, self.peers, node, now))
        return effects

    def _feel(self, now: Instant) -> Iterable[Effect]:
        """Try a stranger, now and then, where nobody is missed."""
        enough = len(self._outbound) >= OUTBOUND_WANTED and self._dials.idle
        if now < self._feel_at or not enough:
            return []
        self._feel_at = after(now, Micros(FEELER_EVERY // 2 + self._chance.below(FEELER_EVERY)))
        for node in self.peers.strangers():
            away = node != self._me and node not in self._up and self.peers.addresses(node)
            if away and self._dials.may_begin(node, now) and not self._banned(node, now):
                self._feeler = node
                return [_begin(self._dials, self.peers, node, now)]
        return []

    def _wake(self, now: Instant) -> Iterable[Effect]:
        """The next moment at which a Tick alone changes anything; each is asked for once."""
        moments = self._dials.moments(self._wanted(now))
        if self._up and len(self._up) < PEERS_WANTED:
            moments.append(self._introductions.asks_at)
        if self._up:
            moments.append(self._introductions.renews_at)
        if len(self._outbound) >= OUTBOUND_WANTED:
            moments.append(self._feel_at)
        soonest = min((at for at in moments if at > now), default=None)
        if soonest is None or now < self._wake_at <= soonest:
            return []
        self._wake_at = soonest
        return [Wake(soonest)]


def _begin(dials: Dials, peers: Peers, node: NodeId, now: Instant) -> Dial:
    address, *others = dials.begin(node, peers.addresses(node), now)
    return Dial(address, tuple(others))


def _learn(peers: Peers, me: NodeId, addresses: Iterable[str]) -> None:
    for address in addresses:
        node = node_in(address)
        if node is not None and node != me:
            peers.learn(node, address)

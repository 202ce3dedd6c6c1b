"""Whom to dial next, and when to give up: never, but ever more rarely.

A node starts alone and works alone; in the background it dials validators (all of them, always),
then bootstrap addresses and whomever it heard of, until it has enough peers. It hears of others by
remembered peers, by asking its peers, by presence and by mDNS; all of that is hearsay.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.chance import Chance
from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import Instant, Micros, after, seconds
from dpin.net.address import by_ease, node_in, to_tell
from dpin.net.peers import ADDRESSES_PER_PEER_MAX, Peers

PEERS_WANTED: Final = 16
DIALS_MAX: Final = 8
DIAL_EXPIRES: Final = seconds(30)
BACK_OFF_FIRST: Final = seconds(1)
BACK_OFF_MAX: Final = seconds(120)
BACK_OFF_MAX_VALIDATOR: Final = seconds(10)
ATTEMPTS_MAX: Final = 2048
ASK_EVERY: Final = seconds(60)
ANSWER_EVERY: Final = seconds(10)
TOLD_MAX: Final = 16
EXCHANGE_BYTES_MAX: Final = 8 << 10


class AskPeers(Wire, frozen=True, tag=1):
    """Whom do you know? I answer at these addresses."""

    mine: tuple[str, ...]


class TellPeers(Wire, frozen=True, tag=2):
    """Peers of mine, by address."""

    others: tuple[str, ...]


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
    """Another machine, or the host, blames this peer."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to this address, or one of the others; PeerUp or DialFailed follows."""

    address: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Close all connections to a peer: it is banned."""

    peer: NodeId


Exchange = AskPeers | TellPeers
Event = Tick | PeerUp | PeerDown | Received | LearntAddresses | Moved | DialFailed | Blamed
Effect = Dial | Drop | Send | Wake | Blame


@dataclass(frozen=True, slots=True)
class Start:
    """What a node knows before it has met anybody."""

    me: NodeId
    mine: tuple[str, ...]  # where this node answers
    bootstrap: tuple[str, ...] = ()
    validators: tuple[NodeId, ...] = ()
    seed: bytes = b""


@dataclass(slots=True)
class _Attempt:
    failures: int
    not_before: Instant
    turn: int = 0  # which of the node's addresses is next


@dataclass(frozen=True, slots=True)
class _Dialling:
    address: str
    alone: bool  # no other address is tried at the same time
    until: Instant


class _Attempts:
    """When each missing node may be dialled again."""

    def __init__(self, chance: Chance, validators: frozenset[NodeId]) -> None:
        self.of: dict[NodeId, _Attempt] = {}
        self._chance = chance
        self._validators = validators

    def __len__(self) -> int:
        return len(self.of)

    def note(self, node: NodeId, now: Instant, failures: int) -> None:
        """A dial failed, or succeeded: the next one waits longer, or not at all."""
        attempt = self.of.get(node)
        if attempt is None:
            if len(self.of) >= ATTEMPTS_MAX:
                del self.of[min(self.of, key=lambda n: self.of[n].not_before)]
            attempt = self.of[node] = _Attempt(0, now)
        attempt.failures = attempt.failures + 1 if failures else 0
        attempt.turn += failures
        most = BACK_OFF_MAX_VALIDATOR if node in self._validators else BACK_OFF_MAX
        wait = min(most, BACK_OFF_FIRST << min(attempt.failures, 10)) if failures else 0
        jitter = self._chance.below(max(1, wait // 2))
        attempt.not_before = after(now, Micros(wait // 2 + jitter))


class Discovery:
    """The dialler's state; see `Start` for what it begins with."""

    def __init__(self, start: Start, peers: Peers) -> None:
        self.peers = peers
        self._start = start
        self._mine = to_tell(start.mine, ADDRESSES_PER_PEER_MAX)
        self._chance = Chance(b"discovery" + start.me + start.seed)
        self._validators = frozenset(start.validators) - {start.me}
        self._up: dict[NodeId, Instant] = {}  # since when
        self._dialling: dict[NodeId, _Dialling] = {}
        self._attempts = _Attempts(self._chance, self._validators)
        self._asked: dict[NodeId, Instant] = {}
        self._answered: dict[NodeId, Instant] = {}
        self._ask_at = Instant(0)
        self._wake_at = Instant(0)
        _learn(peers, start.me, start.bootstrap)
        self._bootstrap = [n for n in map(node_in, start.bootstrap) if n is not None]

    def step(self, event: Event, now: Instant) -> Sequence[Effect]:
        """See dpin.base.machine.Machine."""
        effects: list[Effect] = list(self._take(event, now))
        effects += self._ask_around(now)
        effects += self._dial(now)
        return [*effects, *self._wake(now)]

    def _take(self, event: Event, now: Instant) -> Iterable[Effect]:
        match event:
            case PeerUp(peer):
                return self._met(peer, now)
            case PeerDown(peer):
                self._parted(peer, now)
            case Received(peer, payload):
                return self._exchange(peer, payload, now)
            case LearntAddresses() | Moved():
                return self._addressed(event, now)
            case DialFailed(address):
                self._failed(address, now)
            case Blamed(peer):
                return self._blamed(peer, now)
            case Tick():
                pass
            case _:
                assert_never(event)
        return ()

    def _met(self, peer: NodeId, now: Instant) -> Iterable[Effect]:
        if self.peers.banned(peer, now):
            return [Drop(peer)]
        dialling = self._dialling.pop(peer, None)
        self.peers.proved(peer, now, dialling.address if dialling and dialling.alone else None)
        self._attempts.of.pop(peer, None)
        self._up[peer] = now
        self._asked[peer] = now
        return [Send(peer, encode(AskPeers(self._mine)))]

    def _addressed(self, event: LearntAddresses | Moved, now: Instant) -> Iterable[Effect]:
        """Own addresses are told to all peers: a question carries those of the asker."""
        if isinstance(event, LearntAddresses):
            _learn(self.peers, self._start.me, event.addresses)
            return []
        self._mine = to_tell(event.mine, ADDRESSES_PER_PEER_MAX)
        peers = sorted(self._up)
        self._asked.update(dict.fromkeys(peers, now))
        return [Send(peer, encode(AskPeers(self._mine))) for peer in peers]

    def _parted(self, peer: NodeId, now: Instant) -> None:
        since = self._up.pop(peer, None)
        self._asked.pop(peer, None)
        self._answered.pop(peer, None)
        if since is not None:
            # Whoever left at once is dialled like one that never came.
            settled = now - since > BACK_OFF_MAX_VALIDATOR
            self._attempts.note(peer, now, 0 if settled else 1)

    def _exchange(self, peer: NodeId, payload: bytes, now: Instant) -> Iterable[Effect]:
        try:
            message: Exchange = decode(Exchange, payload, EXCHANGE_BYTES_MAX)
        except PeerFault as fault:
            return [Blame(peer, str(fault))]
        match message:
            case AskPeers(mine):
                return self._answer(peer, mine, now)
            case TellPeers(others):
                return self._told(peer, others)
            case _:
                assert_never(message)

    def _answer(self, peer: NodeId, mine: tuple[str, ...], now: Instant) -> Iterable[Effect]:
        if len(mine) > ADDRESSES_PER_PEER_MAX or any(node_in(a) != peer for a in mine):
            return [Blame(peer, "claims addresses that are not its own")]
        for address in reversed(mine):
            self.peers.learn(peer, address)
        self.peers.proved(peer, now)
        last = self._answered.get(peer)
        if peer not in self._up or (last is not None and now < after(last, ANSWER_EVERY)):
            return []
        self._answered[peer] = now
        known = sorted(other for other in self._up if other != peer and self.peers.addresses(other))
        told = self._chance.chosen(known, TOLD_MAX)
        return [Send(peer, encode(TellPeers(tuple(self.peers.addresses(o)[0] for o in told))))]

    def _told(self, peer: NodeId, others: tuple[str, ...]) -> Iterable[Effect]:
        if self._asked.pop(peer, None) is None:
            return [Blame(peer, "told of peers without being asked")]
        if len(others) > TOLD_MAX or any(node_in(address) is None for address in others):
            return [Blame(peer, "told of peers at what are no addresses")]
        _learn(self.peers, self._start.me, others)
        return []

    def _failed(self, address: str, now: Instant) -> None:
        node = node_in(address)
        dialling = self._dialling.get(node) if node is not None else None
        if node is not None and dialling is not None and dialling.address == address:
            del self._dialling[node]
            self._attempts.note(node, now, 1)

    def _blamed(self, peer: NodeId, now: Instant) -> Iterable[Effect]:
        if peer in self._validators:  # Consensus has its own answer to a lying validator.
            return []
        return [Drop(peer)] if self.peers.blame(peer, now) else []

    def _ask_around(self, now: Instant) -> Iterable[Effect]:
        if now < self._ask_at or not self._up or len(self._up) >= PEERS_WANTED:
            return []
        self._ask_at = after(now, ASK_EVERY)
        peer = self._chance.chosen(sorted(self._up), 1)[0]
        if peer in self._asked:
            return []
        self._asked[peer] = now
        return [Send(peer, encode(AskPeers(self._mine)))]

    def _wanted(self, now: Instant) -> list[NodeId]:
        """Whom we miss, the most wanted first."""
        wanted = sorted(self._validators)
        if len(self._up) < PEERS_WANTED:
            wanted += [*self._bootstrap, *self.peers.nodes()]
        missed = {
            node: None  # A dict keeps the order; a set would not.
            for node in wanted
            if node != self._start.me
            and node not in self._up
            and self.peers.addresses(node)
            and not self.peers.banned(node, now)
        }
        return list(missed)

    def _dial(self, now: Instant) -> Iterable[Effect]:
        for node in [n for n, dialling in self._dialling.items() if dialling.until <= now]:
            del self._dialling[node]
            self._attempts.note(node, now, 1)
        effects: list[Effect] = []
        for node in self._wanted(now):
            attempt = self._attempts.of.get(node)
            if len(self._dialling) >= DIALS_MAX:
                break
            if node in self._dialling or (attempt is not None and attempt.not_before > now):
                continue
            addresses = by_ease(self.peers.addresses(node))
            turn = attempt.turn % len(addresses) if attempt else 0
            address, *others = (*addresses[turn:], *addresses[:turn])
            self._dialling[node] = _Dialling(address, not others, after(now, DIAL_EXPIRES))
            effects.append(Dial(address, tuple(others)))
        return effects

    def _wake(self, now: Instant) -> Iterable[Effect]:
        """The next moment at which a Tick alone changes anything; each is asked for once."""
        moments = [dialling.until for dialling in self._dialling.values()]
        if len(self._dialling) < DIALS_MAX:
            waiting = (self._attempts.of.get(node) for node in self._wanted(now))
            moments += [attempt.not_before for attempt in waiting if attempt is not None]
        if self._up and len(self._up) < PEERS_WANTED:
            moments.append(self._ask_at)
        soonest = min((at for at in moments if at > now), default=None)
        if soonest is None or now < self._wake_at <= soonest:
            return []
        self._wake_at = soonest
        return [Wake(soonest)]


def _learn(peers: Peers, me: NodeId, addresses: Iterable[str]) -> None:
    for address in addresses:
        node = node_in(address)
        if node is not None and node != me:
            peers.learn(node, address)

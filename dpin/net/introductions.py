"""Peers tell each other of peers: a question and an answer, all addresses signed by their owners.

An answer goes to whoever asks over a connection, and so has proved its address, at most once in a
while; what it holds is what others signed. A false record is a fault of who passed it on.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.chance import Chance
from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, ChainId, NodeId
from dpin.base.machine import Blame, Send
from dpin.base.units import MICROS_PER_MILLI, Instant, after, seconds
from dpin.net.address import to_tell
from dpin.net.peers import ADDRESSES_PER_PEER_MAX, Peers, Word
from dpin.net.records import RECORD_BYTES_MAX, Record, read_record, write_addresses

ASK_EVERY: Final = seconds(60)
ANSWER_EVERY: Final = seconds(10)
RENEW_EVERY: Final = seconds(1800)  # the own record: it holds for an hour
TOLD_MAX: Final = 16
EXCHANGE_BYTES_MAX: Final = TOLD_MAX * RECORD_BYTES_MAX + 1024
NO_CHAIN: Final = ChainId(bytes(ID_BYTES))


class AskPeers(Wire, frozen=True, tag=1):
    """Whom do you know? Here is my own record; empty where I answer nowhere."""

    mine: bytes


class TellPeers(Wire, frozen=True, tag=2):
    """Peers of mine, by their records."""

    others: tuple[bytes, ...]


Exchange = AskPeers | TellPeers


@dataclass(frozen=True, slots=True)
class Start:
    """What a node knows before it has met anybody."""

    key: SigningKey
    mine: tuple[str, ...]  # where this node answers
    chain: ChainId = NO_CHAIN
    bootstrap: tuple[str, ...] = ()
    validators: tuple[NodeId, ...] = ()
    anchors: tuple[NodeId, ...] = ()  # to whom it was connected before it was restarted
    seed: bytes = b""

    @property
    def me(self) -> NodeId:
        """The node itself."""
        return self.key.node_id


class Introductions:
    """Who was asked, who was answered, and the node's own record."""

    def __init__(self, start: Start, peers: Peers, chance: Chance) -> None:
        self.asks_at = Instant(0)  # the next peer, where there are too few
        self.renews_at = Instant(0)
        self._start = start
        self._peers = peers
        self._chance = chance
        self._mine = start.mine
        self._asked: dict[NodeId, Instant] = {}
        self._answered: dict[NodeId, Instant] = {}

    def _question(self, now: Instant) -> bytes:
        told = to_tell(self._mine, ADDRESSES_PER_PEER_MAX)
        if not told:
            return encode(AskPeers(b""))
        start = self._start
        return encode(AskPeers(write_addresses(start.key, start.chain, told, now).raw))

    def ask(self, peer: NodeId, now: Instant) -> Send:
        """Ask a peer for others, and tell it where this node answers."""
        self._asked[peer] = now
        return Send(peer, self._question(now))

    def moved(self, mine: tuple[str, ...], up: Collection[NodeId], now: Instant) -> list[Send]:
        """Where the node answers has changed: all peers are told, by a question."""
        self._mine = mine
        self.renews_at = after(now, RENEW_EVERY)
        return [self.ask(peer, now) for peer in sorted(up)]

    def renew(self, up: Collection[NodeId], now: Instant) -> list[Send]:
        """Tell all peers again where this node answers, before the record that they have ends."""
        if now < self.renews_at:
            return []
        first = self.renews_at == Instant(0)
        self.renews_at = after(now, RENEW_EVERY)
        return [] if first else self.moved(self._mine, up, now)

    def parted(self, peer: NodeId) -> None:
        """A peer is gone."""
        self._asked.pop(peer, None)
        self._answered.pop(peer, None)

    def ask_around(self, up: Collection[NodeId], now: Instant) -> list[Send]:
        """Ask one more peer, at most once in a while."""
        if now < self.asks_at or not up:
            return []
        self.asks_at = after(now, ASK_EVERY)
        peer = self._chance.chosen(sorted(up), 1)[0]
        return [] if peer in self._asked else [self.ask(peer, now)]

    def heard(
        self, peer: NodeId, payload: bytes, up: Collection[NodeId], now: Instant
    ) -> Iterable[Send | Blame]:
        """A question or an answer of a peer."""
        try:
            message: Exchange = decode(Exchange, payload, EXCHANGE_BYTES_MAX)
            match message:
                case AskPeers(mine):
                    return self._answer(peer, mine, up, now)
                case TellPeers(others):
                    self._told(peer, others, now)
                    return []
                case _:
                    assert_never(message)
        except PeerFault as fault:
            return [Blame(peer, str(fault))]

    def _answer(
        self, peer: NodeId, mine: bytes, up: Collection[NodeId], now: Instant
    ) -> Iterable[Send]:
        record = self._record(mine) if mine else None
        if record is not None and record.signer != peer:
            raise PeerFault("claims a record that is not its own")
        if record is not None:
            self._learn(record, now)
        last = self._answered.get(peer)
        if peer not in up or (last is not None and now < after(last, ANSWER_EVERY)):
            return []
        self._answered[peer] = now
        known = [k for other in sorted(up) if other != peer and (k := self._peers.of(other))]
        words = [k.word.raw for k in known if k.word and k.word.until > now // MICROS_PER_MILLI]
        return [Send(peer, encode(TellPeers(tuple(self._chance.chosen(words, TOLD_MAX)))))]

    def _record(self, raw: bytes) -> Record:
        record = read_record(self._start.chain, raw)
        if not record.addresses:
            raise PeerFault("a record of something else than addresses")
        return record

    def _learn(self, record: Record, now: Instant) -> None:
        if record.signer != self._start.me and record.fresh(now):
            said = Word(record.signer, record.addresses, record.expires, record.raw)
            self._peers.take_word(said)

    def _told(self, peer: NodeId, others: tuple[bytes, ...], now: Instant) -> None:
        if self._asked.pop(peer, None) is None:
            raise PeerFault("told of peers without being asked")
        if len(others) > TOLD_MAX:
            raise PeerFault("told of too many peers at once")
        for record in [self._record(raw) for raw in others]:
            self._learn(record, now)

"""A node among others: network events go to who reads them, and somebody is always dialled."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import structlog
import trio

from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import ChainId, NodeId, short
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import MICROS_PER_SECOND, Instant, seconds
from dpin.net.address import node_in, to_tell
from dpin.net.ask import Status
from dpin.net.bans import Bans
from dpin.net.discovery import (
    Blamed,
    Dial,
    Discovery,
    Drop,
    LearntAddresses,
    Moved,
    Refuse,
    Unfit,
)
from dpin.net.discovery import Effect as DiscoveryEffect
from dpin.net.discovery import Event as DiscoveryEvent
from dpin.net.envelope import Service, open_envelope, prefix, wrap
from dpin.net.gauge import LOOK_EVERY
from dpin.net.introductions import Start
from dpin.net.memory import read, recall, written
from dpin.net.network import (
    Event,
    Found,
    Gossip,
    Misbehaved,
    Network,
    Readdressed,
)
from dpin.net.peers import Peers
from dpin.node.home import Home, write_peers
from dpin.node.inquirer import Around, Inquirer
from dpin.node.kaddoor import Bearings
from dpin.node.presence import (
    ADDRESSES_MAX,
    PRESENCE_EVERY,
    Presence,
    announce,
    heard,
    topic_of,
)
from dpin.node.reaching import Reaching
from dpin.node.seen import Seen
from dpin.node.watch import Watch
from dpin.node.whereabouts import Whereabouts

SALT_TAG: Final = "dpin/peer-table/v1"
DELAY_MAX: Final = seconds(60)  # of an announcement; above it a clock is off
REMEMBER_EVERY_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 5.0  # after a change of addresses, before everybody is told
REMEMBER_AFTER_SECONDS: Final = 0.5  # of meeting somebody: a crash soon after must not undo it

log = structlog.get_logger()
Tell = Callable[[PeerUp | PeerDown | Received], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Self:
    """What a node says of itself."""

    key: SigningKey
    chain: ChainId
    name: str
    version: str
    validators: tuple[NodeId, ...]
    bootstrap: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ties:
    """What a neighbourhood is tied to."""

    host: Network
    home: Home
    seen: Seen
    now: Callable[[], Instant]
    tell: Tell
    status: Callable[[], Status]


class Neighbourhood:
    """Discovery and presence, and the way of every network event to its reader."""

    def __init__(self, me: Self, ties: Ties, nursery: trio.Nursery) -> None:
        self._me = me
        self._ties = ties
        self._host = ties.host
        self._now = ties.now
        self._nursery = nursery
        self.discovery = _discovery(me, ties)
        self._prefix = prefix(me.chain, Service.PEERS)
        self._reaching = Reaching(ties.host, ties.seen.tally, ties.now, self.find)
        bearings = Bearings(
            host=ties.host,
            key=me.key,
            chain=me.chain,
            now=ties.now,
            known=self.discovery.peers.addresses,
            reached=self._reaching.reached,
            dial=self._dial,
            reach=self._reaching.reach,
            blame=self.blame,
        )
        self.whereabouts = Whereabouts(bearings, nursery)
        self._memory = _Memory(self.discovery, ties.home)
        around = Around(
            chain=me.chain,
            version=me.version,
            host=ties.host,
            seen=ties.seen,
            now=ties.now,
            status=ties.status,
            leave=self._leave,
        )
        self.inquirer = Inquirer(around, nursery)
        self._watch = Watch(ties.host, ties.now, self.inquirer.check, self.find)
        self._news = trio.Event()  # about where this node answers

    def start(self) -> None:
        """Begin all tasks; the network's end raises Unavailable out of the nursery."""
        self.inquirer.serve()
        self.inquirer.look_after()
        for task in (
            self._listen,
            self._announce,
            partial(_measure, self._ties),
            self._memory.keep,
            self._watch.run,
        ):
            self._nursery.start_soon(task)
        self.whereabouts.start()
        self.find(Tick())

    async def _listen(self) -> None:
        """Network events to the machines that want them."""
        await self._host.subscribe(topic_of(self._me.chain))
        while True:
            try:
                event: Event | None = await self._host.events.receive()
            except trio.EndOfChannel:
                raise Unavailable("the network stopped") from None
            while event is not None:
                await self._take(event)
                event = _at_hand(self._host)

    async def _take(self, event: Event) -> None:
        match event:
            case PeerUp() | PeerDown():
                self._moved(event)
                self.whereabouts.takes(event)
                await self._ties.tell(event)
            case Received(peer, payload):
                if payload.startswith(self._prefix):
                    self._exchanged(peer, payload)
                elif not self.whereabouts.takes(event):
                    await self._ties.tell(event)
            case Gossip(peer, _, payload):
                self._heard(peer, payload)
            case Found() | Readdressed():
                self._addressed(event)
            case Misbehaved(peer, reason):
                self.blame(peer, reason)
            case _:
                assert_never(event)

    def _moved(self, event: PeerUp | PeerDown) -> None:
        up = isinstance(event, PeerUp)
        log.info("peer", peer=short(event.peer), up=up)
        self.find(event)
        if up:
            self._memory.met()
            self.inquirer.met(event.peer)
        else:
            self._reaching.parted(event.peer)

    def _addressed(self, event: Found | Readdressed) -> None:
        if isinstance(event, Found):
            self.find(LearntAddresses((event.address,)))
            return
        log.info("readdressed", addresses=event.addresses)
        self.find(Moved(event.addresses))
        self.whereabouts.moved()
        self._news.set()

    def _exchanged(self, peer: NodeId, payload: bytes) -> None:
        """Peer exchange is for discovery, all else for the machines, who open it themselves."""
        try:
            envelope = open_envelope(self._me.chain, payload)
        except PeerFault as fault:
            self.blame(peer, str(fault))
            return
        self.find(Received(peer, envelope.body))

    def _heard(self, peer: NodeId, payload: bytes) -> None:
        try:
            signer, presence = heard(self._me.chain, payload)
        except PeerFault as fault:
            self.blame(peer, str(fault))
            return
        if signer != peer:  # Keys are free: one peer could crowd out all that others have said.
            self.blame(peer, "announced in the name of another")
            return
        mine = tuple(address for address in presence.addresses if node_in(address) == signer)
        self.find(LearntAddresses(mine))
        now = self._now()
        met = self._ties.seen.met(signer)
        met.presence, met.seen = presence, now
        if 0 <= now - presence.said_at <= DELAY_MAX:  # Else a clock is off, and nothing is known.
            self._ties.seen.tally.announcements.add(now - presence.said_at)

    def blame(self, peer: NodeId, reason: str) -> None:
        """A peer broke a rule, as a machine or the network says."""
        log.warning("peer-blamed", peer=short(peer), reason=reason)
        met = self._ties.seen.met(peer)
        met.blames, met.reason = met.blames + 1, reason
        self.find(Blamed(peer, self._host.door.ips.get(peer, ""), reason))

    def find(self, event: DiscoveryEvent) -> None:
        """Tell discovery what has happened, and do what it says."""
        for effect in self.discovery.step(event, self._now()):
            self._discovered(effect)

    def _discovered(self, effect: DiscoveryEffect) -> None:
        match effect:
            case Dial(address, others):
                self._nursery.start_soon(self._dial, address, *others)
            case Drop(peer):
                self._host.disconnect(peer)
            case Refuse(sites):
                log.warning("sites-refused", sites=sites)
                self._host.door.refuse(sites)
            case Send(peer, body):
                payload = wrap(self._me.chain, Service.PEERS, body)
                self._host.send(peer, payload)
            case Wake(at):
                self._nursery.start_soon(self._find_at, at)
            case Blame(peer, reason):
                self.blame(peer, reason)
            case _:
                assert_never(effect)

    async def _find_at(self, at: Instant) -> None:
        await trio.sleep(max(0, at - self._now()) / MICROS_PER_SECOND)
        self.find(Tick())

    async def _dial(self, address: str, *others: str) -> None:
        """Dial, and look for a peer that does not answer where it did."""
        if not await self._reaching.reach((address, *others)):
            addresses = await self.whereabouts.seek(node_in(address))
            if addresses:
                log.info("found-again", address=address, addresses=addresses)
                self.find(LearntAddresses(addresses))

    def _leave(self, peer: NodeId, reason: str) -> None:
        """A peer is not of this network, or cannot be understood."""
        log.warning("peer-left", peer=short(peer), reason=reason)
        self._ties.seen.met(peer).reason = reason
        self.find(Unfit(peer))

    async def _announce(self) -> None:
        """Presence by gossip: every half a minute, and when this node answers elsewhere."""
        host = self._host
        while True:
            mine = to_tell(host.addresses, ADDRESSES_MAX)
            line = self._ties.seen.line
            presence = Presence(
                name=self._me.name,
                version=self._me.version,
                addresses=mine,
                said_at=self._now(),
                up=line.up.rate,
                down=line.down.rate,
            )
            payload = announce(self._me.key, self._me.chain, presence)
            await host.publish(topic_of(self._me.chain), payload)
            with trio.move_on_after(PRESENCE_EVERY / MICROS_PER_SECOND):
                await self._news.wait()
                await trio.sleep(SETTLE_SECONDS)
            self._news = trio.Event()


class _Memory:
    """What is known of peers, for the next start."""

    def __init__(self, discovery: Discovery, home: Home) -> None:
        self._discovery = discovery
        self._home = home
        self._met = trio.Event()  # somebody, since the file was last written

    def met(self) -> None:
        """Somebody new is there."""
        self._met.set()

    async def keep(self) -> None:
        """Write it down soon after meeting one, and now and then."""
        while True:
            with trio.move_on_after(REMEMBER_EVERY_SECONDS):
                await self._met.wait()
            self._met = trio.Event()
            await trio.sleep(REMEMBER_AFTER_SECONDS)
            found = self._discovery
            memory = written(found.peers, found.bans, found.anchors())
            await trio.to_thread.run_sync(write_peers, self._home, memory)


async def _measure(ties: Ties) -> None:
    """How fast blobs come and go, over sockets and over streams."""
    line = ties.seen.line
    while True:
        traffic, now = ties.host.traffic().values(), ties.now()
        line.up.look(sum(one.bulk_out + one.blob_out for one in traffic), now)
        line.down.look(sum(one.bulk_in + one.blob_in for one in traffic), now)
        await trio.sleep(LOOK_EVERY / MICROS_PER_SECOND)


def _at_hand(host: Network) -> Event | None:
    """One more event that need not be waited for."""
    try:
        return host.events.receive_nowait()
    except (trio.WouldBlock, trio.EndOfChannel):
        return None


def _discovery(me: Self, ties: Ties) -> Discovery:
    """The dialler with what it knew in the last run; a damaged file is a start without that."""
    salt = me.key.sign(SALT_TAG, me.chain, digest(SALT_TAG, b""))  # Nobody else can know it.
    peers, bans, anchors = Peers(salt), Bans(), list[NodeId]()
    with suppress(FileNotFoundError, PeerFault):
        anchors = recall(read(ties.home.peers.read_bytes()), peers, bans)
    start = Start(
        key=me.key,
        mine=tuple(ties.host.addresses),
        chain=me.chain,
        bootstrap=me.bootstrap,
        validators=me.validators,
        anchors=tuple(anchors),
        seed=ties.now().to_bytes(8),
    )
    return Discovery(start, peers, bans)

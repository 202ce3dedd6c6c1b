"""Where nodes answer and who has a blob, by the directory that all nodes keep together."""

from dataclasses import dataclass, field
from typing import Final, assert_never

import structlog
import trio

from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, NodeId, short
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.net.address import to_tell
from dpin.net.directory import (
    Announce,
    Announced,
    Approach,
    Directory,
    Effect,
    Event,
    Find,
    Found,
)
from dpin.net.envelope import Service, open_envelope, prefix, wrap
from dpin.net.kadwire import Contact
from dpin.net.peers import ADDRESSES_PER_PEER_MAX
from dpin.net.records import Key, Record, blob_key, node_key, write_addresses, write_provider
from dpin.node.copies import By, Copy
from dpin.node.kadcare import KadCare
from dpin.node.kaddoor import Bearings, KadDoor

ANNOUNCE_SECONDS: Final = 1200.0  # a third of a record's life
SEEK_SECONDS: Final = 30.0  # between two questions about one missing peer
SEEK_FAR_SECONDS: Final = 600.0  # the same, to peers that have to be dialled for it
FIRST_SECONDS: Final = 3.0  # after the start, and after meeting somebody new
PROVIDED_MAX: Final = 256  # blobs that this node tells of; the newest
PROVIDE_PAUSE_SECONDS: Final = 0.05
SOURCES_MAX: Final = 8

log = structlog.get_logger()


@dataclass
class _Search:
    ended: trio.Event = field(default_factory=trio.Event)
    records: tuple[Record, ...] = ()


class Whereabouts:
    """Runs the directory of one node, and asks it things."""

    def __init__(self, bearings: Bearings, nursery: trio.Nursery) -> None:
        self._by = bearings
        self._nursery = nursery
        self.directory = Directory(bearings.key.node_id, bearings.chain, bearings.known)
        self._kad = KadDoor(bearings, self.directory.keeper)
        self.care = KadCare(bearings, self._kad, self.directory.keeper)
        self._prefix = prefix(bearings.chain, Service.DIRECTORY)
        self._searches: dict[Key, _Search] = {}
        self.provided: dict[BlobId, None] = {}  # in the order in which they came
        self._sought: dict[NodeId, float] = {}  # when a missing peer was last asked for
        self._sought_far: dict[NodeId, float] = {}  # the same, of peers that were dialled for it
        self._news = trio.Event()

    def start(self) -> None:
        """Answer by Kad-DHT; tell others where this node is and what it has, again and again."""
        self._kad.serve()
        for task in (self._announce, self.care.explore, self.care.publish):
            self._nursery.start_soon(task)

    def takes(self, event: PeerUp | PeerDown | Received) -> bool:
        """Whether a network event is for the directory alone; it hears of all peers."""
        if isinstance(event, Received):
            if not event.payload.startswith(self._prefix):
                return False
            try:
                body = open_envelope(self._by.chain, event.payload).body
            except PeerFault as fault:
                self._by.blame(event.peer, str(fault))
                return True
            self._step(Received(event.peer, body))
            return True
        self._step(event)
        if isinstance(event, PeerUp):
            self.moved()
        return False

    def moved(self) -> None:
        """Where it answers has changed, or somebody has come who should know."""
        self._news.set()

    def provide(self, blob: BlobId) -> None:
        """From now on it gives a blob to everybody."""
        self.provided.pop(blob, None)
        self.provided[blob] = None
        while len(self.provided) > PROVIDED_MAX:
            del self.provided[next(iter(self.provided))]
        self.care.provide(blob)
        self._tell_of(blob)

    async def addresses(self, node: NodeId, *, far: bool = True) -> tuple[str, ...]:
        """Where a node says that it answers; none where nobody knows.

        Not `far`: nobody is dialled to be asked.
        """
        for record in await self._find(node_key(node)):
            if record.signer == node:
                return record.addresses
        return await self._kad.addresses(node, far=far)

    async def seek(self, node: NodeId | None) -> tuple[str, ...]:
        """As `addresses`, of a peer that does not answer where it did; not too often."""
        now = trio.current_time()
        self._sought = {other: at for other, at in self._sought.items() if at > now - SEEK_SECONDS}
        self._sought_far = {
            other: at for other, at in self._sought_far.items() if at > now - SEEK_FAR_SECONDS
        }
        if node is None or node in self._sought or not self._by.host.peers():
            return ()
        self._sought[node] = now
        far = node not in self._sought_far
        if far:
            self._sought_far[node] = now
        return await self.addresses(node, far=far)

    async def sources(self, blob: BlobId) -> tuple[NodeId, ...]:
        """Connected peers that say they have a blob, after dialling those that are not."""
        me = self._by.key.node_id
        records = await self._find(blob_key(blob))
        said = [Contact(record.signer, record.addresses) for record in records]
        others = [contact for contact in said if contact.node != me]
        found = (others or await self._kad.providers(blob))[:SOURCES_MAX]
        async with trio.open_nursery() as nursery:
            for contact in found:
                nursery.start_soon(self._meet, contact)
        here = set(self._by.host.peers())
        return tuple(contact.node for contact in found if contact.node in here)

    async def _meet(self, contact: Contact) -> None:
        if contact.node not in self._by.host.peers():
            for address in (contact.addresses or await self.addresses(contact.node))[:1]:
                await self._by.dial(address)

    async def _find(self, key: Key) -> tuple[Record, ...]:
        search = self._searches.get(key)
        if search is None:
            search = self._searches[key] = _Search()
            self._step(Find(key))
        await search.ended.wait()
        return search.records

    # --- telling others ---

    async def _announce(self) -> None:
        while True:
            await trio.sleep(FIRST_SECONDS)
            self._news = trio.Event()
            host, key, chain = self._by.host, self._by.key, self._by.chain
            mine = to_tell(host.addresses, ADDRESSES_PER_PEER_MAX)
            if mine:
                self._step(Announce(write_addresses(key, chain, mine, self._by.now())))
            for blob in list(self.provided):
                await trio.sleep(PROVIDE_PAUSE_SECONDS)
                self._tell_of(blob)
            with trio.move_on_after(ANNOUNCE_SECONDS):
                await self._news.wait()

    def _tell_of(self, blob: BlobId) -> None:
        by = self._by
        self._step(Announce(write_provider(by.key, by.chain, blob, by.now())))

    # --- the machine ---

    def _step(self, event: Event) -> None:
        for effect in self.directory.step(event, self._by.now()):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(peer, body):
                self._by.host.send(peer, wrap(self._by.chain, Service.DIRECTORY, body))
            case Wake(at):
                self._nursery.start_soon(self._wake, at)
            case Blame(peer, reason):
                self._by.blame(peer, reason)
            case Approach(address):
                self._nursery.start_soon(self._by.dial, address)
            case Found(key, records):
                search = self._searches.pop(key, None)
                if search is not None:
                    search.records = records
                    search.ended.set()
            case Announced(key, copies):
                self.care.copies.note(Copy(key, By.MESSAGES, copies, self._by.now()))
                log.debug("announced", key=short(key), copies=copies)
            case _:
                assert_never(effect)

    async def _wake(self, at: Instant) -> None:
        await trio.sleep(max(0, at - self._by.now()) / MICROS_PER_SECOND)
        self._step(Tick())

"""The only loop: feed the peer machine, perform its effects. The one place where shells meet.

Law 1 lives here: records are appended as they come; what a batch with a sync Store wants to do
outside waits until the writer has made the log durable, and later batches wait behind it: else one
of them could serve an own block that a crash may still take back. The loop itself never waits.
"""

import gc
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final, assert_never

import structlog
import trio

from dpin.base.crypto import SigningKey, check_edge_cases
from dpin.base.errors import Unavailable
from dpin.base.machine import Blame, Preserve, Roll, Send, Store, Tick, Wake
from dpin.base.units import MICROS_PER_SECOND, NEVER, Instant
from dpin.compute.task import Probe as ProbeCommand
from dpin.compute.task import Probed
from dpin.compute.work import Dismiss, Hire, Order, WorkEffect
from dpin.ledger.genesis import chain_id
from dpin.ledger.identity import WantChain, WantSigner
from dpin.ledger.inquest import Dump
from dpin.ledger.offload import CheckSignatures
from dpin.ledger.pledges import Pledged
from dpin.ledger.replica import Applied, Diverged, Resumed, Silenced
from dpin.ledger.wishes import Outcome
from dpin.market.chronicle import Deed
from dpin.market.provider import Pinned, Probe
from dpin.market.story import Note
from dpin.net.address import at_last_ports
from dpin.net.bulk import BulkPlane, open_bulk
from dpin.net.host import HostOptions
from dpin.net.kad import kad_protocol
from dpin.net.lasting import LastingHost, open_lasting
from dpin.net.reach import Plan as Routes
from dpin.node.bulkports import bulk_options
from dpin.node.bulletin import Bulletin
from dpin.node.checkers import Checkers, checkers_for, command_for
from dpin.node.choosing import choice_of
from dpin.node.clock import Clock
from dpin.node.control import Control
from dpin.node.courier import Courier
from dpin.node.desk import Desk
from dpin.node.foreman import Foreman
from dpin.node.home import Home, read_listening, read_network, write_listening
from dpin.node.logs import Logs, open_logs, understood
from dpin.node.mishaps import Mishaps
from dpin.node.neighbourhood import Neighbourhood, Self, Ties
from dpin.node.peer import Effect, Event, Peer, PeerOptions
from dpin.node.rolling import Roller
from dpin.node.settings import Settings
from dpin.node.surroundings import Surroundings
from dpin.node.vault import Vault, identity_of
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import (
    Allow,
    Discard,
    Fetch,
    Keep,
    KeepData,
    Need,
    StoreEffect,
    StoreEvent,
)

INBOX_MAX: Final = 4_096
IN_A_ROW_MAX: Final = 32  # events that may be taken before what follows from them is done
BATCHES_MAX: Final = 4_096  # that wait for the disk; a node this far behind stops

Local = (
    WorkEffect
    | StoreEffect
    | Note
    | Deed
    | Outcome
    | Pledged
    | Applied
    | Resumed
    | Silenced
    | Diverged
    | Dump
    | WantSigner
    | WantChain
)

_Batch = tuple[bool, Sequence[Effect]]  # whether it must be durable first, and what to do then
_INSIDE: Final = (Store, Preserve, Roll, CheckSignatures)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """One node to run."""

    home: Home
    settings: Settings
    seed: bytes  # of the node's key; the file may be encrypted, so a person has opened it
    fault: str  # "" or a misbehaviour, for development networks
    version: str


async def run_node(options: NodeOptions, ready: Callable[[Control], Awaitable[None]]) -> None:
    """Run a node until it is told to stop; `ready` is called once, when it can be asked things.

    Raises Misuse for a home that cannot be run, Unavailable where disk or network give up.
    """
    check_edge_cases()
    home, settings = options.home, options.settings
    key = SigningKey(options.seed)
    invite = read_network(home)
    choice = choice_of(settings, options.fault, key, development=invite.genesis.params.development)
    async with AsyncExitStack() as stack:
        logs = await open_logs(stack, home, archive=settings.ledger.archive)
        shells = await _shells(stack, options, logs)
        made_of = PeerOptions(
            identity=identity_of(home, options.seed),
            genesis=invite.genesis,
            records=logs.records,
            choice=choice,
            verifiers=checkers_for(settings.ledger.verifiers),
            closings=logs.preserved,
        )
        nursery = await stack.enter_async_context(trio.open_nursery())
        node = Node(options, understood(home, lambda: Peer(made_of)), shells, nursery)
        gc.freeze()  # What is loaded stays: a look at all of it takes a tenth of a second.
        node.start((*invite.addresses, *settings.network.bootstrap))
        await ready(node.desk)
        await node.bulletin.stopped.wait()
        nursery.cancel_scope.cancel()


async def _shells(stack: AsyncExitStack, options: NodeOptions, logs: Logs) -> "Shells":
    settings = options.settings
    store = BlobStore(options.home.blobs, settings.share.disk_bytes)
    host = await _listening(stack, options)
    bulk = open_bulk(host, bulk_options(settings.network, host.addresses))
    return Shells(host, await stack.enter_async_context(bulk), logs, store)


async def _listening(stack: AsyncExitStack, options: NodeOptions) -> LastingHost:
    """A host that answers where the last run did, or at free ports where that is taken."""
    network = options.settings.network
    routes = Routes(relay=network.relay, upnp=network.upnp)
    kad = kad_protocol(chain_id(read_network(options.home).genesis))
    wanted = HostOptions(options.seed, network.listen, network.mdns, routes=routes, kad=kad)
    again = at_last_ports(wanted.listen, read_listening(options.home))
    try:
        host = await stack.enter_async_context(open_lasting(replace(wanted, listen=again), _lost))
    except Unavailable as error:
        if again == wanted.listen:
            raise
        log.warning("other-port", reason=str(error))
        host = await stack.enter_async_context(open_lasting(wanted, _lost))
    write_listening(options.home, host.addresses)
    return host


def _lost(reason: str) -> None:
    """The network ended, or could not be opened again; it is tried until it is there."""
    log.error("network-lost", reason=reason)


@dataclass(frozen=True, slots=True)
class Shells:
    """Network and disk of one node."""

    host: LastingHost
    plane: BulkPlane
    logs: Logs
    store: BlobStore


class Node:
    """A running node: the machines, the shells, and the tasks between them."""

    def __init__(
        self, options: NodeOptions, peer: Peer, shells: Shells, nursery: trio.Nursery
    ) -> None:
        self._options = options
        self._peer = peer
        self._shells = shells
        self._nursery = nursery
        self._clock = Clock()
        self._tell, self._inbox = trio.open_memory_channel[Event](INBOX_MAX)
        self._batches, self._durable = trio.open_memory_channel[_Batch](BATCHES_MAX)
        self._roller = Roller(nursery, shells.logs.current, self._rolled)
        self._waiting = 0  # batches handed to the writer and not acted on
        self._preserving = False  # something waits to be made durable beside the log
        self._engine = options.settings.compute.engine
        self._foreman = Foreman(nursery, options.home.worker, self._engine, self._tell.send)
        self._foreman.first = self._probe
        self._probing = trio.Lock()
        self._courier = Courier(nursery, shells.plane, shells.store, self._told)
        self.bulletin = Bulletin(self._clock.now)
        self._seen = self.bulletin.seen
        self._seen.started = self._clock.now()
        self._mishaps = Mishaps(nursery, options.home.root, self._seen.warnings)
        self._checkers = Checkers(
            nursery, command_for(peer.chain), peer.verifiers, self._tell.send, self._mishaps.alarm
        )
        self._vault = Vault(nursery, options.home, options.seed, self._tell.send)
        surroundings = Surroundings(
            home=options.home,
            settings=options.settings,
            version=options.version,
            host=shells.host,
            courier=self._courier,
            vault=self._vault,
            now=self._clock.now,
            tell=self._tell.send,
            neighbours=lambda: self._around,  # There is one once `start` was called.
            ask=self._foreman.ask_once,
        )
        self.desk = Desk(peer, surroundings, self.bulletin)

    def start(self, bootstrap: Sequence[str]) -> None:
        """Begin all tasks."""
        founders = self._peer.genesis.founders
        me = Self(
            key=self._peer.key,
            chain=self._peer.chain,
            name=self._peer.choice.name,
            version=self._options.version,
            validators=tuple(founder.node for founder in founders),
            bootstrap=tuple(bootstrap),
        )
        home, host = self._options.home, self._shells.host
        ties = Ties(host, home, self._seen, self._clock.now, self._hand, self.desk.status)
        self._around = Neighbourhood(me, ties, self._nursery)
        self._around.start()
        self._courier.catalogue = self._around.whereabouts
        for task in (self._loop, self._write, self.desk.warden.watch):
            self._nursery.start_soon(task)
        self._nursery.start_soon(self._tell.send, Pinned(self._shells.store.pins.size))
        if self._peer.choice.provides:
            self._nursery.start_soon(self._probe)

    # --- the loop ---

    async def _hand(self, event: Event) -> None:
        """To the loop: at once where there is room, which costs much less."""
        try:
            self._tell.send_nowait(event)
        except trio.WouldBlock:
            await self._tell.send(event)

    async def _loop(self) -> None:
        """Events in, effects out; wakes itself when a machine has asked for it."""
        wake = Instant(0)
        while True:
            event: Event | None = Tick()
            with trio.move_on_after(
                max(0, wake - self._clock.now()) / MICROS_PER_SECOND
            ) as waiting:
                event = await self._inbox.receive()
            if waiting.cancelled_caught:
                wake = NEVER
            in_a_row = 0
            while event is not None:
                now = self._clock.now()
                in_a_row += 1
                following = self._at_hand() if now < wake and in_a_row < IN_A_ROW_MAX else None
                wake = min(wake, self._step(event, now, more=following is not None))
                event = following
            self.bulletin.moved()

    def _step(self, event: Event, now: Instant, *, more: bool) -> Instant:
        """One event; returns when a machine wants to be woken."""
        effects = self._peer.step(event, now, more=more)
        if not effects:
            return NEVER
        self._perform([effect for effect in effects if not isinstance(effect, Wake)])
        return min([NEVER, *(effect.at for effect in effects if isinstance(effect, Wake))])

    def _at_hand(self) -> Event | None:
        """One more event that need not be waited for."""
        try:
            return self._inbox.receive_nowait()
        except trio.WouldBlock:
            return None

    def _perform(self, effects: Sequence[Effect]) -> None:
        """Append now; act now, or when what must be durable is.

        What stays inside this node and is forgotten in a crash need not wait.
        """
        for effect in effects:
            if isinstance(effect, CheckSignatures):
                self._checkers.perform(effect)
        others = [effect for effect in effects if not isinstance(effect, _INSIDE)]
        sync = self._append(effects)
        if sync or self._waiting:
            self._waiting += 1
            self._batches.send_nowait((sync, others))
        else:
            self._act(others)

    def _append(self, effects: Sequence[Effect]) -> bool:
        """Write down what a batch stores, in order; whether the rest waits for the disk."""
        records: list[bytes] = []
        sync = False
        for effect in effects:
            if isinstance(effect, Store):
                records.append(effect.record)
                sync = sync or effect.sync
            elif isinstance(effect, Preserve):
                self._shells.logs.closings.append(effect.records)
                self._preserving = True
            elif isinstance(effect, Roll):
                if records:
                    self._shells.logs.current.append(records)
                records, sync = [], True
                self._roller.perform(effect)
        if records:
            self._shells.logs.current.append(records)
        return sync

    def _rolled(self) -> None:
        """The log has begun anew: the next sync makes that final."""
        self._waiting += 1
        self._batches.send_nowait((True, ()))

    async def _write(self) -> None:
        """Make the log durable, then do what waited for it: one sync for all that wait.

        What only waits behind others needs none of its own.
        """
        async for batch in self._durable:
            batches = [batch]
            while True:
                try:
                    batches.append(self._durable.receive_nowait())
                except trio.WouldBlock:
                    break
            if any(sync for sync, _ in batches):
                both, self._preserving = self._preserving, False
                await self._shells.logs.sync(both=both)
            for _, effects in batches:
                self._act(effects)
            self._waiting -= len(batches)

    def _act(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peer, payload):
                    self._shells.host.send(peer, payload)
                case Blame(peer, reason):
                    self._around.blame(peer, reason)
                case Store() | Preserve() | Roll() | Wake() | CheckSignatures():
                    raise AssertionError("these were taken out before")
                case _:
                    self._act_here(effect)

    def _act_here(self, effect: Local) -> None:
        match effect:
            case Hire() | Order() | Dismiss():
                self._foreman.perform(effect)
            case Fetch() | Keep() | KeepData() | Allow() | Discard() | Need():
                self._courier.perform(effect)
            case WantSigner() | WantChain():
                self._vault.perform(effect)
            case Note() | Deed() | Outcome() | Pledged() | Applied():
                self.bulletin.take(effect)
            case Resumed() | Silenced() | Diverged() | Dump():
                self._mishaps.take(effect)
            case _:
                assert_never(effect)

    async def _told(self, event: StoreEvent | Blame) -> None:
        """What the courier has to say."""
        if isinstance(event, Blame):
            self._around.blame(event.peer, event.reason)
        else:
            await self._tell.send(event)

    # --- the device ---

    async def _probe(self) -> None:
        """Once, ask a short-lived worker what devices there are; the node is online meanwhile.

        A provider does so at its start, others before their first worker.
        """
        async with self._probing:
            if self._seen.probed is not None or self._seen.no_device:
                return
            try:
                report = await self._foreman.ask_once(ProbeCommand())
            except Unavailable as error:
                self._seen.no_device = str(error)
                return
            if isinstance(report, Probed):
                self._seen.probed = report
                await self._tell.send(Probe(report))
            else:
                self._seen.no_device = f"the probe failed: {report}"

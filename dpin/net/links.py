"""One link a peer: an outbox, the task that writes it, and the reader of what the peer sends.

A write is never cancelled while its connection lives: half a frame would break every stream on it.
What stalls or falls silent loses its connection instead.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import trio

from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.net.budget import (
    COMPLAINTS,
    INBOUND_BYTES,
    INBOUND_MESSAGES,
    OUTBOX_BYTES_MAX,
    OUTBOX_MESSAGES_MAX,
    Budget,
)
from dpin.net.connection import Connection
from dpin.net.contained import Contained
from dpin.net.framing import LENGTH_BYTES, FrameDecoder, frame, whole
from dpin.net.network import CONTROL_BYTES_MAX, Event, Misbehaved, Traffic

READ_BYTES: Final = 64 << 10
BATCH_BYTES: Final = 64 << 10  # small frames are written together up to this
KEEPALIVE_SECONDS: Final = 10.0  # without anything to say: an empty frame
SILENCE_SECONDS: Final = 35.0  # without any byte from the peer: it is gone
STALL_SECONDS: Final = 10.0  # for one write
WATCH_SECONDS: Final = 2.0
DELIVERY_SECONDS: Final = 2.0  # for the node to take an event; yamux kills writers after 5 (P3)
SUPERSEDE_SECONDS: Final = 2.0
REOPEN_SECONDS: Final = 0.2
REOPENS_MAX: Final = 5  # in a row, without one successful write
AT_ONCE_MAX: Final = 64  # messages of one piece; there is room for four times as many
KEEPALIVE: Final = b""  # what an empty frame holds


class Stream(Protocol):
    """A stream as libp2p has it; any method may raise anything."""

    async def read(self, n: int) -> bytes:
        """Some bytes; none, or an exception, at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """All of `data`."""
        ...

    async def close(self) -> None:
        """No more will be written."""
        ...

    async def reset(self) -> None:
        """End both directions now; whoever reads or writes is woken by an exception."""
        ...


def clock() -> Instant:
    """Trio's clock, in dpin's units."""
    return Instant(round(trio.current_time() * MICROS_PER_SECOND))


async def quiet_reset(stream: Stream) -> None:
    """Reset, whatever the stream thinks of it."""
    with Contained():
        await stream.reset()


@dataclass(frozen=True)
class Wiring:
    """What every link of one host uses."""

    open_stream: Callable[[NodeId], Awaitable[Stream]]
    drop: Callable[[NodeId], Awaitable[None]]  # close all connections to a peer
    events: trio.MemorySendChannel[Event]
    traffic: Callable[[NodeId], Traffic]
    messages: Budget
    bytes_in: Budget
    complaints: Budget
    straight_to: Callable[[Stream, Callable[[bytes], bool]], None]  # see `inflow`

    @classmethod
    def with_budgets(
        cls,
        open_stream: Callable[[NodeId], Awaitable[Stream]],
        drop: Callable[[NodeId], Awaitable[None]],
        events: trio.MemorySendChannel[Event],
        traffic: Callable[[NodeId], Traffic],
        straight_to: Callable[[Stream, Callable[[bytes], bool]], None],
    ) -> "Wiring":
        """A wiring with the budgets of `dpin.net.budget`."""
        budgets = Budget(INBOUND_MESSAGES), Budget(INBOUND_BYTES), Budget(COMPLAINTS)
        return cls(open_stream, drop, events, traffic, *budgets, straight_to)

    def admits(self, peer: NodeId, payload: bytes, now: Instant) -> bool:
        """Whether a message is within its sender's budget; complains where it is not."""
        if not self.messages.charge(peer, 1, now):
            self.complain(peer, "sent more messages than its budget allows")
            return False
        if not self.bytes_in.charge(peer, len(payload), now):
            self.complain(peer, "sent more bytes than its budget allows")
            return False
        return True

    @property
    def has_room(self) -> bool:
        """Whether events may be handed over without waiting."""
        room = self.events.statistics()
        return 2 * room.current_buffer_used < room.max_buffer_size

    def complain(self, peer: NodeId, reason: str) -> None:
        """Report a peer; silently not where that has just been said often, or nobody listens."""
        if self.complaints.charge(peer, 1, clock()):
            with Contained():
                self.events.send_nowait(Misbehaved(peer, reason))


class Outbox:
    """Frames waiting to be written, limited in number and in bytes; the newest is refused."""

    def __init__(self) -> None:
        self._put, self._take = trio.open_memory_channel[bytes](OUTBOX_MESSAGES_MAX)
        self._bytes = 0
        self.refused = 0

    def put(self, payload: bytes) -> bool:
        """Queue one payload as a frame, or refuse it."""
        size = len(payload) + LENGTH_BYTES
        if self._bytes + size > OUTBOX_BYTES_MAX:
            self.refused += 1
            return False
        try:
            self._put.send_nowait(frame(payload))
        except trio.WouldBlock:
            self.refused += 1
            return False
        self._bytes += size
        return True

    async def batch(self) -> bytes:
        """The next frames as one piece."""
        pieces = [await self._take.receive()]
        size = len(pieces[0])
        while size < BATCH_BYTES:
            try:
                pieces.append(self._take.receive_nowait())
            except trio.WouldBlock:
                break
            size += len(pieces[-1])
        self._bytes -= size
        return b"".join(pieces)

    def clear(self) -> None:
        """Forget what was not written."""
        while True:
            try:
                self._bytes -= len(self._take.receive_nowait())
            except trio.WouldBlock:
                return


class _Reading:
    """One inbound control stream while it is read."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.scope = trio.CancelScope()
        self.done = trio.Event()


async def _some(stream: Stream) -> bytes:
    with Contained():
        return await stream.read(READ_BYTES)
    return b""


async def _supersede(older: Sequence[_Reading]) -> None:
    for reading in older:
        await quiet_reset(reading.stream)
        with trio.move_on_after(SUPERSEDE_SECONDS):
            await reading.done.wait()


class Link:
    """Everything between this node and one peer, from its first connection to its last."""

    def __init__(self, peer: NodeId, wiring: Wiring) -> None:
        self.outbox = Outbox()
        self.undelivered = 0  # messages that the node did not take in time
        self.over_budget = 0
        self._peer = peer
        self._wiring = wiring
        self.connections: list[Connection] = []
        self._lost = trio.Event()
        self._announced = trio.Event()
        self._readings: list[_Reading] = []
        self._writing_since: float | None = None
        self._delivering = False
        self._heard_at = self._said_at = trio.current_time()
        self._reopens = 0
        self._given_up = False

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""
        return bool(self.connections)

    @property
    def lost(self) -> Mapping[str, int]:
        """Messages dropped so far, by cause."""
        return {
            "outbox-full": self.outbox.refused,
            "not-taken": self.undelivered,
            "over-budget": self.over_budget,
        }

    def joined(self, connection: Connection) -> None:
        """A connection to the peer now stands."""
        if not self.connections:
            self._lost = trio.Event()
            self._heard_at = trio.current_time()
            self._reopens = 0
            self._given_up = False
        self.connections.append(connection)

    def left(self, connection: Connection) -> None:
        """A connection to the peer is gone."""
        if connection in self.connections:
            self.connections.remove(connection)
            if not self.connections:
                self._lost.set()

    async def run(self) -> None:
        """Announce, serve and take leave of the peer, as long as it comes back."""
        while self.connections:
            lost = self._lost
            await self._wiring.events.send(PeerUp(self._peer))
            self._announced.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await lost.wait()
                nursery.cancel_scope.cancel()  # The connection is gone: nothing left to break.
            self._announced = trio.Event()
            self._writing_since = None
            self.outbox.clear()
            for reading in list(self._readings):
                reading.scope.cancel()
                await reading.done.wait()
            await self._wiring.events.send(PeerDown(self._peer))

    async def _write(self) -> None:
        while self._reopens < REOPENS_MAX:
            with Contained():
                await self._write_to(await self._wiring.open_stream(self._peer))
            self._writing_since = None
            self._reopens += 1
            await trio.sleep(REOPEN_SECONDS)
        await self._wiring.drop(self._peer)

    async def _write_to(self, stream: Stream) -> None:
        counted = self._wiring.traffic(self._peer)
        while True:
            data = await self.outbox.batch()
            self._said_at = self._writing_since = trio.current_time()
            await stream.write(data)
            self._writing_since = None
            self._reopens = 0
            counted.control_out += len(data)

    def is_over(self, now: float) -> bool:
        """Whether the peer must be let go, said once; where it is well, a sign of life is given.

        To be asked every `WATCH_SECONDS`: one task for all links, not one for each.
        """
        if self._given_up or not self._announced.is_set():
            return False
        stalled = self._writing_since is not None and now - self._writing_since > STALL_SECONDS
        silent = not self._delivering and now - self._heard_at > SILENCE_SECONDS
        if stalled or silent:
            self._given_up = True
        elif now - self._said_at > KEEPALIVE_SECONDS:
            self._said_at = now
            self.outbox.put(KEEPALIVE)
        return self._given_up

    async def read(self, stream: Stream) -> None:
        """Take frames from a stream that the peer opened; a newer stream ends an older one."""
        older = list(self._readings)
        reading = _Reading(stream)
        self._readings.append(reading)
        try:
            with reading.scope:
                await _supersede(older)
                await self._announced.wait()
                await self._read_all(stream)
        finally:
            self._readings.remove(reading)
            reading.done.set()

    async def _read_all(self, stream: Stream) -> None:
        decoder = FrameDecoder(CONTROL_BYTES_MAX)
        self._wiring.straight_to(stream, partial(self._take_at_once, decoder))
        try:
            while data := await _some(stream):
                await self._take(decoder, data)
        except PeerFault as fault:
            self._wiring.complain(self._peer, str(fault))
            await quiet_reset(stream)

    async def _take(self, decoder: FrameDecoder, data: bytes) -> None:
        self._wiring.traffic(self._peer).control_in += len(data)
        now = clock()
        for payload in decoder.feed(data):
            if payload and self._wiring.admits(self._peer, payload, now):
                await self._deliver(Received(self._peer, payload))
            elif payload:
                self.over_budget += 1
        self._heard_at = trio.current_time()

    def _take_at_once(self, decoder: FrameDecoder, data: bytes) -> bool:
        """Hand messages that came in one piece to the node before its reader wakes.

        False where there is more to it than that: then the reader does it.
        """
        payloads = whole(data, AT_ONCE_MAX)
        if payloads is None or decoder.pending or self._delivering or not self._wiring.has_room:
            return False
        self._wiring.traffic(self._peer).control_in += len(data)
        for payload in payloads:
            if payload and self._wiring.admits(self._peer, payload, clock()):
                self._wiring.events.send_nowait(Received(self._peer, payload))
            elif payload:
                self.over_budget += 1
        self._heard_at = trio.current_time()
        return True

    async def _deliver(self, event: Received) -> None:
        """At once where there is room: waiting costs more than most messages do.

        A flood never takes all of the room at once: complaints about it need some.
        """
        if self._wiring.has_room:
            self._wiring.events.send_nowait(event)
        else:
            await self._press(event)

    async def _press(self, event: Received) -> None:
        self._delivering = True
        try:
            with trio.move_on_after(DELIVERY_SECONDS) as waiting:
                await self._wiring.events.send(event)
            self.undelivered += waiting.cancelled_caught
        finally:
            self._delivering = False

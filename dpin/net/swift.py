"""What py-libp2p 0.8.1 spends on each message that it need not; nothing on the wire changes.

A turn of trio's loop costs tens of microseconds, as much as a signature. For one small message
libp2p took about ten of them on each side, most to acquire locks that nobody held.
"""

import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.stream.net_stream import NetStream
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.stream_muxer.yamux.yamux import (
    HEADER_SIZE,
    TYPE_DATA,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

from dpin.net.inflow import Inflow, busy

SERVED_MAX: Final = 32  # reads that are served from memory without a turn of the loop
READ_AHEAD: Final = 64 << 10  # bytes that one read takes from a socket, at most
WRITE_MAX: Final = (64 << 10) - HEADER_SIZE  # of one frame, as yamux itself writes them
NOISE_LENGTH_BYTES: Final = 2  # before each message of noise
NOISE_TEXT_MAX: Final = 65_535 - 16  # bytes of one message, without its tag
UPSTREAM_READ: Final = TrioTCPStream.read  # as libp2p ships it
_KEPT: Final = "dpin_ahead"
_LOCKED: Final = "dpin_quick_locks"


class _Ahead:
    """What was read from one socket and nobody has asked for yet."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.served = 0

    def take(self, n: int) -> bytes:
        """So much of it, or all."""
        piece = bytes(self.bytes[:n])
        del self.bytes[:n]
        self.served += 1
        return piece

    def message(self) -> bytes | None:
        """A whole message of noise, if there is one and others have had their turn."""
        start = NOISE_LENGTH_BYTES
        end = start + int.from_bytes(self.bytes[:start])
        if not start < end <= len(self.bytes) or self.served >= SERVED_MAX:
            return None
        piece = bytes(self.bytes[start:end])
        del self.bytes[:end]
        self.served += 1
        return piece


def read_ahead() -> None:
    """P30: a message is read in pieces of two bytes and the rest, each with a turn of the loop.

    Here a read takes what the socket has, and small ones are served from that; now and then the
    others have their turn, whatever comes.
    """
    plain = TrioTCPStream.read

    async def read(stream: TrioTCPStream, n: int | None = None) -> bytes:
        ahead: _Ahead = stream.__dict__.setdefault(_KEPT, _Ahead())
        whole = n is None or n >= READ_AHEAD
        if n == 0 or (whole and not ahead.bytes):
            return bytes(await plain(stream, n))
        if not ahead.bytes:
            ahead.bytes += await plain(stream, READ_AHEAD)
            ahead.served = 0
        elif ahead.served >= SERVED_MAX:
            ahead.served = 0
            await trio.lowlevel.checkpoint()
        return ahead.take(READ_AHEAD if n is None else n)

    if plain.__module__ != __name__:
        TrioTCPStream.read = read


def whole_messages() -> None:
    """P34: a message of noise passes six layers, twice, on its way from memory to its key.

    Here one that is whole in memory is decrypted at once; to be put on after `read_ahead`.
    """
    plain = NoiseTransportReadWriter.read_msg

    async def read_msg(session: NoiseTransportReadWriter, *prefixed: bool) -> bytes:
        socket = None if any(prefixed) else _socket_under(session)
        if socket is not None:
            ahead: _Ahead = socket.__dict__.setdefault(_KEPT, _Ahead())
            if not ahead.bytes:
                ahead.bytes += await UPSTREAM_READ(socket, READ_AHEAD)
                ahead.served = 0
            message = ahead.message()
            if message is not None:
                return bytes(session.decrypt(message))
        return bytes(await plain(session, *prefixed))

    if plain.__module__ != __name__:
        NoiseTransportReadWriter.read_msg = read_msg


def _socket_under(session: NoiseTransportReadWriter) -> TrioTCPStream | None:
    """The stream that carries a session; None where something else does, as a relay."""
    connection = session.read_writer.read_write_closer
    if type(connection) is RawConnection and type(connection.stream) is TrioTCPStream:
        return connection.stream
    return None


class QuickLock:
    """A lock that costs a turn of the loop, and memory, only where somebody waits for it.

    First come, first served, as trio's; who holds it is not known, so nobody is told of mistakes.
    """

    __slots__ = ("_held", "_waiting")

    def __init__(self) -> None:
        self._held = False
        self._waiting: trio.lowlevel.ParkingLot | None = None

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def acquire_nowait(self) -> None:
        """Take it, or raise trio.WouldBlock."""
        if self._held:
            raise trio.WouldBlock
        self._held = True

    async def acquire(self) -> None:
        """Take it, at once or in turn."""
        if not self._held:
            self._held = True
            return
        if self._waiting is None:
            self._waiting = trio.lowlevel.ParkingLot()
        await self._waiting.park()  # Whoever held it has handed it over.

    def release(self) -> None:
        """Let the next one have it."""
        assert self._held, "who releases it has it"
        if self._waiting:
            self._waiting.unpark()
        else:
            self._held, self._waiting = False, None

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()


def quick_locks() -> None:
    """P33: a lock of trio gives up its turn even where nobody holds it.

    A message passed six of them. What reads and writes sockets gives up its turn anyway.
    """
    for kind, names in (
        (TrioTCPStream, ("read_lock", "write_lock")),
        (Yamux, ("streams_lock", "_write_lock")),
        (YamuxStream, ("window_lock",)),
        (NetStream, ("_state_lock",)),
    ):
        if _LOCKED not in kind.__dict__:
            setattr(kind, _LOCKED, True)
            kind.__init__ = _with_locks(kind.__init__, names)


def _with_locks(plain: Callable[..., None], names: Sequence[str]) -> Callable[..., None]:
    def start(made: object, *rest: object, **named: object) -> None:
        plain(made, *rest, **named)
        for name in names:
            assert isinstance(getattr(made, name), trio.Lock), "libp2p has changed"
            setattr(made, name, QuickLock())

    return start


def straight_writes() -> None:
    """P31: a frame passes four locks on its way to the socket, each with a turn of the loop.

    Here one that fits its window goes at once where nobody else is writing.
    """
    plain = YamuxStream.write

    async def write(stream: YamuxStream, data: bytes) -> None:
        lock = stream.conn._write_lock  # noqa: SLF001  Whoever writes a frame holds it.
        fits = 0 < len(data) <= min(stream.send_window, WRITE_MAX)
        if not fits or stream.send_closed or stream.closed or lock.locked():
            await plain(stream, data)
            return
        stream.send_window -= len(data)
        header = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, stream.stream_id, len(data))
        lock.acquire_nowait()
        try:
            await _send(stream.conn.secured_conn, header + data)
        finally:
            lock.release()

    if plain.__module__ != __name__:
        YamuxStream.write = write


async def _send(inflow: Inflow, frame: bytes) -> None:
    """P35: what the socket takes at once needs no turn of the loop, and no layer on its way."""
    session: object = getattr(inflow.secured, "conn", None)
    socket = _socket_under(session) if isinstance(session, NoiseTransportReadWriter) else None
    if socket is None or len(frame) > NOISE_TEXT_MAX:
        await inflow.write(frame)
        return
    assert isinstance(session, NoiseTransportReadWriter), "a socket lies under a session"
    text: bytes = session.encrypt(frame)
    packet = len(text).to_bytes(NOISE_LENGTH_BYTES) + text
    sent = _sent_at_once(socket.stream, packet)
    if sent < len(packet):
        await socket.write(packet[sent:])


def _sent_at_once(stream: object, packet: bytes) -> int:
    """How many bytes a socket took without waiting; what is wrong with it shows when it waits."""
    if isinstance(stream, trio.SocketStream):
        with suppress(OSError):
            return os.write(stream.socket.fileno(), packet)
    return 0


def straight_reads() -> None:
    """P32: whoever reads a stream takes a lock of the whole connection before it may look.

    Here what is there is taken, and what is not is waited for; ends are left to libp2p.
    """
    plain = Yamux.read_stream

    async def read_stream(connection: Yamux, stream_id: int, n: int = -1) -> bytes:
        stream = connection.streams.get(stream_id)
        if stream is not None:
            busy(stream, now=False)
        data = await _read_straight(connection, stream_id, n)
        if data is None:
            data = bytes(await plain(connection, stream_id, n))
        if stream is not None:
            busy(stream, now=True)
        return data

    if plain.__module__ != __name__:
        Yamux.read_stream = read_stream


async def _read_straight(connection: Yamux, stream_id: int, n: int) -> bytes | None:
    """What is there, or comes; None where the stream comes to an end."""
    while n > 0 and _is_open(connection, stream_id):
        buffer = connection.stream_buffers.get(stream_id)
        if buffer:
            piece = bytes(buffer[:n])
            del buffer[:n]
            return piece
        event = connection.stream_events.get(stream_id)
        if buffer is None or event is None:
            break
        await event.wait()
        if connection.stream_events.get(stream_id) is event:
            connection.stream_events[stream_id] = trio.Event()
    return None


def _is_open(connection: Yamux, stream_id: int) -> bool:
    """Whether more may come on a stream, and nothing has gone wrong with it."""
    stream = connection.streams.get(stream_id)
    if stream is None or connection.event_shutting_down.is_set():
        return False
    return not (stream.recv_closed or stream.closed or stream.reset_received)

"""What yamux, and what reads for it, lets a peer do."""

import struct
import sys
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final
from weakref import WeakSet

import trio
from libp2p.abc import ISecureConn
from libp2p.io.abc import Reader
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.utils import read_exactly
from libp2p.stream_muxer.yamux.yamux import (
    DEFAULT_WINDOW_SIZE,
    FLAG_SYN,
    RTT_MEASURE_INTERVAL,
    TYPE_PING,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

from dpin.net.budget import BUFFERED_BYTES_MAX
from dpin.net.connection import Connection
from dpin.net.contained import Contained
from dpin.net.inflow import DATA_FRAME_BYTES_MAX, Inflow, living, may_hold

BODY_SECONDS: Final = 60.0  # for the body of a frame whose header has come
EMPTY_READS_MAX: Final = 100
_PACED: Final = "dpin_paced_frames"

UPSTREAM_READ: Final = read_exactly  # as libp2p ships it


async def _read_whole(reader: Reader, length: int, retry_count: int = EMPTY_READS_MAX) -> bytes:
    buffer = bytearray()
    empty = 0
    while len(buffer) < length and empty <= retry_count:
        piece = await reader.read(length - len(buffer))
        empty = 0 if piece else empty + 1
        buffer += piece
    if len(buffer) < length:
        raise IncompleteReadError(
            f"the connection closed {len(buffer)} bytes into {length}", length, len(buffer)
        )
    return bytes(buffer)


def patient_reads() -> None:
    """P14: a frame that arrives in more than 100 pieces tears its connection down.

    Here only reads without any progress count.
    """
    for name, module in sorted(sys.modules.items()):
        if name.startswith("libp2p.") and getattr(module, "read_exactly", None) is UPSTREAM_READ:
            module.read_exactly = _read_whole  # type: ignore[attr-defined]  # That is the patch.


def paced_frames() -> None:
    """P20: frames without end cost the whole loop: pings, windows, data of one byte.

    Here a connection that brings more of them than FRAMES is read more slowly.
    """
    if _PACED in Yamux.__dict__:  # Its constructor may have been wrapped by others since.
        return
    setattr(Yamux, _PACED, True)
    plain = Yamux.__init__

    def start(connection: Yamux, secured: ISecureConn, *rest: object, **named: object) -> None:
        plain(connection, Inflow(connection, secured), *rest, **named)
        living.add(connection)

    Yamux.__init__ = start


def _window(connection: Yamux, header: bytes) -> int:
    """What the peer may still send on the stream of a data frame."""
    _, _, flags, number, _ = struct.unpack(YAMUX_HEADER_FORMAT, header)
    stream = connection.streams.get(number)
    if stream is None:  # One that begins here; or one that is gone, whose data go nowhere.
        return int(DEFAULT_WINDOW_SIZE) if flags & FLAG_SYN else DATA_FRAME_BYTES_MAX
    return int(stream.recv_window)


def bounded_buffers() -> None:
    """P2: yamux does not enforce its receive window: an unread stream grows without a limit.

    Here a frame beyond its stream's window, or beyond what may wait to be read on the connection
    and on all connections, ends the connection. yamux closes one, not only the stream, at
    TooSlowError.
    """
    if Yamux._read_data_body.__module__ == __name__:
        return

    async def read_data_body(connection: Yamux, length: int) -> bytes:
        allowed = min(_window(connection, connection.secured_conn.header), DATA_FRAME_BYTES_MAX)
        if length > allowed or not may_hold(connection, length):
            raise trio.TooSlowError
        with trio.fail_after(BODY_SECONDS):
            return bytes(await connection.secured_conn.whole_body(length))

    Yamux._read_data_body = read_data_body


def bounded_windows() -> None:
    """P2: windows that grow with their readers come to more than a connection may hold.

    Here they stop growing in time: whoever keeps to its windows never meets the limit.
    """
    plain = YamuxStream._apply_autotune_epoch

    def grow(stream: YamuxStream, buffered: int) -> int:
        granted = sum(other.target_recv_window for other in stream.conn.streams.values())
        if granted + stream.target_recv_window > BUFFERED_BYTES_MAX:
            return 0
        return int(plain(stream, buffered))

    if plain.__module__ != __name__:
        YamuxStream._apply_autotune_epoch = grow


def waking_resets() -> None:
    """P16: resetting a stream forgets whoever is reading from it: that task waits for ever.

    Here the reader wakes, and sees the end of the stream. What it had not read goes: it would be
    kept for a minute more, and count against its connection.
    """
    plain = YamuxStream.reset

    async def reset(stream: YamuxStream) -> None:
        reader = stream.conn.stream_events.get(stream.stream_id)
        stream.conn.stream_buffers.get(stream.stream_id, bytearray()).clear()
        await plain(stream)
        if reader is not None:
            reader.set()
            for _ in range(2):  # The reader leaves a new event behind, for nobody.
                await trio.lowlevel.checkpoint()
            if stream.stream_id not in stream.conn.streams:
                stream.conn.stream_events.pop(stream.stream_id, None)

    if plain.__module__ != __name__:
        YamuxStream.reset = reset


def frugal_windows() -> None:
    """P18: every read sends a window update: two thirds of all frames, and half of the time.

    Here one is sent when half of the window is used up, as yamux means it to be: what a reader
    took and did not yet announce is in the difference to the target, so nothing is lost.
    """
    plain = YamuxStream._auto_tune_and_send_window_update

    async def update(stream: YamuxStream, *, bytes_read: int = 0) -> None:
        del bytes_read  # Without it, the branches that send at once are not taken.
        await plain(stream)

    if plain.__module__ != __name__:
        YamuxStream._auto_tune_and_send_window_update = update


def tasks_for_all() -> None:
    """P37: each connection has a task that measures its round trip, and one that sweeps.

    Both sleep nearly always, in 4 KiB each; here `look_after` does it for all of a host.
    """

    async def nothing(connection: Yamux) -> None:
        """Another one does it."""
        del connection
        await trio.lowlevel.checkpoint_if_cancelled()

    Yamux._measure_rtt_loop = Yamux._stale_stream_sweeper = nothing


async def look_after(
    connections: Callable[[], Sequence[Connection]], nursery: trio.Nursery
) -> None:
    """Measure the round trip of each connection soon after its start, and every 30 s; sweep."""
    measured: WeakSet[Yamux] = WeakSet()  # right now: one that takes no bytes is not asked twice
    for beat in count():
        for place, connection in enumerate(connections()):
            muxed = connection.muxed_conn
            if not isinstance(muxed, Yamux) or muxed.event_shutting_down.is_set():
                continue
            turn = (beat + place) % RTT_MEASURE_INTERVAL == 0  # Not all of them at once.
            if (turn or not muxed._ping_id) and muxed not in measured:
                measured.add(muxed)
                nursery.start_soon(_measure, muxed, measured)
            if turn and not muxed.streams_lock.locked():
                muxed._sweep_stale_streams()
        await trio.sleep(1)


async def _measure(connection: Yamux, measured: WeakSet[Yamux]) -> None:
    """Send a ping; its answer, which may come before the write returns, says how long that took."""
    connection._ping_id += 1
    connection._ping_sent_time = trio.current_time()
    ping = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, connection._ping_id)
    with Contained():
        await connection._write_frame(ping)
    measured.discard(connection)

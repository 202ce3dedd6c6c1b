"""What a connection brings: frames of yamux, taken at a pace, plain ones without libp2p's help.

A frame of data that is whole in memory and belongs to an open stream is put where its reader looks,
or handed to that reader at once where it said how (`straight_to`). All other frames, and parts of
frames, go to libp2p as they are.
"""

import struct
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

import trio
from libp2p.abc import ISecureConn
from libp2p.io.exceptions import IncompleteReadError
from libp2p.stream_muxer.yamux.yamux import (
    HEADER_SIZE,
    TYPE_DATA,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

from dpin.net.budget import (
    BUFFERED_BYTES_FREE,
    BUFFERED_BYTES_MAX,
    BUFFERED_BYTES_OF_ALL_MAX,
    FRAMES,
    Rate,
)

DATA_FRAME_BYTES_MAX: Final = 1 << 20  # of yamux; its own writers use 64 KiB
IN_A_ROW_MAX: Final = 32  # frames taken without a turn of the loop
living: "WeakSet[Yamux]" = WeakSet()  # the connections of this process

Sink = Callable[[bytes], bool]  # takes the data of one frame, or refuses them
_SINK: Final = "dpin_sink"
_BUSY: Final = "dpin_busy"  # its reader has what it read last and has not come back


class Turns:
    """A bucket that makes whoever takes too much wait; the peer's writes wait with it."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._filled_at = trio.current_time()

    async def next(self) -> None:
        """Take one turn."""
        if not self.at_once():
            await trio.sleep((1 - self._left) / self._rate.per_second)
            self._left -= 1

    def at_once(self) -> bool:
        """Take one turn, if there is one."""
        now = trio.current_time()
        came = (now - self._filled_at) * self._rate.per_second
        self._left = min(self._left + came, float(self._rate.burst))
        self._filled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Inflow:
    """A secured connection as yamux reads it: frames at a pace, the header of the last one kept.

    All that is read by `read` are headers; bodies are read by `body`.
    """

    def __init__(self, connection: Yamux, secured: ISecureConn) -> None:
        self.secured = secured
        self.write = secured.write
        self.header = b""
        self._connection = connection
        self._ahead = bytearray()  # decrypted, and asked for by nobody yet
        self._turns = Turns(FRAMES)

    def __getattr__(self, name: str) -> object:
        return getattr(self.secured, name)

    async def read(self, n: int) -> bytes:
        """Some bytes of a header; where frames come too fast, after a while."""
        if len(self.header) == HEADER_SIZE:
            self.header = b""
            await self._turns.next()
        if not self.header:
            await self._plain_frames()
        piece = await self.body(n)
        self.header += piece
        return piece

    async def body(self, n: int) -> bytes:
        """Some bytes, whatever they are."""
        if not self._ahead:
            self._ahead += await self.secured.read(None)
        piece = bytes(self._ahead[:n])
        del self._ahead[:n]
        return piece

    async def whole_body(self, length: int) -> bytes:
        """So many bytes; raises IncompleteReadError where the connection ends before."""
        found = bytearray()
        while len(found) < length:
            piece = await self.body(length - len(found))
            if not piece:
                raise IncompleteReadError("the connection closed", length, len(found))
            found += piece
        return bytes(found)

    async def _plain_frames(self) -> None:
        """Take frames of data as long as they are whole; stops before any other byte."""
        in_a_row = 0
        while True:
            if not self._ahead:
                self._ahead += await self.secured.read(None)
                in_a_row = 0
            taken = self._plain_frame()
            if taken is None:
                return
            if _wants_more(taken):
                await taken._auto_tune_and_send_window_update()
            in_a_row += 1
            if in_a_row == IN_A_ROW_MAX:
                in_a_row = 0
                await trio.lowlevel.checkpoint()

    def _plain_frame(self) -> YamuxStream | None:
        """Take one frame and return its stream; None, and nothing taken, where libp2p should."""
        ahead = self._ahead
        if len(ahead) <= HEADER_SIZE:
            return None
        _, kind, flags, number, length = struct.unpack_from(YAMUX_HEADER_FORMAT, ahead)
        end = HEADER_SIZE + length
        if kind != TYPE_DATA or flags or not HEADER_SIZE < end <= len(ahead):
            return None
        connection = self._connection
        stream: YamuxStream | None = connection.streams.get(number)
        if stream is None or stream.recv_closed or stream.closed or stream.reset_received:
            return None
        if length > min(stream.recv_window, DATA_FRAME_BYTES_MAX):
            return None
        if not may_hold(connection, length) or not self._turns.at_once():
            return None
        data = bytes(ahead[HEADER_SIZE:end])
        del ahead[:end]
        stream.recv_window -= length
        buffer = connection.stream_buffers[number]
        sink: Sink | None = stream.__dict__.get(_SINK)
        if buffer or sink is None or stream.__dict__.get(_BUSY) or not sink(data):
            buffer += data
            connection.stream_events[number].set()
        return stream


def straight_to(stream: object, sink: Sink) -> None:
    """Have the data of a stream's frames handed over as they come.

    What `sink` refuses, and what comes behind that until it was read, is read as ever; so are the
    stream's ends. Does nothing for a stream that is not of yamux.
    """
    muxed = getattr(stream, "muxed_stream", None)
    if isinstance(muxed, YamuxStream):
        muxed.__dict__[_SINK] = sink


def busy(stream: YamuxStream, *, now: bool) -> None:
    """Say whether a stream's reader has something in hand: nothing may overtake that."""
    stream.__dict__[_BUSY] = now


def _wants_more(stream: YamuxStream) -> bool:
    """Whether half of a stream's window is used up: its sender should hear that there is room.

    Where a reader has not come yet, it says so itself.
    """
    if stream.recv_window > stream.target_recv_window // 2:
        return False
    return not stream.conn.stream_buffers.get(stream.stream_id)


def unread(connection: Yamux) -> int:
    """Bytes that have come on a connection, and that nobody has read."""
    return sum(map(len, connection.stream_buffers.values()))


def may_hold(connection: Yamux, more: int) -> bool:
    """Whether this much may wait to be read: on this connection, and on all of them."""
    held = unread(connection) + more
    if held > BUFFERED_BYTES_MAX:
        return False
    if held <= BUFFERED_BYTES_FREE:
        return True
    return sum(map(unread, living)) + more <= BUFFERED_BYTES_OF_ALL_MAX

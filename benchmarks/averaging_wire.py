"""The sealed sockets among the peers of averaging.py, and who sends to whom when.

Frames and cipher are dpin's, and sockets are set as the bulk plane sets its own; they are plain
blocking ones. What is near in time is near in memory: of ten million numbers most time is waiting
for memory, so a peer has two threads, one that sends to one other after another and one that
receives likewise, each with one buffer, and what has come is used while the cache has it.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dpin.base.blob import CHUNK_BYTES
from dpin.base.crypto import digest
from dpin.net.bulkframe import (
    CHUNK_FRAME_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Header,
    Kind,
    Opener,
    Sealer,
    read_header,
)
from dpin.net.bulkwire import unpaced_at_home

PIECE_BYTES: Final = CHUNK_BYTES // 2  # of a frame: it, and what becomes of it, fit a core's cache

Buffer = NDArray[np.uint8]
Frame = partial(bytearray, CHUNK_FRAME_BYTES)


@dataclass
class Peer:
    """One other peer: its socket, and of each direction the seal and a buffer."""

    wire: socket.socket
    sealer: Sealer
    opener: Opener
    out: bytearray = field(default_factory=Frame)
    come: bytearray = field(default_factory=Frame)


def connected(rank: int, ports: list[int]) -> dict[int, Peer]:
    """A sealed socket to every other peer; keys would be agreed over authenticated streams.

    They share a buffer to send from and one to receive into.
    """
    listener = socket.create_server(("127.0.0.1", ports[rank]))
    out, come = Frame(), Frame()
    peers = {}
    for other in range(len(ports)):
        if other == rank:
            continue
        wire = _dialled(ports[other], rank) if other < rank else None
        if wire is None:
            wire, _ = listener.accept()
            other_rank = wire.recv(1)[0]
        else:
            other_rank = other
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        unpaced_at_home(wire)
        there, back = _key(rank, other_rank), _key(other_rank, rank)
        peers[other_rank] = Peer(wire, Sealer(there), Opener(back), out, come)
    listener.close()
    return peers


def _dialled(port: int, rank: int) -> socket.socket:
    while True:
        try:
            wire = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            wire.sendall(bytes([rank]))
            return wire


def _key(source: int, target: int) -> bytes:
    return digest("dpin/benchmark/v1", bytes([source, target]))


def pieces(length: int) -> Iterator[slice]:
    """Where the frames of so many bytes begin and end."""
    for start in range(0, length, PIECE_BYTES):
        yield slice(start, min(start + PIECE_BYTES, length))


def send(peer: Peer, data: Buffer) -> None:
    """Seal and send, a piece at a time."""
    for piece in pieces(len(data)):
        send_piece(peer, data[piece])


def send_piece(peer: Peer, data: Buffer) -> None:
    """Seal and send one frame."""
    header = Header(len(data), Kind.CHUNK, 0)
    peer.wire.sendall(peer.sealer.seal_from(data.data, header, peer.out))


def receive(peer: Peer, data: Buffer) -> None:
    """Fill `data` with what comes, opened."""
    at = 0
    while at < len(data):
        at += receive_piece(peer, data[at:])


def receive_piece(peer: Peer, room: Buffer) -> int:
    """Open the next frame into the beginning of `room`; how long its body was."""
    head = bytearray(HEADER_BYTES)
    _fill(peer.wire, memoryview(head))
    header = read_header(head)
    sealed = memoryview(peer.come)[: header.length + TAG_BYTES]
    _fill(peer.wire, sealed)
    peer.opener.open_into(peer.opener.turn(), header, sealed, room.data[: header.length])
    return header.length


def _fill(wire: socket.socket, room: memoryview) -> None:
    if wire.recv_into(room, 0, socket.MSG_WAITALL) < len(room):
        raise ConnectionResetError


def after(rank: int, world: int) -> list[int]:
    """The others in the order in which a peer sends to them: no two send to the same one."""
    return [(rank + step) % world for step in range(1, world)]


def before(rank: int, world: int) -> list[int]:
    """The others in the order in which a peer receives from them."""
    return [(rank - step) % world for step in range(1, world)]


def beside(give: Callable[[], None], take: Callable[[], None]) -> None:
    """Send and receive at the same time."""
    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    take()
    giver.join()

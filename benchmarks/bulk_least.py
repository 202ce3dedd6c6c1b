"""The least that two processes need for a blob, with no loop nor questions: see benchmarks.bulk.

    python -m benchmarks.bulk_least take|give JSON

One blocking thread each. The giver reads a chunk from the file, seals it and sends it; the taker
receives it, opens it and hashes it.
"""

import os
import pathlib
import socket
import sys
from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.bulk_meter import Figures, Meter, Orders, say
from dpin.base.blob import CHUNK_BYTES
from dpin.base.crypto import blake3_digest
from dpin.net.bulkframe import TAG_BYTES
from dpin.net.bulkwire import unpaced_at_home


def take(orders: Orders) -> None:
    """Receive, open and hash so many bytes."""
    aead, frame = AESGCM(bytes(32)), memoryview(bytearray(CHUNK_BYTES + TAG_BYTES))
    body = frame[:CHUNK_BYTES]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        say(Figures(address=str(listener.getsockname()[1])))
        wire, _ = listener.accept()
    with wire:
        unpaced_at_home(wire)
        meter = Meter()
        for number in range(orders.length // CHUNK_BYTES):
            assert wire.recv_into(frame, 0, socket.MSG_WAITALL) == len(frame), "it ended early"
            aead.decrypt_into(number.to_bytes(12), frame, None, body)
            blake3_digest(body)
        say(meter.read())


def give(orders: Orders) -> None:
    """Read, seal and send so many bytes of a file."""
    aead, frame = AESGCM(bytes(32)), memoryview(bytearray(CHUNK_BYTES + TAG_BYTES))
    body = frame[:CHUNK_BYTES]
    with (
        socket.create_connection(("127.0.0.1", orders.port)) as wire,
        pathlib.Path(orders.file).open("rb") as file,
    ):
        unpaced_at_home(wire)
        meter = Meter()
        for number in range(orders.length // CHUNK_BYTES):
            os.preadv(file.fileno(), [body], number * CHUNK_BYTES)
            aead.encrypt_into(number.to_bytes(12), body, None, frame)
            wire.sendall(frame)
        say(meter.read())
        wire.recv(1)


ROLES: Final[dict[str, Callable[[Orders], None]]] = {"take": take, "give": give}

if __name__ == "__main__":
    ROLES[sys.argv[1]](msgspec.json.decode(sys.argv[2], type=Orders))

"""Stays in a thread, for chunks that come."""

from typing import Final

import trio

from dpin.base.ids import NodeId
from dpin.net.bulkasked import Land
from dpin.net.bulkflow import CHUNKS_AT_ONCE, Halted, Inflow
from dpin.net.bulkframe import HEADER_BYTES, Header, Kind, Opener, Sealer, read_header
from dpin.net.bulkwire import Wire
from dpin.net.network import Traffic
from dpin.net.pace import Pace

KEY: Final = bytes(32)
PEER: Final = NodeId(bytes(32))


class Landings:
    """What lands, and nobody waits for it."""

    def __init__(self) -> None:
        self.came: list[bytes] = []

    def landing(self, _number: int) -> Land:
        """Where all of it goes."""
        return lambda data: self.came.append(bytes(data))

    def landed(self, _number: int, _wrong: Exception | None) -> None:
        """The loop knows."""


async def stay(bodies: list[bytes], after: bytes = b"") -> tuple[Halted, list[bytes]]:
    """One stay, when so many chunks have come, and where it ended."""
    near, far = trio.socket.socketpair()
    sealer, free, landings, traffic = Sealer(KEY), Pace(None, None), Landings(), Traffic()
    wire = Wire(PEER, near, (free, free), lambda: traffic)
    inflow = Inflow(wire, Opener(KEY), landings, lambda _work: None)  # type: ignore[arg-type]
    frames = [sealer.sealed(Kind.CHUNK, number, body) for number, body in enumerate(bodies)]
    with far:
        await far.send(b"".join(frames) + after)
        head = memoryview(bytearray(HEADER_BYTES))
        assert wire.head_quickly(head, wire.pauses_in(lambda: None))
        halted = inflow.run(read_header(bytes(head)))
    wire.close()
    return halted, landings.came


async def test_a_stay_that_was_long_ends_before_the_next_chunk() -> None:
    bodies = [bytes([number]) * 100 for number in range(CHUNKS_AT_ONCE + 1)]
    halted, came = await stay(bodies)
    assert came == bodies[:-1]
    assert halted == Halted(Header(100, Kind.CHUNK, CHUNKS_AT_ONCE))


async def test_a_stay_ends_at_a_frame_that_is_the_loops() -> None:
    answer = bytes(Sealer(KEY).sealed(Kind.ANSWER, 7, b"no"))
    halted, came = await stay([b"chunk"], answer)
    assert came == [b"chunk"]
    assert halted == Halted(Header(2, Kind.ANSWER, 7))


async def test_a_stay_ends_in_the_middle_of_a_chunk_that_does_not_come() -> None:
    whole = bytes(Sealer(KEY).sealed(Kind.CHUNK, 1, bytes(50)))
    halted, came = await stay([b"chunk"], whole[: HEADER_BYTES + 20])
    assert came == [b"chunk"]
    assert halted == Halted(Header(50, Kind.CHUNK, 1), got=20)

"""Hosts with a cable of 200 ms and 2 % loss between them: packets are lost, and TCP mends it."""

import pytest
import trio

from dpin.base.ids import NodeId
from dpin.net.host import HostOptions
from tests.support.boxes import Box, wait_for
from tests.support.longcable import long_cable, missing_cable, sent_again
from tests.support.namespaces import internet, missing

LISTEN = ("/ip4/0.0.0.0/tcp/4610",)
PART = bytes(range(256)) * 512
PATIENCE_SECONDS = 60.0
DIALS_MAX = 3
PARTS_MAX = 20  # of 90 packets each: one part in six comes through without a loss
REASON = missing() or missing_cable()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


async def a_part(_peer: NodeId, _question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return PART


def test_a_dial_messages_and_part_of_a_chunk_get_over_a_cable_that_loses_packets() -> None:
    with internet() as world, long_cable(world) as (near, far, cable):
        boxes = [
            Box(space, HostOptions(bytes([number]) * 32, LISTEN))
            for number, space in ((1, near), (2, far))
        ]
        one, other = boxes
        try:
            other.now(other.host.serve, a_part)
            assert any(one.dial(other) == "" for _ in range(DIALS_MAX))
            words = [b"%d" % number for number in range(200)]
            for word in words:
                one.now(one.host.send, other.host.node_id, word)
            for _ in range(PARTS_MAX):
                told = one.call(one.host.request, other.host.node_id, b"?", PATIENCE_SECONDS)
                assert told == PART
                if sent_again(near) + sent_again(far):
                    break
            assert wait_for(lambda: len(other.received) == len(words), PATIENCE_SECONDS)
            assert other.received == words
        finally:
            for each in boxes:
                each.close()
        assert cable.lost > 0
        assert sent_again(near) + sent_again(far) > 0

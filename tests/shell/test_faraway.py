"""Real hosts with 200 ms and 2 % loss between them."""

import trio

from dpin.base.blob import CHUNK_BYTES
from dpin.base.ids import NodeId
from dpin.base.machine import Received
from dpin.net.host import HostOptions, open_host
from dpin.net.network import Gossip
from tests.support.faraway import ROUND_TRIP, far_line
from tests.support.hosts import next_of, seed, until

TOPIC = "news"
CHUNK = bytes(range(256)) * (CHUNK_BYTES // 256)


async def a_chunk(_peer: NodeId, _question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return CHUNK


async def test_a_dial_messages_gossip_and_a_chunk_get_over_a_long_line_that_loses() -> None:
    async with open_host(HostOptions(seed(1))) as one, open_host(HostOptions(seed(2))) as two:
        one.serve(a_chunk)
        for host in (one, two):
            await host.subscribe(TOPIC)
        port = one.addresses[0].split("/")[4]
        async with far_line(int(port)) as (far, line):
            began = trio.current_time()
            await two.dial(one.addresses[0].replace(f"/tcp/{port}/", f"/tcp/{far}/"))
            assert trio.current_time() - began > 2 * ROUND_TRIP  # It is far indeed.
            for number in range(200):
                assert two.send(one.node_id, b"%d" % number)
            heard = [(await next_of(one, Received)).payload for _ in range(200)]
            assert heard == [b"%d" % number for number in range(200)]
            assert await two.request(one.node_id, b"the chunk?", 60) == CHUNK
            await until(lambda: bool(two.observer.mesh().get(TOPIC)))
            await two.publish(TOPIC, b"from afar")
            assert (await next_of(one, Gossip)).payload == b"from afar"
            assert line.lost > 0
            assert two.peers() == [one.node_id]

"""Neighbours find each other where multicast works, and nothing breaks where it does not."""

import pytest
import trio

from dpin.base.errors import Unavailable
from dpin.base.machine import PeerUp
from dpin.net.host import HostOptions, open_host
from dpin.net.mdns import to_announce
from dpin.net.network import Found
from tests.support.hosts import next_of, seed

EVERYWHERE = ("/ip4/0.0.0.0/tcp/0",)


def test_loopback_is_not_announced() -> None:
    assert to_announce(["/ip4/127.0.0.1/tcp/1/p2p/x"]) is None
    assert to_announce(["/ip4/127.0.0.1/tcp/1/p2p/x", "/ip4/10.0.0.1/tcp/1/p2p/x"]) == (
        "/ip4/10.0.0.1/tcp/1/p2p/x"
    )


async def test_a_node_with_nothing_to_announce_works_all_the_same() -> None:
    async with (
        open_host(HostOptions(seed(1), mdns=True)) as one,
        open_host(HostOptions(seed(2))) as two,
    ):
        await two.dial(one.addresses[0])
        assert await next_of(one, PeerUp) == PeerUp(two.node_id)


async def test_neighbours_find_each_other() -> None:
    async with (
        open_host(HostOptions(seed(1), EVERYWHERE, mdns=True)) as one,
        open_host(HostOptions(seed(2), EVERYWHERE, mdns=True)) as two,
    ):
        found: Found | None = None
        with trio.move_on_after(6):
            found = await next_of(two, Found)
        if found is None:
            pytest.skip("no multicast on this machine")
        assert found.address in one.addresses
        try:
            assert await two.dial(found.address) == one.node_id
        except Unavailable:
            pytest.skip("the address of this machine cannot be dialled from itself")

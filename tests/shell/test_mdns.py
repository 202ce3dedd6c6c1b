"""Neighbours find each other where multicast works, and nothing breaks where it does not."""

from os import urandom

import pytest
import trio

from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerUp
from dpin.net.address import node_in
from dpin.net.host import Host, HostOptions, open_host
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


async def found_by(host: Host, node: NodeId) -> str:
    """Where a neighbour is, among all that are found; empty: it was not found."""
    address = ""
    with trio.move_on_after(6):
        while node_in(address) != node:
            address = (await next_of(host, Found)).address
    return address if node_in(address) == node else ""


async def test_neighbours_find_each_other() -> None:
    async with (  # With keys of their own: others may run this test beside us.
        open_host(HostOptions(urandom(32), EVERYWHERE, mdns=True)) as one,
        open_host(HostOptions(urandom(32), EVERYWHERE, mdns=True)) as two,
    ):
        address = await found_by(two, one.node_id)
        if not address:
            pytest.skip("no multicast on this machine")
        assert address in one.addresses
        try:
            assert await two.dial(address) == one.node_id
        except Unavailable:
            pytest.skip("the address of this machine cannot be dialled from itself")

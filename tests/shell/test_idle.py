"""What a connection that says nothing costs: few tasks, and what they did is still done."""

from contextlib import AsyncExitStack

import pytest
import trio
from libp2p.stream_muxer.yamux.yamux import RTT_MEASURE_INTERVAL, Yamux

from dpin.base.machine import PeerDown, PeerUp
from dpin.net import muxing
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.links import SILENCE_SECONDS
from dpin.net.switchboard import Switchboard
from tests.support.hosts import next_of, seed, two_hosts, until

CROWD = 5
TASKS_MAX = 10  # of one connection, on one side: 14 with those of libp2p


def board_of(host: Host) -> Switchboard:
    return host._board


def muxed_of(host: Host) -> Yamux:
    [connection] = board_of(host).connections()
    assert isinstance(connection.muxed_conn, Yamux)
    return connection.muxed_conn


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def settled() -> int:
    """Tasks, once their number stays."""
    number, calm = tasks(), 0
    with trio.fail_after(60):
        while calm < 10:
            await trio.sleep(0.1)
            calm = calm + 1 if tasks() == number else 0
            number = tasks()
    return number


async def test_a_connection_has_few_tasks() -> None:
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(open_host(HostOptions(seed(number))))
            for number in range(1, CROWD + 2)
        ]
        before = await settled()
        for host in hosts[1:]:
            await host.dial(hosts[0].addresses[0])
            await next_of(host, PeerUp)
        each = (await settled() - before) / CROWD
        assert each <= 2 * TASKS_MAX  # Both ends are here.


async def test_the_round_trip_of_a_new_connection_is_measured() -> None:
    async with two_hosts() as (one, two):
        await until(lambda: muxed_of(one).rtt() > 0 and muxed_of(two).rtt() > 0)
        assert muxed_of(one).rtt() < RTT_MEASURE_INTERVAL


async def test_a_peer_that_takes_no_bytes_is_measured_by_one_task_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(muxing, "RTT_MEASURE_INTERVAL", 1)
    async with two_hosts() as (one, _):
        muxed = muxed_of(one)
        await until(lambda: muxed._ping_id > 1)
        await muxed._write_lock.acquire()
        asked = muxed._ping_id
        await trio.sleep(3.5)
        assert muxed._ping_id <= asked + 1
        muxed._write_lock.release()
        await until(lambda: muxed._ping_id > asked + 1)


async def test_a_silent_peer_is_let_go_though_nobody_watches_it_alone() -> None:
    async with two_hosts() as (one, two):
        link = board_of(one).links[two.node_id]
        link._heard_at -= 2 * SILENCE_SECONDS
        assert (await next_of(one, PeerDown)).peer == two.node_id
        assert (await next_of(two, PeerDown)).peer == one.node_id

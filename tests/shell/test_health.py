"""Whole nodes with something wrong around them: each says what, and the one thing to do."""

from dataclasses import replace
from pathlib import Path

import pytest

from dpin.base.errors import Misuse, NotFound
from dpin.base.ids import NodeId
from dpin.net.address import peer_text
from dpin.net.bans import BLAMES_TO_BAN
from dpin.net.host import HostOptions, open_host
from dpin.node.control import LiftRequest, PingRequest, TraceRequest
from dpin.node.desk import Desk
from dpin.node.status import Check
from tests.support.cluster import network
from tests.support.hosts import seed, until
from tests.support.running import (
    held_back,
    kill,
    lasting,
    occupied,
    running_node,
    running_nodes,
    settings,
)

NOBODY = f"/ip4/127.0.0.1/tcp/1/p2p/{peer_text(NodeId(seed(9)))}"


def check(node: Desk, name: str) -> Check:
    [found] = [one for one in node.checks() if one.name == name]
    return found


async def test_nodes_that_meet_greet_each_other_and_are_dialled_back(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 2) as (one, two):
        await until(lambda: one.network().reach.verdict == "direct")
        await until(lambda: two.network().reach.verdict == "direct")
        view = two.network()
        [trial] = view.reach.trials
        assert (trial.proven, trial.outcome, trial.seen_at) == (True, "connected", "127.0.0.1")
        assert view.dials == {"connected": 1}
        assert view.clock_ahead_ms is not None
        assert abs(view.clock_ahead_ms) < 5_000
        assert view.bytes_in["ask"] > 0 < view.bytes_out["control"]
        await until(lambda: sum(two.network().announcement_delay.counts) > 0)
        [mesh] = two.network().mesh.values()
        assert mesh <= 1
        [link] = two.links()
        assert link.node_id == one.network().node_id
        assert (link.path, link.version, link.protocol) == ("direct", "test", 1)
        for name in ("listening", "peers", "bootstrap", "reach", "networks", "version", "clock"):
            assert check(two, name).verdict == "ok", name


async def test_a_peer_is_pinged_and_the_way_to_it_is_traced(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 2) as (one, two):
        await until(lambda: bool(two.links()))
        there = one.network().node_id
        pinged = await two.ping(PingRequest(node=there[:8], count=2))
        assert pinged.node_id == there
        assert all(trip is not None and trip > 0 for trip in pinged.round_trips)
        traced = await two.trace(TraceRequest(node=there))
        assert [step.name for step in traced.steps] == ["connection", "greeting", "status"]
        assert (traced.fix, all(step.ok for step in traced.steps)) == ("", True)
        with pytest.raises(NotFound, match="no node is known"):
            await two.ping(PingRequest(node="nobody"))


async def test_bootstrap_peers_that_are_down_are_named_and_the_node_works_alone(
    tmp_path: Path,
) -> None:
    async with running_node(tmp_path, choices=settings(NOBODY)) as node:
        await until(lambda: check(node, "bootstrap").verdict == "warn")
        found = check(node, "bootstrap")
        assert found.detail.startswith(
            f"1 of 1 bootstrap addresses do not answer, such as {NOBODY}"
        )
        assert "nobody listens there" in found.detail
        assert "start dpin on that machine" in found.fix
        traced = await node.trace(TraceRequest(node=seed(9).hex()))
        assert [(step.name, step.ok) for step in traced.steps] == [("dial", False)]
        assert "start dpin on that machine" in traced.fix
        with pytest.raises(Misuse, match="is not connected"):
            await node.ping(PingRequest(node=seed(9).hex()))
        assert node.node().state == "alone"


async def test_without_peers_it_says_whom_to_ask(tmp_path: Path) -> None:
    genesis, _ = network(4)
    async with running_node(tmp_path, genesis=genesis) as node:
        found = check(node, "peers")
        assert (found.verdict, found.detail) == (
            "warn",
            "no peers: this node knows nobody to dial",
        )
        assert "dpin net invite" in found.fix
        assert "dpin net join" in found.fix


async def test_a_network_that_cannot_be_opened_again_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_node(tmp_path) as node:
        host = lasting(node)
        port = int(host.addresses[0].split("/")[4])
        host.options = replace(host.options, listen=(f"/ip4/127.0.0.1/tcp/{port}",))
        gate = held_back(monkeypatch)
        kill(host)
        async with occupied(port):
            gate.set()
            await until(lambda: "in use" in host.problem)
            found = check(node, "listening")
            assert found.verdict == "fail"
            assert f"port {port} is in use" in found.detail
            assert node.network().is_open is False
        await until(lambda: check(node, "listening").verdict == "ok")


async def test_a_stranger_who_dials_and_says_nothing_is_no_peer(tmp_path: Path) -> None:
    async with (
        running_nodes(tmp_path, 2) as (one, two),
        open_host(HostOptions(seed(9), listen=())) as stranger,
    ):
        await until(lambda: one.node().peers == 1)
        await stranger.dial(one.node().addresses[0])
        await until(lambda: stranger.node_id in one._around.host.peers())
        assert one.node().peers == 1
        connected = [view.node_id for view in one.peers() if view.connected]
        assert connected == [two.node().node_id]


async def test_a_banned_node_is_listed_and_comes_back_when_its_ban_is_lifted(
    tmp_path: Path,
) -> None:
    async with running_nodes(tmp_path, 2) as (one, two):
        await until(lambda: one.node().peers == 1)
        other = two.node().node_id
        neighbours = one._around.neighbours()
        assert one.bans() == []
        for _ in range(BLAMES_TO_BAN):
            neighbours.blame(NodeId(bytes.fromhex(other)), "sent nonsense")
        [ban] = one.bans()
        assert (ban.subject, ban.offences, ban.reason) == (other, 1, "sent nonsense")
        await until(lambda: one.node().peers == 0)
        with pytest.raises(NotFound, match="nobody is banned"):
            one.lift(LiftRequest(subject="nobody"))
        lifted = one.lift(LiftRequest(subject=other[:12]))
        assert abs(lifted.until_ms - ban.until_ms) <= 1_000  # Reckoned from two clocks each time.
        # Its name may have become known in between.
        assert (lifted.subject, lifted.offences) == (ban.subject, ban.offences)
        assert lifted.reason == ban.reason
        assert one.bans() == []
        await until(lambda: one.node().peers == 1)

"""Four real processes keep one ledger, through `kill -9` and strangers at the door."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Final, Self

import pytest

from dpin.cli.exits import ExitCode
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.control import TransferRequest
from dpin.node.invite import read_invite
from scripts.demo_network import DemoNode, dpin, make_nodes, wait_for
from tests.support.network import (
    PATIENCE_SECONDS,
    Town,
    agreed,
    assert_conserved,
    assert_signed_once,
    own_round,
    pay,
    run,
    told,
    wait_ready,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

STREAM_MIN: Final = 10  # transfers before the kill, and again after it


def same_ledger(network: Town) -> None:
    """All have one root at one height, and no token is lost."""
    views = agreed(network.nodes)
    assert len({(view.ledger.root_height, view.ledger.root) for view in views}) == 1
    assert views[0].ledger.root is not None
    for view in views:
        assert_conserved(view)


def test_four_processes_agree_on_transfers(network: Town) -> None:
    receivers = [*network.nodes[1:], network.ada]
    heights = [
        pay(sender, receiver, "1.5")
        for sender, receiver in zip(network.nodes, receivers, strict=True)
    ]
    assert heights == sorted(heights)
    same_ledger(network)


def test_more_than_there_is_cannot_be_sent(network: Town) -> None:
    before = agreed(network.nodes)[0].money
    done = run(network.ada, "wallet", "send", network.bea.node_id, "9999999")
    assert done.returncode == ExitCode.OVER_BUDGET
    assert "9,999,999 is more than the" in done.stderr
    with Client(network.ada.home) as client:
        assert client.node().money.free == before.free


def test_the_network_around_a_node_is_told_by_its_commands(network: Town) -> None:
    ada, others = network.ada, [node.node_id for node in network.nodes[1:]]
    shown = told(ada, "net", "show")["node"]
    assert isinstance(shown, dict)
    assert (shown["node_id"], shown["is_open"], shown["peers"]) == (ada.node_id, True, 3)
    links = told(ada, "net", "peers")["links"]
    assert isinstance(links, list)
    assert sorted(link["node_id"] for link in links) == sorted(others)
    assert {link["path"] for link in links} == {"direct"}
    pinged = told(ada, "net", "ping", others[0][:12], "--count", "2")
    assert pinged["node_id"] == others[0]
    trips = pinged["round_trips"]
    assert isinstance(trips, list)
    assert len(trips) == 2
    assert all(0 < trip < 10_000_000 for trip in trips)
    traced = told(ada, "net", "trace", others[0])
    assert isinstance(traced["steps"], list)
    assert all(step["ok"] for step in traced["steps"])
    assert traced["fix"] == ""
    assert told(ada, "net", "bans")["bans"] == []
    invite = told(ada, "net", "invite")["invite"]
    assert isinstance(invite, str)
    assert read_invite(invite).addresses == tuple(shown["addresses"])


class Stream:
    """Transfers of one micro-token from ada to bea, one after the other, until told to end."""

    def __init__(self, network: Town) -> None:
        self.acknowledged = 0
        self.tried = 0
        self._end = Event()
        self._sender, self._receiver = network.ada, network.bea
        self._thread = Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _send(self) -> None:
        request = TransferRequest(to=self._receiver.node_id, amount="0.000001")
        with Client(self._sender.home) as client:
            while not self._end.is_set():
                self.tried += 1
                client.transfer(request)
                self.acknowledged += 1

    def more(self) -> None:
        """Wait until some more are acknowledged."""
        goal = self.acknowledged + STREAM_MIN
        wait_for("transfers go on", PATIENCE_SECONDS, lambda: self.acknowledged >= goal or None)


def test_a_validator_killed_in_a_stream_of_transfers_loses_nothing_and_signs_again(
    network: Town,
) -> None:
    dan = network.nodes[3]
    before = agreed(network.nodes)[1].money
    with Stream(network) as stream:
        stream.more()
        dan.kill()
        stream.more()  # three of four go on
        dan.start()
        wait_ready(dan)
        at_start = own_round(dan)
        stream.more()
    wait_for(
        "dan signs again",
        PATIENCE_SECONDS,
        lambda: own_round(dan) > at_start or None,
    )
    same_ledger(network)
    with Client(network.bea.home) as client:
        after = client.node().money
    gained = after.free + after.stake - before.free - before.stake
    assert stream.acknowledged == stream.tried == gained
    assert_signed_once(network.nodes)


def test_the_validator_that_acknowledges_is_killed_and_what_it_said_holds(network: Town) -> None:
    ada, cyd = network.ada, network.nodes[2]
    before = agreed(network.nodes)[2].money
    for _ in range(STREAM_MIN):
        pay_now(ada, cyd)
    ada.kill()
    ada.start()
    wait_ready(ada)
    same_ledger(network)
    with Client(ada.home) as client:
        peers = {peer.node_id: peer for peer in client.peers()}
    assert peers[cyd.node_id].free == before.free + STREAM_MIN
    assert_signed_once(network.nodes)


def pay_now(sender: DemoNode, receiver: DemoNode) -> None:
    """One micro-token, without the start of a command."""
    with Client(sender.home) as client:
        client.transfer(TransferRequest(to=receiver.node_id, amount="0.000001"))


@pytest.fixture
def stranger(network: Town, tmp_path: Path) -> Iterator[DemoNode]:
    """A node of another network that was told to dial ada."""
    (node,) = make_nodes(tmp_path, [("eve", "1", False)])
    dpin("net", "create", "elsewhere", "--home", node.folder)
    view = network.ada.look()
    assert view is not None
    os.environ["DPIN_NETWORK__BOOTSTRAP"] = view.addresses[0]
    try:
        node.start()
    finally:
        del os.environ["DPIN_NETWORK__BOOTSTRAP"]
    yield node
    node.stop()


def test_a_node_of_another_network_is_known_as_such_and_both_live(
    network: Town, stranger: DemoNode
) -> None:
    """By its greeting or, where it sent a message of its network before, by that."""

    def known() -> bool | None:
        with Client(network.ada.home) as client:
            blamed = [it for it in client.peers() if it.node_id == stranger.node_id and it.blame]
            (belongs,) = [one for one in client.checks() if one.name == "networks"]
        return True if blamed or stranger.node_id[:8] in belongs.detail else None

    wait_for("the stranger is known", PATIENCE_SECONDS, known)
    pay_now(network.ada, network.bea)
    same_ledger(network)
    views = [network.ada.look(), stranger.look()]
    assert [view and view.network for view in views] == ["town", "elsewhere"]
    with (
        pytest.raises(ClientError, match="more than the 10,000 that are free"),
        Client(stranger.home) as client,
    ):
        client.transfer(TransferRequest(to=network.ada.node_id, amount="99999"))

"""What is wrong is found out by greeting: another network, an old version, a clock that is off."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.base.units import Instant
from dpin.net import guards
from dpin.net.address import peer_text
from dpin.net.ask import (
    AskDialBack,
    AskStatus,
    DialledBack,
    Greeted,
    Refusal,
    greeting,
    write,
)
from dpin.net.dialback import fresh_nonce
from dpin.net.host import HostOptions, open_host
from dpin.net.network import ASK, DIAL_BACK, Outcome
from dpin.net.reachability import Verdict, ports_of
from dpin.node.acquaintances import Acquaintances
from tests.support.greeting import CHAIN, OTHER_CHAIN, STATUS, Greeter, greeter
from tests.support.hosts import PATIENCE_SECONDS, seed


async def meet(one: Greeter, other: Greeter) -> None:
    """Connect two and let the first greet the second."""
    await one.host.dial(other.host.addresses[0])
    assert await one.inquirer.greet(other.host.node_id)


@contextmanager
def silent_port() -> Iterator[int]:
    """A port where a connection never comes about, as behind a firewall that drops packets."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:  # Linux drops what the full queue has no room for.
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for filler in fillers:
                filler.close()


async def test_two_nodes_of_one_network_find_each_other_well() -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        for name in ("networks", "version", "clock", "reach", "listening", "peers"):
            assert one.check(name).verdict == "ok", name
        known = one.seen.acquaintances.known[two.host.node_id]
        assert (known.seen_at, known.version) == ("127.0.0.1", "1.0")
        assert 0 < known.round_trip < 5_000_000
        assert one.seen.tally.round_trips.count == 1


async def test_a_clock_that_is_off_by_minutes_is_said_with_its_side() -> None:
    async with greeter(1, ahead_seconds=303) as early, greeter(2) as right:
        await meet(early, right)
        await right.inquirer.greet(early.host.node_id)
        check = early.check("clock")
        assert check.verdict == "fail"
        assert check.detail.startswith("this machine's clock is 5 min 3 s ahead of that of 1 peer")
        assert "timedatectl" in check.fix
        assert "behind" in right.check("clock").detail


async def test_a_peer_of_another_network_is_left_and_named() -> None:
    async with greeter(1) as one, greeter(2, OTHER_CHAIN) as foreign:
        await meet(one, foreign)
        node = foreign.host.node_id
        assert "belongs to another network" in one.left[node]
        check = one.check("networks")
        assert check.verdict == "fail"
        assert OTHER_CHAIN[:8].hex() in check.detail
        assert "dpin net join" in check.fix
        assert one.check("version").verdict == "ok"


async def test_a_peer_of_another_network_that_hangs_up_first_is_left_and_named_as_well() -> None:
    async with greeter(1) as one, greeter(2, OTHER_CHAIN) as foreign:
        await meet(one, foreign)
        node = one.host.node_id
        assert foreign.check("networks").verdict == "fail"
        assert CHAIN[:8].hex() in foreign.check("networks").detail
        assert foreign.left == {}
        one.host.disconnect(foreign.host.node_id)
        with trio.fail_after(PATIENCE_SECONDS):
            while node in foreign.host.peers():
                await trio.sleep(0.01)
        assert not await foreign.inquirer.greet(node)
        assert "belongs to another network" in foreign.left[node]


def test_who_has_joined_this_network_since_is_a_stranger_no_more() -> None:
    known, node = Acquaintances(), NodeId(b"n" * 32)
    known.told(CHAIN, node, greeting(OTHER_CHAIN, "1.0", 0), Instant(1))
    assert "another network" in known.turned_away(CHAIN, node)
    known.told(CHAIN, node, greeting(CHAIN, "1.0", 0), Instant(2))
    assert known.turned_away(CHAIN, node) == ""


@pytest.mark.parametrize(("protocol", "whose"), [(0, "that one"), (2, "this node")])
async def test_a_version_too_old_is_said_to_be_the_right_ones(protocol: int, whose: str) -> None:
    async def answer(_peer: NodeId, _question: bytes) -> bytes:
        said = greeting(CHAIN, "0.0.1", 0)
        return write(Greeted(protocol, said.chain, said.version, 0, ""))

    async with greeter(1) as one, open_host(HostOptions(seed(2))) as other:
        other.serve(answer, ASK)
        await one.host.dial(other.addresses[0])
        await one.inquirer.greet(other.node_id)
        check = one.check("version")
        assert check.verdict in {"warn", "fail"}
        assert f"{whose} is too old" in check.detail
        assert "update dpin" in check.fix
        assert other.node_id in one.left


async def test_everybody_may_ask_how_a_node_is() -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        assert await one.inquirer.ask(two.host.node_id, AskStatus(), PATIENCE_SECONDS) == STATUS


async def test_a_node_that_can_be_dialled_is_told_so_and_knows_it_for_sure() -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        await one.inquirer.look_from_outside()
        found = one.seen.reachability.finding(one.host.addresses, one.now())
        assert found.verdict == Verdict.DIRECT
        assert "from this machine" in found.detail
        [trial] = one.seen.reachability.trials.values()
        assert (trial.proven, trial.outcome) == (True, Outcome.CONNECTED)


async def test_a_silent_firewall_is_told_from_a_closed_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        monkeypatch.setattr(guards, "DIAL_SECONDS", 1.0)  # Of the host that dials back.
        with silent_port() as port:
            one.host.addresses = [
                f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_text(one.host.node_id)}",
                f"/ip4/10.0.0.1/tcp/{port}/p2p/{peer_text(one.host.node_id)}",
            ]
            await one.inquirer.look_from_outside()
        check = one.check("reach")
        assert check.verdict == "warn"
        assert "a firewall or a router drops them silently" in check.detail
        assert f"sudo ufw allow {port}/tcp" in check.fix


async def test_another_node_at_the_port_is_told_from_this_one() -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        one.host.addresses = two.host.addresses
        await one.inquirer.look_from_outside()
        assert "another node answers at 127.0.0.1" in one.check("reach").detail


async def test_a_peer_that_lies_about_a_dial_back_is_not_believed() -> None:
    async with greeter(1) as one, open_host(HostOptions(seed(2))) as liar:

        async def lie(_peer: NodeId, _question: bytes) -> bytes:
            return write(DialledBack("127.0.0.1", ("connected",)))

        liar.serve(lie, ASK)
        await one.host.dial(liar.addresses[0])
        reachability = one.seen.reachability
        await one.inquirer._ask_dial_back(liar.node_id, ports_of(one.host.addresses))
        assert reachability.trials[liar.node_id].proven is False
        assert reachability.finding(one.host.addresses, one.now()).verdict == Verdict.OUTBOUND


async def test_nobody_is_dialled_back_twice_in_a_minute_or_without_an_address() -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        question = AskDialBack(fresh_nonce(), ports_of(one.host.addresses))
        node = two.host.node_id
        first = await one.inquirer.ask(node, question, PATIENCE_SECONDS)
        assert isinstance(first, DialledBack)
        again = await one.inquirer.ask(node, question, PATIENCE_SECONDS)
        assert again == Refusal("asked a moment ago")
        dial_backs = two.inquirer._dial_backs
        refused = await dial_backs.answer(NodeId(seed(3)), "", question)
        assert refused == Refusal("you are not connected directly")


async def test_a_dial_back_takes_ports_and_no_addresses_of_third_parties() -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        for ports in ((), (0,), (65_536,), (1, 2, 3, 4, 5), (7, 7)):
            with pytest.raises(Unavailable):
                await one.inquirer.ask(two.host.node_id, AskDialBack(fresh_nonce(), ports), 5)


async def test_a_nonce_that_nobody_was_given_is_refused() -> None:
    async with greeter(1) as one, greeter(2) as two:
        await meet(one, two)
        with pytest.raises((Unavailable, PeerFault)):
            await one.host.request(two.host.node_id, fresh_nonce(), 5, DIAL_BACK)


async def test_whoever_does_not_answer_after_a_sleep_is_let_go() -> None:
    async def never(_peer: NodeId, _question: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with greeter(1) as one, greeter(2) as two, open_host(HostOptions(seed(3))) as dead:
        dead.serve(never, ASK)
        await meet(one, two)
        await one.host.dial(dead.addresses[0])
        with trio.fail_after(PATIENCE_SECONDS):
            await one.inquirer.check([two.host.node_id, dead.node_id])
            while one.host.peers() != [two.host.node_id]:
                await trio.sleep(0.02)

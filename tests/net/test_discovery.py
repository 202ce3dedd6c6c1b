"""A node dials for ever, ever more rarely; keeps all validators; believes nobody."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import MICROS_PER_SECOND, Instant, Micros, after
from dpin.net.address import node_in, peer_text
from dpin.net.discovery import (
    ANSWER_EVERY,
    ATTEMPTS_MAX,
    BACK_OFF_MAX,
    BACK_OFF_MAX_VALIDATOR,
    DIAL_EXPIRES,
    DIALS_MAX,
    PEERS_WANTED,
    TOLD_MAX,
    AskPeers,
    Blamed,
    Dial,
    DialFailed,
    Discovery,
    Drop,
    Effect,
    Event,
    LearntAddresses,
    Start,
    TellPeers,
)
from dpin.net.peers import ADDRESSES_PER_PEER_MAX, BLAMES_TO_BAN, KNOWN_MAX, Peers

NOW = Instant(10**15)


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def address(number: int, port: int = 1) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_text(node(number))}"


ME, BOOT, BOB, EVE = 1, 2, 3, 4


def discovery(*bootstrap: int, validators: Sequence[int] = ()) -> Discovery:
    start = Start(
        me=node(ME),
        mine=(address(ME),),
        bootstrap=tuple(map(address, bootstrap)),
        validators=tuple(map(node, validators)),
    )
    return Discovery(start, Peers())


def dialled(effects: Sequence[Effect]) -> list[str]:
    return [effect.address for effect in effects if isinstance(effect, Dial)]


def told(effects: Sequence[Effect]) -> list[str]:
    """The kinds of Blame and Drop among the effects."""
    return [type(effect).__name__ for effect in effects if isinstance(effect, Blame | Drop)]


def test_a_node_that_knows_nobody_does_nothing_and_wants_no_tick() -> None:
    assert discovery().step(Tick(), NOW) == []


def test_the_bootstrap_address_is_dialled_and_only_once_at_a_time() -> None:
    machine = discovery(BOOT)
    effects = machine.step(Tick(), NOW)
    assert effects == [Dial(address(BOOT)), Wake(after(NOW, DIAL_EXPIRES))]
    assert machine.step(Tick(), NOW) == []


def waits(machine: Discovery, number: int, times: int) -> list[int]:
    """Let every dial fail; the microseconds from each failure to the next dial."""
    now, found, wakes = NOW, [], list[Instant]()

    def step(event: Event) -> Sequence[Effect]:
        effects = machine.step(event, now)
        wakes.extend(effect.at for effect in effects if isinstance(effect, Wake))
        return effects

    step(Tick())
    for _ in range(times):
        failed_at, effects = now, step(DialFailed(address(number), "refused"))
        while not dialled(effects):
            now = min(at for at in wakes if at > now)
            effects = step(Tick())
        found.append(now - failed_at)
    return found


def test_dialling_goes_on_for_ever_and_ever_more_rarely() -> None:
    found = waits(discovery(BOOT), BOOT, 40)
    assert found[0] <= 2 * MICROS_PER_SECOND
    assert found[3] < found[6]
    assert all(BACK_OFF_MAX // 2 <= wait <= BACK_OFF_MAX for wait in found[10:])
    assert len(set(found[10:])) > 10  # With jitter: nodes that failed together do not return so.


def test_a_validator_is_never_given_up_for_long() -> None:
    machine = discovery(BOB, validators=[ME, BOB])
    assert max(waits(machine, BOB, 40)) <= BACK_OFF_MAX_VALIDATOR


def test_a_dial_without_any_result_expires() -> None:
    machine = discovery(BOOT)
    machine.step(Tick(), NOW)
    effects = machine.step(Tick(), after(NOW, DIAL_EXPIRES))
    assert dialled(effects) == []
    wake = min(effect.at for effect in effects if isinstance(effect, Wake))
    assert dialled(machine.step(Tick(), wake)) == [address(BOOT)]


def test_the_addresses_of_a_peer_are_tried_in_turn() -> None:
    machine = discovery(BOOT)
    machine.step(LearntAddresses((address(BOOT, 2),)), NOW)
    now, tried = NOW, [address(BOOT)]
    for _ in range(4):
        machine.step(DialFailed(tried[-1], "refused"), now)
        now = after(now, BACK_OFF_MAX)
        tried += dialled(machine.step(Tick(), now))
    assert set(tried[1:]) == {address(BOOT), address(BOOT, 2)}


def test_a_peer_that_comes_is_asked_for_others_and_told_our_addresses() -> None:
    machine = discovery()
    assert machine.step(PeerUp(node(BOB)), NOW)[0] == Send(
        node(BOB), encode(AskPeers((address(ME),)))
    )


def test_a_peer_that_asks_is_told_of_those_who_are_here_and_not_too_often() -> None:
    machine = discovery()
    for number in (BOB, EVE):
        machine.step(PeerUp(node(number)), NOW)
    machine.step(Received(node(BOB), encode(AskPeers((address(BOB),)))), NOW)
    question = Received(node(EVE), encode(AskPeers((address(EVE),))))
    assert machine.step(question, NOW) == [Send(node(EVE), encode(TellPeers((address(BOB),))))]
    assert machine.step(question, after(NOW, Micros(ANSWER_EVERY - 1))) == []
    assert len(machine.step(question, after(NOW, ANSWER_EVERY))) == 1


def test_an_answer_is_bounded() -> None:
    machine = discovery()
    for number in range(10, 10 + 2 * TOLD_MAX):
        machine.step(PeerUp(node(number)), NOW)
        machine.step(Received(node(number), encode(AskPeers((address(number),)))), NOW)
    machine.step(PeerUp(node(BOB)), NOW)
    effects = machine.step(Received(node(BOB), encode(AskPeers(()))), NOW)
    assert isinstance(effects[0], Send)
    assert effects[0].payload.count(b"/p2p/") == TOLD_MAX


def test_those_told_of_are_dialled() -> None:
    machine = discovery()
    machine.step(PeerUp(node(BOB)), NOW)
    effects = machine.step(Received(node(BOB), encode(TellPeers((address(EVE), address(ME))))), NOW)
    assert dialled(effects) == [address(EVE)]


@pytest.mark.parametrize(
    "payload",
    [
        b"garbage",
        encode(TellPeers((address(EVE),) * (TOLD_MAX + 1))),
        encode(TellPeers(("nonsense",))),
        encode(AskPeers((address(EVE),))),
        encode(AskPeers((address(BOB),) * (ADDRESSES_PER_PEER_MAX + 1))),
    ],
)
def test_a_false_exchange_is_blamed_and_teaches_nothing(payload: bytes) -> None:
    machine = discovery()
    machine.step(PeerUp(node(BOB)), NOW)
    effects = machine.step(Received(node(BOB), payload), NOW)
    assert told(effects) == ["Blame"]
    assert dialled(effects) == []


def test_an_answer_that_nobody_asked_for_is_blamed() -> None:
    machine = discovery()
    machine.step(PeerUp(node(BOB)), NOW)
    answer = Received(node(BOB), encode(TellPeers(())))
    assert told(machine.step(answer, NOW)) == []
    assert told(machine.step(answer, NOW)) == ["Blame"]


def test_with_peers_enough_only_validators_are_dialled() -> None:
    machine = discovery(validators=[BOB])
    for number in range(10, 10 + PEERS_WANTED):
        machine.step(PeerUp(node(number)), NOW)
    assert dialled(machine.step(LearntAddresses((address(EVE),)), NOW)) == []
    assert dialled(machine.step(LearntAddresses((address(BOB),)), NOW)) == [address(BOB)]


def test_dials_at_once_are_bounded_validators_first() -> None:
    machine = discovery(validators=[99])
    addresses = tuple(map(address, range(10, 10 + KNOWN_MAX + 10)))
    effects = [*machine.step(LearntAddresses((*addresses[:50], address(99))), NOW)]
    assert dialled(effects)[0] == address(99)
    effects += machine.step(LearntAddresses(addresses), NOW)
    assert len(dialled(effects)) == DIALS_MAX


def test_attempts_are_bounded() -> None:
    machine = discovery()
    for number in range(10, 10 + ATTEMPTS_MAX + 10):
        machine.step(PeerUp(node(number)), NOW)
        machine.step(PeerDown(node(number)), NOW)
    assert len(machine._attempts) == ATTEMPTS_MAX


def test_a_peer_with_many_faults_is_dropped_and_stays_away() -> None:
    machine = discovery(BOB)
    machine.step(PeerUp(node(BOB)), NOW)
    effects = [machine.step(Blamed(node(BOB)), NOW) for _ in range(BLAMES_TO_BAN)]
    assert [told(some) for some in effects[-2:]] == [[], ["Drop"]]
    assert dialled(machine.step(PeerDown(node(BOB)), NOW)) == []
    assert told(machine.step(PeerUp(node(BOB)), NOW)) == ["Drop"]


def test_a_validator_is_not_banned() -> None:
    machine = discovery(validators=[BOB])
    for _ in range(3 * BLAMES_TO_BAN):
        assert told(machine.step(Blamed(node(BOB)), NOW)) == []


def test_a_peer_that_leaves_is_dialled_again() -> None:
    machine = discovery(BOB)
    machine.step(PeerUp(node(BOB)), NOW)
    gone = after(NOW, Micros(3600 * MICROS_PER_SECOND))
    assert dialled(machine.step(PeerDown(node(BOB)), gone)) == [address(BOB)]


anybody = st.integers(1, 6)
events = st.one_of(
    st.just(Tick()),
    st.builds(PeerUp, anybody.map(node)),
    st.builds(PeerDown, anybody.map(node)),
    st.builds(Blamed, anybody.map(node)),
    st.builds(lambda n: DialFailed(address(n), "refused"), anybody),
    st.builds(lambda n: LearntAddresses((address(n), "x")), anybody),
    st.builds(Received, anybody.map(node), st.binary(max_size=20)),
    st.builds(lambda n, m: Received(node(n), encode(TellPeers((address(m),)))), anybody, anybody),
    st.builds(lambda n, m: Received(node(n), encode(AskPeers((address(m),)))), anybody, anybody),
)


@given(st.lists(st.tuples(events, st.integers(0, 20_000_000)), max_size=60))
def test_no_history_dials_ourselves_or_a_peer_that_is_here(
    history: list[tuple[Event, int]],
) -> None:
    machine, now = discovery(BOOT, validators=[BOB]), NOW
    here: set[NodeId] = set()
    for event, wait in history:
        now = Instant(now + wait)
        effects = machine.step(event, now)
        if isinstance(event, PeerUp) and Drop(event.peer) not in effects:
            here.add(event.peer)
        if isinstance(event, PeerDown):
            here.discard(event.peer)
        nodes = {node_in(a) for a in dialled(effects)}
        assert not nodes & {node(ME), None}
        assert not nodes & here
        assert all(effect.at > now for effect in effects if isinstance(effect, Wake))

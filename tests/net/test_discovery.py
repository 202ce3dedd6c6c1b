"""A node dials for ever, ever more rarely; keeps all validators; believes nobody."""

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import MICROS_PER_SECOND, Instant, Micros, after
from dpin.net.address import node_in, peer_text
from dpin.net.bans import BLAMES_TO_BAN, NODES_TO_BAN_SITE, Bans
from dpin.net.dials import (
    ATTEMPTS_MAX,
    BACK_OFF_MAX,
    BACK_OFF_MAX_VALIDATOR,
    DIAL_EXPIRES,
    DIALS_MAX,
)
from dpin.net.discovery import (
    FEELER_EVERY,
    OUTBOUND_WANTED,
    PEERS_WANTED,
    Blamed,
    Dial,
    DialFailed,
    Discovery,
    Drop,
    Effect,
    Event,
    LearntAddresses,
    Moved,
    Refuse,
)
from dpin.net.introductions import (
    ANSWER_EVERY,
    EXCHANGE_BYTES_MAX,
    RENEW_EVERY,
    TOLD_MAX,
    AskPeers,
    Start,
    TellPeers,
)
from dpin.net.peers import Peers
from dpin.net.records import RECORD_BYTES_MAX, read_record, write_addresses, write_provider

NOW = Instant(10**15)
CHAIN = ChainId(bytes(31) + b"c")


@cache
def key(number: int) -> SigningKey:
    return SigningKey(number.to_bytes(32))


def node(number: int) -> NodeId:
    return key(number).node_id


@cache
def record(number: int, age: int = 0, port: int = 1, chain: ChainId = CHAIN) -> bytes:
    then = Instant(NOW - age * MICROS_PER_SECOND)
    return write_addresses(key(number), chain, (address(number, port),), then).raw


def address(number: int, port: int = 1) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_text(node(number))}"


ME, BOOT, BOB, EVE = 1, 2, 3, 4


def discovery(*bootstrap: int, validators: Sequence[int] = ()) -> Discovery:
    start = Start(
        key=key(ME),
        mine=(address(ME),),
        chain=CHAIN,
        bootstrap=tuple(map(address, bootstrap)),
        validators=tuple(map(node, validators)),
    )
    return Discovery(start, Peers(), Bans())


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
    effects = machine.step(PeerUp(node(BOB)), NOW)
    assert effects[0] == Send(node(BOB), encode(AskPeers(record(ME))))


def test_a_peer_that_asks_is_told_of_those_who_are_here_and_not_too_often() -> None:
    machine = discovery()
    for number in (BOB, EVE):
        machine.step(PeerUp(node(number)), NOW)
    machine.step(Received(node(BOB), encode(AskPeers(record(BOB)))), NOW)
    question = Received(node(EVE), encode(AskPeers(record(EVE))))
    assert machine.step(question, NOW) == [Send(node(EVE), encode(TellPeers((record(BOB),))))]
    assert machine.step(question, after(NOW, Micros(ANSWER_EVERY - 1))) == []
    assert len(machine.step(question, after(NOW, ANSWER_EVERY))) == 1


def test_an_answer_is_bounded() -> None:
    machine = discovery()
    for number in range(10, 10 + 2 * TOLD_MAX):
        machine.step(PeerUp(node(number)), NOW)
        machine.step(Received(node(number), encode(AskPeers(record(number)))), NOW)
    machine.step(PeerUp(node(BOB)), NOW)
    effects = machine.step(Received(node(BOB), encode(AskPeers(record(BOB)))), NOW)
    assert isinstance(effects[0], Send)
    assert effects[0].payload.count(b"/p2p/") == TOLD_MAX
    assert len(effects[0].payload) < EXCHANGE_BYTES_MAX


def test_those_told_of_are_dialled() -> None:
    machine = discovery()
    machine.step(PeerUp(node(BOB)), NOW)
    effects = machine.step(Received(node(BOB), encode(TellPeers((record(EVE), record(ME))))), NOW)
    assert dialled(effects) == [address(EVE)]


@pytest.mark.parametrize(
    "payload",
    [
        b"garbage",
        encode(TellPeers((record(EVE),) * (TOLD_MAX + 1))),
        encode(TellPeers((b"nonsense",))),
        encode(TellPeers((record(EVE)[:-1] + b"x",))),
        encode(TellPeers((record(BOOT), bytes(RECORD_BYTES_MAX + 1)))),
        encode(AskPeers(record(EVE))),
        encode(AskPeers(record(BOB, chain=ChainId(bytes(32))))),
        encode(AskPeers(write_provider(key(BOB), CHAIN, BlobId(bytes(32)), NOW).raw)),
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
    connected(machine, PEERS_WANTED)
    assert dialled(machine.step(LearntAddresses((address(EVE),)), NOW)) == []
    assert dialled(machine.step(LearntAddresses((address(BOB),)), NOW)) == [address(BOB)]


def test_dials_at_once_are_bounded_validators_first() -> None:
    machine = discovery(validators=[99])
    addresses = tuple(map(address, range(100, 120)))
    effects = [*machine.step(LearntAddresses((*addresses[:5], address(99))), NOW)]
    assert dialled(effects)[0] == address(99)
    effects += machine.step(LearntAddresses(addresses), NOW)
    assert len(dialled(effects)) == DIALS_MAX


def test_attempts_are_bounded() -> None:
    machine = discovery()
    for number in range(ATTEMPTS_MAX + 10):
        machine.step(PeerUp(NodeId(number.to_bytes(32))), NOW)
        machine.step(PeerDown(NodeId(number.to_bytes(32))), NOW)
    assert len(machine._dials._attempts) == ATTEMPTS_MAX


def connected(machine: Discovery, count: int) -> None:
    """So many peers that the node has dialled itself."""
    for number in range(100, 100 + count):
        machine.step(LearntAddresses((address(number),)), NOW)
        machine.step(PeerUp(node(number)), NOW)


def test_who_comes_in_keeps_nobody_from_going_out() -> None:
    machine = discovery()
    for number in range(10, 10 + 2 * PEERS_WANTED):
        machine.step(PeerUp(node(number)), NOW)
    assert dialled(machine.step(LearntAddresses((address(EVE),)), NOW)) == [address(EVE)]
    assert machine.anchors() == []
    machine.step(PeerUp(node(EVE)), NOW)
    assert machine.anchors() == [node(EVE)]


def test_anchors_are_dialled_before_hearsay() -> None:
    peers = Peers()
    for number in range(10, 60):
        peers.learn(node(number), address(number))
    start = Start(key(ME), (), CHAIN, anchors=(node(42), node(17)))
    effects = Discovery(start, peers, Bans()).step(Tick(), NOW)
    assert dialled(effects)[:2] == [address(42), address(17)]


def test_now_and_then_a_stranger_is_tried_and_let_go() -> None:
    machine = discovery()
    connected(machine, max(PEERS_WANTED, OUTBOUND_WANTED))
    later = after(NOW, Micros(2 * FEELER_EVERY))
    assert dialled(machine.step(LearntAddresses((address(EVE),)), later)) == [address(EVE)]
    assert machine.peers.strangers() == [node(EVE)]
    assert told(machine.step(PeerUp(node(EVE)), later)) == ["Drop"]
    assert machine.peers.strangers() == []
    machine.step(PeerDown(node(EVE)), later)
    assert dialled(machine.step(Tick(), after(later, Micros(2 * FEELER_EVERY)))) == []
    assert told(machine.step(PeerUp(node(EVE)), later)) == []  # It comes itself: welcome.


def test_an_older_record_changes_nothing() -> None:
    machine = discovery()
    for age, port in ((1, 22), (2, 11)):
        machine.step(PeerUp(node(BOB)), NOW)
        told_of = TellPeers((record(EVE, age, port),))
        machine.step(Received(node(BOB), encode(told_of)), NOW)
    assert machine.peers.addresses(node(EVE)) == (address(EVE, 22),)


def test_a_node_that_moves_tells_all_its_peers_by_a_newer_record() -> None:
    machine = discovery()
    sent = [effect for effect in machine.step(PeerUp(node(BOB)), NOW) if isinstance(effect, Send)]
    later = after(NOW, Micros(MICROS_PER_SECOND))
    sent += [e for e in machine.step(Moved((address(ME, 9),)), later) if isinstance(e, Send)]
    records = [read_record(CHAIN, decode(AskPeers, e.payload).mine) for e in sent]
    assert [one.addresses for one in records] == [(address(ME),), (address(ME, 9),)]
    assert records[0].expires < records[1].expires


def test_a_record_is_told_again_before_it_ends_and_an_old_one_is_not_passed_on() -> None:
    machine = discovery()
    for number in (BOB, EVE):
        machine.step(PeerUp(node(number)), NOW)
        machine.step(Received(node(number), encode(AskPeers(record(number)))), NOW)
    renewed = machine.step(Tick(), after(NOW, RENEW_EVERY))
    assert [e.peer for e in renewed if isinstance(e, Send)] == sorted([node(BOB), node(EVE)])
    late = after(NOW, Micros(3 * RENEW_EVERY))
    effects = machine.step(Received(node(BOB), encode(AskPeers(b""))), late)
    assert Send(node(BOB), encode(TellPeers(()))) in effects


def test_an_answer_is_bounded_by_what_others_signed_and_comes_once_in_a_while() -> None:
    """No amplification: whoever asks has a connection, and so has proved where it is."""
    machine = discovery()
    question = Received(node(EVE), encode(AskPeers(record(EVE))))
    assert [e for e in machine.step(question, NOW) if isinstance(e, Send)] == []  # Not connected.


def test_the_site_of_many_banned_nodes_is_refused_until_that_ends() -> None:
    machine, effects = discovery(), list[Effect]()
    for number in range(10, 10 + NODES_TO_BAN_SITE):
        for _ in range(BLAMES_TO_BAN):
            blamed = Blamed(node(number), f"203.0.114.{number}", "lied")
            effects += machine.step(blamed, NOW)
    assert [e for e in effects if isinstance(e, Refuse)] == [Refuse(("203.0.114.0/24",))]
    later = after(NOW, Micros(24 * 3600 * MICROS_PER_SECOND))
    assert Refuse(()) in machine.step(Tick(), later)


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
    st.builds(lambda n, m: Received(node(n), encode(TellPeers((record(m),)))), anybody, anybody),
    st.builds(lambda n, m: Received(node(n), encode(AskPeers(record(m)))), anybody, anybody),
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

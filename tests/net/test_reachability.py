"""From what peers find to a verdict with its fix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import Instant
from dpin.net.ask import (
    Answer,
    AskDialBack,
    AskStatus,
    DialledBack,
    Greeted,
    Greeting,
    Question,
    Refusal,
    Status,
    read_answer,
    read_question,
    write,
)
from dpin.net.reachability import (
    TRIAL_LASTS,
    TRIALS_MAX,
    Reachability,
    Scope,
    Verdict,
    ip_of,
    ports_of,
    scope_of,
)

NOW = Instant(1_700_000_000_000_000)
PUBLIC = ["/ip4/93.184.216.34/tcp/4610/p2p/x", "/ip4/127.0.0.1/tcp/4610/p2p/x"]
HOME = ["/ip4/192.168.1.7/tcp/4610/p2p/x"]
text = st.text(st.characters(categories=["L", "N", "P"]), max_size=20)


def peer(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def found(seen_at: str, outcome: str, *, proven: bool, number: int = 1) -> Reachability:
    reachability = Reachability()
    _try(reachability, number, seen_at, outcome, proven=proven)
    return reachability


def _try(
    reachability: Reachability, number: int, seen_at: str, outcome: str, *, proven: bool
) -> None:
    nonce = number.to_bytes(16)
    reachability.asked(peer(number), nonce, (4610,))
    if proven:
        assert reachability.came(nonce)
    reachability.answered(peer(number), DialledBack(seen_at, (outcome,)), NOW)


@pytest.mark.parametrize(
    ("ip", "scope"),
    [
        ("127.0.0.1", Scope.MACHINE),
        ("::1", Scope.MACHINE),
        ("192.168.1.7", Scope.LOCAL),
        ("fe80::1", Scope.LOCAL),
        ("93.184.216.34", Scope.EVERYWHERE),
        ("2606:2800:220:1::1", Scope.EVERYWHERE),
        ("nonsense", Scope.NOWHERE),
        ("", Scope.NOWHERE),
    ],
)
def test_an_address_is_of_this_machine_the_local_network_or_the_world(
    ip: str, scope: Scope
) -> None:
    assert scope_of(ip) == scope


@pytest.mark.parametrize(
    ("outcome", "addresses", "words", "fix"),
    [
        ("silent", PUBLIC, "drops them silently", "ufw allow 4610/tcp"),
        ("silent", HOME, "drops them silently", "forward TCP port 4610"),
        ("refused", HOME, "nobody listens at 93.184.216.34", "forward TCP port 4610"),
        ("wrong-node", HOME, "another node answers", "forward TCP port 4610"),
        ("refused", PUBLIC[1:], "nobody listens", "--listen /ip4/0.0.0.0/tcp/4610"),
        ("failed", HOME, "could not dial", "forward TCP port 4610"),
    ],
)
def test_each_way_to_fail_has_its_sentence_and_its_fix(
    outcome: str, addresses: list[str], words: str, fix: str
) -> None:
    finding = found("93.184.216.34", outcome, proven=False).finding(addresses, NOW)
    assert finding.verdict == Verdict.OUTBOUND
    assert words in finding.detail
    assert fix in finding.fix


def test_one_proof_outweighs_all_that_peers_say() -> None:
    reachability = found("93.184.216.34", "connected", proven=True)
    for number in range(2, 9):
        _try(reachability, number, "93.184.216.34", "silent", proven=False)
    finding = reachability.finding(HOME, NOW)
    assert (finding.verdict, finding.scope) == (Verdict.DIRECT, Scope.EVERYWHERE)
    assert finding.seen_at == "93.184.216.34"


def test_a_word_without_the_nonce_proves_nothing() -> None:
    finding = found("93.184.216.34", "connected", proven=False).finding(HOME, NOW)
    assert finding.verdict == Verdict.OUTBOUND


def test_only_the_world_proves_anything_to_relays() -> None:
    assert found("93.184.216.34", "connected", proven=True).proof(HOME, NOW) is True
    assert found("93.184.216.34", "silent", proven=False).proof(HOME, NOW) is False
    for near in ("127.0.0.1", "192.168.1.9"):
        for proven in (True, False):
            assert found(near, "refused", proven=proven).proof(HOME, NOW) is None
    assert Reachability().proof(HOME, NOW) is None


def test_from_the_widest_place_it_is_told() -> None:
    reachability = found("127.0.0.1", "connected", proven=True)
    near = reachability.finding(PUBLIC, NOW)
    assert (near.scope, near.verdict) == (Scope.MACHINE, Verdict.DIRECT)
    assert "nobody has tried from further away" in near.detail
    _try(reachability, 2, "93.184.216.34", "connected", proven=True)
    assert reachability.finding(PUBLIC, NOW).scope == Scope.EVERYWHERE


def test_a_relay_reaches_where_nobody_else_does() -> None:
    relayed = [*HOME, "/ip4/1.2.3.4/tcp/1/p2p/r/p2p-circuit/p2p/x"]
    finding = found("93.184.216.34", "silent", proven=False).finding(relayed, NOW)
    assert finding.verdict == Verdict.RELAY
    assert "forward TCP port 4610" in finding.fix


def test_old_trials_say_nothing_and_without_any_the_verdict_is_unknown() -> None:
    reachability = found("127.0.0.1", "connected", proven=True)
    later = Instant(NOW + TRIAL_LASTS)
    assert reachability.finding(PUBLIC, later).verdict == Verdict.UNKNOWN
    assert Reachability().finding(PUBLIC, NOW).verdict == Verdict.UNKNOWN


def test_what_peers_say_is_kept_of_few_and_checked() -> None:
    reachability = Reachability()
    for number in range(TRIALS_MAX + 3):
        _try(reachability, number, "127.0.0.1", "refused", proven=False)
    assert len(reachability.trials) == TRIALS_MAX
    assert reachability.answered(peer(1), DialledBack("127.0.0.1", ("x",)), NOW) is None
    for bad in (DialledBack("127.0.0.1", ()), DialledBack("nowhere", ("connected",))):
        reachability.asked(peer(1), bytes(16), (4610,))
        with pytest.raises(PeerFault):
            reachability.answered(peer(1), bad, NOW)
    assert not reachability.came(b"never asked....!")


def test_ports_and_addresses_are_read_from_multiaddresses() -> None:
    assert ports_of([*PUBLIC, "/ip6/::1/tcp/99/p2p/x"]) == (99, 4610)
    assert ip_of("/ip6/::1/tcp/99/p2p/x") == "::1"
    assert ip_of("/dns4/host/tcp/1") == ip_of("nonsense") == ""


QUESTIONS = st.one_of(
    st.builds(Greeting, st.integers(0, 9), st.binary(min_size=8, max_size=8), text, st.integers(0)),
    st.just(AskStatus()),
    st.builds(
        AskDialBack,
        st.binary(min_size=16, max_size=16),
        st.lists(st.integers(1, 65_535), min_size=1, max_size=4, unique=True).map(tuple),
    ),
)
ANSWERS = st.one_of(
    st.builds(
        Greeted, st.integers(0, 9), st.binary(min_size=8, max_size=8), text, st.integers(0), text
    ),
    st.builds(DialledBack, text, st.lists(text, max_size=4).map(tuple)),
    st.builds(Refusal, text),
    st.just(Status(1, bytes(32), "town", "ada", "1", 1, 0, 1, b"", 2, False, 3, 4)),
)


@given(QUESTIONS.filter(lambda q: not isinstance(q, Greeting) or q.clock_ms < 1 << 63))
def test_questions_are_read_as_they_were_written(question: Question) -> None:
    assert read_question(write(question)) == question


@given(ANSWERS.filter(lambda a: not isinstance(a, Greeted) or a.clock_ms < 1 << 63))
def test_answers_are_read_as_they_were_written(answer: Answer) -> None:
    assert read_answer(write(answer)) == answer


@given(st.binary(max_size=200))
def test_nonsense_is_a_fault_and_nothing_else(data: bytes) -> None:
    for read in (read_question, read_answer):
        try:
            read(data)
        except PeerFault:
            continue


@pytest.mark.parametrize(
    "answer",
    [
        Greeted(1, bytes(8), "\x1b[2J", 0, ""),
        Greeted(1, bytes(7), "1", 0, ""),
        Greeted(1, bytes(8), "1", 0, "x" * 200),
        Refusal("line\nbreak"),
        DialledBack("127.0.0.1", ("\x07",)),
    ],
)
def test_what_a_stranger_writes_cannot_move_a_cursor(answer: Answer) -> None:
    with pytest.raises(PeerFault):
        read_answer(write(answer))

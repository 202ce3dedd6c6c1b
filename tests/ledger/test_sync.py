"""Catching up by range: one peer at a time, page by page, led astray by nobody."""

from dpin.base.ids import NodeId, Round
from dpin.base.machine import Send
from dpin.base.units import NEVER, Instant, after, seconds
from dpin.ledger.committee import first_committee
from dpin.ledger.dag import Dag
from dpin.ledger.messages import AskRange, Blocks, read_message
from dpin.ledger.serve import place
from dpin.ledger.sync import PROBES_MAX, QUIET_FIRST, QUIET_MAX, Ahead, Ranges, Triggers
from tests.support.cluster import START
from tests.support.dags import committee_of
from tests.support.forge import Forge

FORGE = Forge()
PEERS = [NodeId(bytes([number]) * 32) for number in range(3)]


def empty() -> Dag:
    return Dag(FORGE.roots, first_committee(FORGE.genesis, FORGE.chain), 60)


def asked(sends: list[Send]) -> list[tuple[NodeId, int]]:
    found = []
    for send in sends:
        question = read_message(send.payload)
        assert isinstance(question, AskRange)
        found.append((send.peer, int(question.start.round)))
    return found


def page(then: int | None) -> Blocks:
    return Blocks((), place(Round(then)) if then is not None else None)


def test_peers_are_probed_one_after_another() -> None:
    ranges = Ranges(0, empty())
    for peer in PEERS[:2]:
        ranges.probe(peer)
    assert asked(ranges.step(START)) == [(PEERS[0], 0)]
    assert ranges.step(START) == []
    assert ranges.answered(PEERS[0], page(None), useful=True, now=START) == []
    assert asked(ranges.step(START)) == [(PEERS[1], 0)]
    assert not ranges.idle


def test_pages_follow_each_other_while_they_bring_something_new() -> None:
    ranges = Ranges(0, empty())
    ranges.probe(PEERS[0])
    ranges.step(START)
    assert asked(ranges.answered(PEERS[0], page(9), useful=True, now=START)) == [(PEERS[0], 9)]
    assert asked(ranges.answered(PEERS[0], page(20), useful=True, now=START)) == [(PEERS[0], 20)]
    assert ranges.answered(PEERS[0], page(30), useful=False, now=START) == []
    assert ranges.idle


def test_a_page_that_leads_backwards_ends_the_probe() -> None:
    ranges = Ranges(0, empty())
    ranges.probe(PEERS[0])
    ranges.step(START)
    ranges.answered(PEERS[0], page(9), useful=True, now=START)
    assert ranges.answered(PEERS[0], page(9), useful=True, now=START) == []
    assert ranges.idle


def test_a_page_nobody_asked_for_leads_nowhere() -> None:
    ranges = Ranges(0, empty())
    ranges.probe(PEERS[0])
    ranges.step(START)
    assert ranges.answered(PEERS[1], page(9), useful=True, now=START) == []
    assert not ranges.idle


def test_a_silent_peer_is_given_up_and_the_next_one_asked() -> None:
    ranges = Ranges(0, empty())
    for peer in PEERS[:2]:
        ranges.probe(peer)
    ranges.step(START)
    assert ranges.next_at == after(START, seconds(2))
    assert asked(ranges.step(ranges.next_at)) == [(PEERS[1], 0)]
    ranges.left(PEERS[1])
    assert ranges.idle
    assert ranges.next_at == NEVER


def test_only_so_many_probes_wait() -> None:
    ranges = Ranges(0, empty())
    for number in range(PROBES_MAX + 9):
        ranges.probe(NodeId(number.to_bytes(32)))
    count = 0
    while ranges.step(START):
        count += 1
        ranges.left(NodeId((count - 1).to_bytes(32)))
    assert count == PROBES_MAX


def test_one_liar_cannot_make_a_node_believe_that_it_is_behind() -> None:
    ahead = Ahead(committee_of([1, 1, 1, 1]))
    ahead.saw(0, 10**9)
    assert not ahead.behind(Round(0))
    ahead.saw(1, 6)
    assert ahead.behind(Round(0))
    assert not ahead.behind(Round(1))


def quiet_moments(length: int, *, pending: bool) -> list[int]:
    """Seconds at which a quiet node probes somebody."""
    dag = empty()
    triggers = Triggers(dag, Ranges(0, dag))
    triggers.accepted(START)
    moments = [Instant(after(START, seconds(number))) for number in range(length)]
    return [
        (now - START) // QUIET_FIRST
        for now in moments
        if triggers.quiet(PEERS, now, pending=pending)
    ]


def test_a_quiet_node_asks_ever_less_often_unless_work_is_pending() -> None:
    assert quiet_moments(200, pending=False) == [1, 3, 7, 15, 31, 63, 127, 191]
    assert quiet_moments(5, pending=True) == [1, 2, 3, 4]
    assert QUIET_MAX == 64 * QUIET_FIRST

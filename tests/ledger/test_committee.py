"""Weights, quorums, leaders and the lower median."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.crypto import digest
from dpin.base.ids import ChainId, NodeId, Round
from dpin.ledger.committee import Committee, first_committee, lower_median, tolerated
from dpin.ledger.genesis import chain_id
from tests.support.cluster import network
from tests.support.dags import committee_of


@pytest.mark.parametrize(
    ("members", "quorum", "honest"), [(1, 1, 1), (4, 3, 2), (5, 4, 2), (7, 5, 3), (31, 21, 11)]
)
def test_a_quorum_is_more_than_two_thirds(members: int, quorum: int, honest: int) -> None:
    committee = committee_of([1] * members)
    assert (committee.quorum, committee.honest) == (quorum, honest)


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=31))
def test_two_quorums_share_more_than_a_third(weights: list[int]) -> None:
    committee = committee_of(weights)
    assert 3 * (2 * committee.quorum - committee.total) > committee.total
    assert 3 * (committee.total - committee.honest) < 3 * committee.quorum
    assert committee.total - committee.quorum < committee.honest


def test_leaders_are_drawn_by_weight_and_the_same_for_all() -> None:
    committee = committee_of([1, 2, 3, 4])
    led = Counter(committee.leader(Round(number)) for number in range(10_000))
    for author, weight in enumerate(committee.weights):
        assert abs(led[author] - 1_000 * weight) < 200
    assert [committee.leader(Round(number)) for number in range(8)] == [
        Committee(committee.members, committee.weights, committee.seed).leader(Round(number))
        for number in range(8)
    ]
    assert committee.leaders(Round(5)) == (committee.leader(Round(5)),)


def test_the_first_leaders_depend_on_the_chain() -> None:
    genesis, keys = network(4)
    chain = chain_id(genesis)
    committee = first_committee(genesis, chain)
    other = first_committee(genesis, ChainId(digest("test/chain", chain)))
    assert [committee.leader(Round(r)) for r in range(64)] != [
        other.leader(Round(r)) for r in range(64)
    ]
    assert [committee.index(key.node_id) for key in keys] == [0, 1, 2, 3]
    assert committee.index(NodeId(bytes(32))) is None


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([(5, 1)], 5),
        ([(1, 1), (9, 1)], 1),
        ([(9, 1), (1, 1), (5, 1)], 5),
        ([(1, 1), (2, 1), (3, 1), (100, 1)], 2),
        ([(1, 1), (2, 1), (3, 5)], 3),
        ([(1, 4), (2, 1), (3, 2)], 1),
    ],
)
def test_the_lower_median_has_half_the_weight(values: list[tuple[int, int]], median: int) -> None:
    assert lower_median(values) == median


@given(st.lists(st.integers(-(10**6), 10**6), min_size=3, max_size=3), st.integers())
def test_one_liar_of_four_cannot_move_the_median_beyond_the_honest(
    honest: list[int], lie: int
) -> None:
    median = lower_median([(value, 1) for value in [*honest, lie]])
    assert min(honest) <= median <= max(honest)


@pytest.mark.parametrize(
    ("weights", "count"),
    [
        ([1], 0),
        ([1] * 3, 0),
        ([1] * 4, 1),
        ([1] * 6, 1),
        ([1] * 7, 2),
        ([1] * 31, 10),
        ([5, 1, 1, 1, 1], 0),
        ([2, 1, 1, 1, 1, 1], 1),
    ],
)
def test_as_many_may_be_faulty_as_weigh_less_than_a_third_whoever_they_are(
    weights: list[int], count: int
) -> None:
    assert tolerated(weights) == count
    heaviest = sorted(weights, reverse=True)
    assert 3 * sum(heaviest[:count]) < sum(weights)
    assert 3 * sum(heaviest[: count + 1]) >= sum(weights)

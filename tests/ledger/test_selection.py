"""Who is seated, as a function of numbers: sizes, the cap, and how fast a committee may change."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.ids import NodeId
from dpin.ledger.selection import Candidate, capped, choose

bonds = st.lists(st.integers(1, 10**15) | st.integers(1, 30), min_size=1, max_size=31)


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def candidates(stayers: list[int], newcomers: list[int]) -> list[Candidate]:
    stand = [(bond, True) for bond in stayers] + [(bond, False) for bond in newcomers]
    return [Candidate(node(place), bond, stays) for place, (bond, stays) in enumerate(stand)]


@given(st.lists(st.integers(1, 10**15) | st.integers(1, 30), min_size=5, max_size=31))
def test_of_five_or_more_nobody_weighs_more_than_a_fifth(stakes: list[int]) -> None:
    weights = capped(stakes)
    assert 5 * max(weights) <= sum(weights)
    assert all(0 < weight <= stake for weight, stake in zip(weights, stakes, strict=True))


@given(st.lists(st.integers(1, 40), min_size=5, max_size=12))
def test_the_cap_is_the_largest_that_keeps_to_a_fifth(stakes: list[int]) -> None:
    fitting = [c for c in range(sum(stakes) + 1) if 5 * c <= sum(min(s, c) for s in stakes)]
    assert capped(stakes) == [min(stake, max(fitting)) for stake in stakes]


def test_one_or_four_weigh_the_same_whatever_their_bonds() -> None:
    assert capped([9]) == [1]
    assert capped([9, 1, 500, 3]) == [1, 1, 1, 1]


@given(bonds, bonds, st.integers(4, 31))
def test_a_committee_that_is_chosen_has_a_legal_size_and_known_people_above_two_thirds(
    stayers: list[int], newcomers: list[int], most: int
) -> None:
    people = candidates(stayers, newcomers)
    weights = choose(people, max(4, len(stayers)), most)
    stays = {one.node for one in people if one.stays}
    if weights is None:
        assert len(stayers) < 4
        return
    assert 4 <= len(weights) <= most
    assert set(weights) <= {one.node for one in people}
    new = sum(weight for who, weight in weights.items() if who not in stays)
    assert 3 * new < sum(weights.values())


@given(bonds, bonds, st.data())
def test_the_choice_does_not_depend_on_the_order_of_the_candidates(
    stayers: list[int], newcomers: list[int], data: st.DataObject
) -> None:
    people = candidates(stayers, newcomers)
    shuffled = data.draw(st.permutations(people))
    assert choose(people, 4, 31) == choose(shuffled, 4, 31)


@given(bonds)
def test_of_those_who_stay_the_largest_bonds_are_seated(stayers: list[int]) -> None:
    people = candidates(stayers, [])
    weights = choose(people, max(4, len(people)), 6)
    if len(stayers) < 4:
        assert weights is None
        return
    assert weights is not None
    assert len(weights) == min(6, len(stayers))
    left = [one.bond for one in people if one.node not in weights]
    assert all(one.bond >= max(left, default=0) for one in people if one.node in weights)


def test_one_grows_to_four_and_to_nothing_else() -> None:
    assert choose(candidates([5], [9, 9]), 1, 31) is None
    grown = choose(candidates([5], [9, 7, 8, 6, 6]), 1, 31)
    assert grown == dict.fromkeys([node(0), node(1), node(2), node(3)], 1)
    assert choose(candidates([5], []), 1, 31) is None


def test_four_may_replace_one_but_not_two() -> None:
    assert choose(candidates([5, 5, 5], [9]), 4, 31) is not None
    assert choose(candidates([5, 5], [9, 9]), 4, 31) is None


def test_newcomers_with_the_largest_bonds_come_first_and_no_faster_than_a_third() -> None:
    weights = choose(candidates([5] * 4, [9, 8, 7]), 4, 31)
    assert weights is not None
    assert set(weights) == {node(0), node(1), node(2), node(3), node(4)}
    weights = choose(candidates([5] * 7, [5] * 7), 7, 31)
    assert weights is not None
    assert len(weights) == 7 + 3


def test_of_equal_bonds_whoever_is_a_member_stays() -> None:
    weights = choose(candidates([5] * 6, [5] * 6), 6, 6)
    assert weights == {node(number): 5 for number in range(6)}


def test_a_larger_bond_takes_the_seat_of_the_smallest() -> None:
    weights = choose(candidates([5, 6, 7, 8, 9, 10], [11]), 6, 6)
    assert weights is not None
    assert node(0) not in weights
    assert node(6) in weights

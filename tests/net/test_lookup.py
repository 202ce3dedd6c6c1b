"""Lookups among hundreds of nodes: what is kept is found; liars cost little and hide nothing."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.chance import Chance
from dpin.base.crypto import digest
from dpin.base.ids import NodeId
from dpin.net.address import peer_text
from dpin.net.kadwire import CONTACTS_MAX, Contact
from dpin.net.lookup import (
    ASKED_MAX,
    DIALS_MAX,
    DIALS_PER_IP_MAX,
    KNOWN_MAX,
    MISSES_MAX,
    NEAREST,
    PATHS,
    Aim,
    Lookup,
)
from dpin.net.records import Key, place

NODES = [NodeId(digest("node", number.to_bytes(4))) for number in range(200)]
KEY = Key(digest("key", b""))
ME = NODES[0]
Answer = Callable[[NodeId], Iterable[Contact] | None]  # None: it is not there


def contact(node: NodeId, number: int = 0) -> Contact:
    ip = f"11.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Contact(node, (f"/ip4/{ip}/tcp/1/p2p/{peer_text(node)}",))


CONTACTS = {node: contact(node, number) for number, node in enumerate(NODES)}


PLACES = {node: place(node) for node in NODES}


def far(node: NodeId, key: Key = KEY) -> int:
    return (PLACES.get(node) or place(node)) ^ int.from_bytes(key)


class Country:
    """Nodes that each are connected to a few others, drawn at random, and name the nearest."""

    def __init__(self, number: int) -> None:
        chance = Chance(number.to_bytes(4))
        self.peers: dict[NodeId, set[NodeId]] = {node: set() for node in NODES}
        for node in NODES:
            for other in chance.chosen(NODES, 8):
                if other != node:
                    self.peers[node].add(other)
                    self.peers[other].add(node)

    def near(self, node: NodeId, key: Key) -> list[NodeId]:
        return sorted(self.peers[node], key=lambda other: far(other, key))


def here(nodes: Iterable[NodeId]) -> list[Contact]:
    return [Contact(node, ()) for node in nodes]


def walked(lookup: Lookup, here: set[NodeId], answer: Answer, holders: set[NodeId]) -> list[NodeId]:
    """Whom a lookup asks until it ends; all answers come one after the other."""
    asked: list[NodeId] = []
    under_way: list[NodeId] = []
    while True:
        while (found := lookup.next(here)) is not None:
            under_way.append(found.node)
        assert len(under_way) <= PATHS
        if lookup.enough or not under_way:
            return asked
        node = under_way.pop(0)
        asked.append(node)
        named = answer(node)
        if named is None:
            lookup.failed(node)
        elif node in holders:
            lookup.knew(node)
        else:
            lookup.answered(node, named)


@pytest.mark.parametrize("number", range(8))
def test_what_the_nearest_nodes_keep_is_found_from_anywhere(number: int) -> None:
    country = Country(number)
    key = Key(digest("key", number.to_bytes(4)))
    holders = set(sorted(NODES, key=lambda node: far(node, key))[:5])
    for asker in NODES[number::20]:
        lookup = Lookup(Aim(key), asker, here(country.near(asker, key)))

        def answer(node: NodeId, key: Key = key) -> list[Contact]:
            return [CONTACTS[other] for other in country.near(node, key)[:CONTACTS_MAX]]

        asked = walked(lookup, country.peers[asker], answer, holders)
        assert holders & set(asked)
        assert asker not in asked
        assert lookup.asked <= ASKED_MAX
        assert lookup.dials <= DIALS_MAX


def test_a_node_with_one_peer_goes_on_over_all_paths() -> None:
    lookup = Lookup(Aim(KEY), ME, here([NODES[1]]))
    assert lookup.next({NODES[1]}) == Contact(NODES[1], ())
    assert lookup.next({NODES[1]}) is None
    lookup.answered(NODES[1], [CONTACTS[node] for node in NODES[2:9]])
    found = [lookup.next({NODES[1]}) for _ in range(PATHS + 1)]
    nearest = sorted(NODES[2:9], key=far)[:PATHS]
    assert found == [*(CONTACTS[node] for node in nearest), None]


def test_most_paths_have_to_know_it() -> None:
    lookup = Lookup(Aim(KEY), ME, here(NODES[1:4]))
    for node in NODES[1:3]:
        assert not lookup.enough
        while lookup.next(set(NODES[1:4])) is not None:
            pass
        lookup.knew(node)
    assert lookup.enough


def test_a_peer_that_names_nobody_real_costs_few_dials() -> None:
    lies = [contact(NodeId(digest("lie", bytes([n]))), n << 8) for n in range(CONTACTS_MAX)]
    lookup = Lookup(Aim(KEY), ME, here(NODES[1:2]))

    def answer(node: NodeId) -> list[Contact] | None:
        return lies if node == NODES[1] else None

    asked = walked(lookup, {NODES[1]}, answer, set())
    assert len(asked) == 1 + MISSES_MAX
    assert lookup.dials == MISSES_MAX


def test_nobody_makes_a_node_dial_one_place_often() -> None:
    victim = [contact(node) for node in NODES[10:30]]
    lookup = Lookup(Aim(KEY), ME, here(NODES[1:9]))

    def answer(node: NodeId) -> list[Contact] | None:
        return victim if node in NODES[1:9] else None

    asked = walked(lookup, set(NODES[1:9]), answer, set())
    assert len(asked) == 8 + DIALS_PER_IP_MAX


def test_one_liar_with_any_number_of_names_does_not_hide_what_others_know() -> None:
    """All that it names lie as well, and are as near to the key as can be."""
    swarm = [
        contact(NodeId(digest("sybil", number.to_bytes(4))), number << 8) for number in range(1000)
    ]
    swarm.sort(key=lambda one: far(one.node))
    lies = {one.node for one in swarm}
    for number in range(4):
        country = Country(number)
        holders = set(sorted(NODES, key=far)[:5])
        asker = next(node for node in NODES if not country.peers[node] & holders)
        near = country.near(asker, KEY)
        liar = near[number]
        lookup = Lookup(Aim(KEY), asker, here(near))

        def answer(node: NodeId, liar: NodeId = liar, country: Country = country) -> list[Contact]:
            if node == liar or node in lies:
                return swarm[:CONTACTS_MAX]
            return [CONTACTS[other] for other in country.near(node, KEY)[:CONTACTS_MAX]]

        assert holders & set(walked(lookup, country.peers[asker], answer, holders - {liar}))


def test_a_node_that_was_not_reached_may_be_known_better_by_another() -> None:
    lookup = Lookup(Aim(KEY), ME, here(NODES[1:2]))
    up = {NODES[1]}
    assert lookup.next(up)
    wrong, right = contact(NODES[3], 77), CONTACTS[NODES[3]]
    lookup.answered(NODES[1], [wrong, CONTACTS[NODES[2]]])
    under_way = {one for one in (lookup.next(up), lookup.next(up)) if one is not None}
    assert under_way == {wrong, CONTACTS[NODES[2]]}
    lookup.failed(NODES[3])
    lookup.answered(NODES[2], [right])
    assert lookup.next(up) == right


def test_of_a_few_that_are_nearest_all_are_asked_and_farther_ones_are_not() -> None:
    near = sorted(NODES[1:], key=far)
    lookup = Lookup(Aim(KEY), ME, here(near[:100]))
    asked = walked(lookup, set(near), lambda _: (), set())
    assert set(asked) == set(near[: len(asked)])
    assert len(asked) == PATHS * NEAREST


NAMED = st.lists(st.integers(0, 60), max_size=30)


@given(st.lists(st.integers(1, 30), max_size=24, unique=True), st.lists(NAMED | st.none()))
def test_whatever_is_answered_a_lookup_ends_within_its_limits(
    first: list[int], answers: list[list[int] | None]
) -> None:
    lookup = Lookup(Aim(KEY), ME, here(NODES[number] for number in first))
    left = list(answers)

    def answer(_: NodeId) -> list[Contact] | None:
        named = left.pop() if left else []
        return None if named is None else [CONTACTS[NODES[number]] for number in named]

    asked = walked(lookup, {NODES[number] for number in first}, answer, set())
    assert len(asked) == lookup.asked <= ASKED_MAX
    assert lookup.dials <= DIALS_MAX
    assert ME not in asked
    assert all(len(path.waiting) <= KNOWN_MAX for path in lookup._paths)

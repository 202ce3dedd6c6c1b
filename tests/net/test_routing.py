"""The table of nodes at all distances: only who was reached, few of one place, bounded for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.lookups import FOUND_MIN, KEYS, World, looked_for
from dpin.base.chance import Chance
from dpin.base.crypto import digest
from dpin.base.ids import NodeId
from dpin.base.units import Instant, after, seconds
from dpin.net.address import PEER_ID_PREFIX, peer_text
from dpin.net.records import Key, place, position
from dpin.net.routing import (
    BITS,
    BUCKET_MAX,
    BUCKETS_MAX,
    GROUP_MAX,
    GROUP_PER_BUCKET_MAX,
    NEAR_KEPT,
    STALE_AFTER,
    RoutingTable,
)

NOW = Instant(1_700_000_000_000_000)
ME = NodeId(digest("node", b"me"))
NODES = [NodeId(digest("node", number.to_bytes(4))) for number in range(3000)]
KEY = Key(digest("key", b""))


def public(number: int) -> str:
    """An address in a group of its own, for numbers below 16,384."""
    return f"11.{number % 256}.0.1" if number < 256 else f"{20 + number // 256}.{number % 256}.0.1"


def at(node: NodeId, ip: str) -> str:
    return f"/ip4/{ip}/tcp/1/p2p/{peer_text(node)}"


def filled(ips: list[str], now: Instant = NOW) -> RoutingTable:
    table = RoutingTable(ME)
    for node, ip in zip(NODES, ips, strict=False):
        table.answered(node, at(node, ip), now)
    return table


def depth(node: NodeId) -> int:
    """How many first bits a node shares with this one."""
    return min(BITS - (place(node) ^ place(ME)).bit_length(), BUCKETS_MAX - 1)


def kept(table: RoutingTable) -> set[NodeId]:
    return {contact.node for contact in table.nearest(KEY, len(NODES))}


def test_it_holds_nodes_at_every_distance_and_never_more_than_its_limit() -> None:
    table = filled([public(number) for number in range(3000)])
    assert len(table) <= BUCKETS_MAX * BUCKET_MAX
    inside = kept(table)
    for bits in range(8):
        there = [node for node in NODES if depth(node) == bits]
        assert len(inside & set(there)) == min(BUCKET_MAX, len(there))


def test_the_nearest_are_named_with_the_addresses_where_they_answered() -> None:
    table = filled([public(number) for number in range(100)])
    near = table.nearest(KEY, 5)
    ranked = sorted(kept(table), key=lambda node: place(node) ^ int.from_bytes(KEY))
    assert [contact.node for contact in near] == ranked[:5]
    number = NODES.index(near[0].node)
    assert near[0].addresses == (at(near[0].node, public(number)),)


def test_who_is_in_and_well_is_not_displaced_by_who_comes_later() -> None:
    table = filled([public(number) for number in range(1000)])
    before = kept(table)
    for number in range(1000, 3000):
        table.answered(NODES[number], at(NODES[number], public(number)), after(NOW, seconds(60)))
    shallow = {node for node in before if depth(node) < 4}
    assert shallow <= kept(table)


def test_who_has_not_answered_for_an_hour_makes_room_and_who_fails_goes() -> None:
    table = filled([public(number) for number in range(1000)])
    old = next(node for node in NODES[:1000] if depth(node) == 0 and node in kept(table))
    table.failed(old)
    assert old not in kept(table)
    newcomers = [n for n in range(1000, 3000) if depth(NODES[n]) == 0][:BUCKET_MAX]
    later = after(NOW, STALE_AFTER)
    for number in newcomers:
        assert table.answered(NODES[number], at(NODES[number], public(number)), later)
    assert {node for node in kept(table) if depth(node) == 0} == {NODES[n] for n in newcomers}


@pytest.mark.parametrize("groups", [1, 3])
def test_many_names_at_few_places_get_little_of_the_table(groups: int) -> None:
    """3,000 nodes of an attacker, who answers at addresses of so many groups."""
    table = filled([f"11.{number % groups}.{number % 250}.1" for number in range(3000)])
    assert len(table) <= groups * GROUP_MAX
    for bits in range(BUCKETS_MAX):
        of_bucket = [node for node in kept(table) if depth(node) == bits]
        assert len(of_bucket) <= groups * GROUP_PER_BUCKET_MAX
    honest = next(n for n in range(3000) if depth(NODES[n]) == 0 and NODES[n] not in kept(table))
    assert table.answered(NODES[honest], at(NODES[honest], "99.9.9.9"), NOW)


def test_a_private_network_fills_the_table_and_makes_room_for_others() -> None:
    table = filled([f"192.168.{number // 250}.{number % 250}" for number in range(1000)])
    assert len([node for node in kept(table) if depth(node) == 0]) == BUCKET_MAX
    for number in (n for n in range(1000, 3000) if depth(NODES[n]) == 0):
        table.answered(NODES[number], at(NODES[number], public(number)), NOW)
    near = [node for node in kept(table) if depth(node) == 0 and node in NODES[:1000]]
    assert len(near) == NEAR_KEPT


def test_nobody_is_in_by_a_way_through_a_relay_or_as_this_node_itself() -> None:
    table = RoutingTable(ME)
    relay, node = NODES[0], NODES[1]
    relayed = at(relay, "11.0.0.1") + f"/p2p-circuit/p2p/{peer_text(node)}"
    assert not table.answered(node, relayed, NOW)
    assert not table.answered(ME, at(ME, "11.0.0.1"), NOW)
    assert not table.answered(node, "", NOW)
    assert len(table) == 0


def test_who_answers_elsewhere_counts_there() -> None:
    table = RoutingTable(ME)
    for number in range(GROUP_PER_BUCKET_MAX):
        node = [n for n in NODES if depth(n) == 0][number]
        table.answered(node, at(node, f"11.0.0.{number}"), NOW)
        table.answered(node, at(node, f"12.0.0.{number}"), NOW)
    free = next(n for n in reversed(NODES) if depth(n) == 0)
    assert table.answered(free, at(free, "11.0.0.99"), NOW)
    assert len(table) == GROUP_PER_BUCKET_MAX + 1


def test_it_looks_for_itself_and_then_at_every_depth_in_turn() -> None:
    table = filled([public(number) for number in range(200)])
    chance = Chance(b"")
    deepest = max(depth(node) for node in kept(table))
    names = [table.name_to_ask(chance) for _ in range(2 * (deepest + 2))]
    assert names[0] == names[deepest + 2] == PEER_ID_PREFIX + ME
    for turn in range(min(deepest, 8)):
        key = int.from_bytes(position(names[1 + turn]))
        assert BITS - (key ^ place(ME)).bit_length() == turn


STEPS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 5), st.integers(0, 3), st.booleans()),
    max_size=120,
)


@given(STEPS)
def test_whatever_happens_its_limits_hold(steps: list[tuple[int, int, int, bool]]) -> None:
    table, inside = RoutingTable(ME), set[NodeId]()
    for number, group, hours, well in steps:
        node = NODES[number]
        if well:
            now = after(NOW, seconds(3600 * hours))
            if table.answered(node, at(node, f"11.{group}.0.1"), now):
                inside.add(node)
        else:
            table.failed(node)
            assert node not in kept(table)
    assert kept(table) <= inside
    assert len(table) == len(kept(table)) <= BUCKETS_MAX * BUCKET_MAX
    for group in range(6):
        there = [c for c in table.nearest(KEY, 100) if f"/11.{group}." in c.addresses[0]]
        assert len(there) <= GROUP_MAX
        for bits in range(BUCKETS_MAX):
            same = [c for c in there if depth(c.node) == bits]
            assert len(same) <= GROUP_PER_BUCKET_MAX


def test_among_hundreds_what_the_nearest_keep_is_found_through_tables() -> None:
    """The thousands are `python -m benchmarks.lookups`."""
    world = World(150, b"short")
    for _ in range(2):
        world.look_around()
    figures = looked_for(world, KEYS // 2)
    assert min(figures.of_nearest, figures.of_put) >= FOUND_MIN * KEYS // 2

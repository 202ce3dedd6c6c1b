"""Who may come in, and who goes for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.net.budget import (
    CONNECTIONS_MAX,
    OUTBOUND_SHARE,
    PENDING_INBOUND_MAX,
    PENDING_INBOUND_PER_IP_MAX,
)
from dpin.net.doorstep import Doorstep, Visitor, inbound_max
from dpin.net.prefix import group_of, ip_in, is_near, site_of

FULL = inbound_max(CONNECTIONS_MAX)


def knocked(door: Doorstep, ip: str) -> Visitor:
    visitor, _ = door.knock(ip)
    assert visitor is not None
    return visitor


def fill(door: Doorstep, count: int, group: str = "10.1") -> list[Visitor]:
    """Visitors inside, each from an address of its own in one group."""
    visitors = []
    for n in range(count):
        visitors.append(knocked(door, f"{group}.{n // 250}.{n % 250}"))
        door.entered(visitors[-1])
    return visitors


@pytest.mark.parametrize(
    ("ip", "group", "site"),
    [
        ("192.0.2.7", "192.0.0.0/16", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.0.0/16", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8::/32", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/32", "fe80::/48"),
        ("nonsense", "", ""),
        ("", "", ""),
    ],
)
def test_an_address_has_a_group_and_a_site(ip: str, group: str, site: str) -> None:
    assert (group_of(ip), site_of(ip)) == (group, site)


def test_the_ip_in_an_address_is_read_and_a_name_is_none() -> None:
    assert ip_in("/ip4/192.0.2.7/tcp/1/p2p/x") == "192.0.2.7"
    assert ip_in("/ip6/2001:db8::1/tcp/1/p2p/x") == "2001:db8::1"
    assert ip_in("/dns4/example.org/tcp/1/p2p/x") == ""
    assert is_near("127.0.0.1")
    assert is_near("192.168.1.1")
    assert not is_near("8.8.8.8")
    assert not is_near("")


@given(st.text(max_size=40))
def test_no_text_is_too_strange_to_have_a_group(text: str) -> None:
    assert isinstance(group_of(text), str)
    assert isinstance(ip_in(text), str)


def test_one_address_has_few_places_on_the_doorstep() -> None:
    door = Doorstep(CONNECTIONS_MAX)
    for _ in range(PENDING_INBOUND_PER_IP_MAX):
        knocked(door, "192.0.2.1")
    assert door.knock("192.0.2.1") == (None, None)
    assert door.knock("192.0.2.2")[0] is not None


def test_a_full_doorstep_loses_the_oldest_of_the_largest_group() -> None:
    door = Doorstep(CONNECTIONS_MAX)
    honest = knocked(door, "198.51.100.1")
    crowd = [knocked(door, f"192.0.2.{n}") for n in range(PENDING_INBOUND_MAX - 1)]
    newcomer, evicted = door.knock("203.0.113.1")
    assert evicted is crowd[0]
    assert newcomer is not None
    assert door.waiting == PENDING_INBOUND_MAX
    assert door.entered(crowd[0]) is crowd[0]  # Too late.
    assert door.entered(honest) is None


def test_inbound_connections_leave_room_for_those_that_we_open() -> None:
    door = Doorstep(CONNECTIONS_MAX)
    fill(door, FULL)
    assert door.inside == FULL == CONNECTIONS_MAX - CONNECTIONS_MAX // OUTBOUND_SHARE
    late = knocked(door, "10.1.9.9")
    assert door.entered(late) is late
    assert door.inside == FULL


def test_a_group_that_fills_the_house_makes_room_for_another() -> None:
    door = Doorstep(CONNECTIONS_MAX)
    crowd = fill(door, FULL)
    honest = knocked(door, "198.51.100.1")
    assert door.entered(honest) is crowd[-1]
    assert door.inside == FULL
    door.left(honest)
    assert door.inside == FULL - 1


def test_groups_come_to_equal_shares_and_no_further() -> None:
    door = Doorstep(8)
    assert inbound_max(8) == 6
    fill(door, 6)
    for n in range(10):
        door.entered(knocked(door, f"10.2.0.{n}"))
    groups = [visitor.group for visitor in door._inside]
    assert groups.count("10.1.0.0/16") == groups.count("10.2.0.0/16") == 3


def test_banned_sites_stay_out_and_go() -> None:
    door = Doorstep(CONNECTIONS_MAX)
    here = knocked(door, "192.0.2.1")
    assert door.ban(["192.0.2.0/24"]) == [here]
    assert door.knock("192.0.2.9") == (None, None)
    assert door.knock("192.0.3.9")[0] is not None
    assert door.ban([]) == []
    assert door.knock("192.0.2.9")[0] is not None


ips = st.sampled_from([f"10.{a}.0.{b}" for a in range(4) for b in range(3)])
moves = st.tuples(st.sampled_from(["knock", "enter", "leave"]), ips, st.integers(0, 30))


@given(st.lists(moves, max_size=80))
def test_no_history_goes_over_a_limit(history: list[tuple[str, str, int]]) -> None:
    door = Doorstep(8)
    known: list[Visitor] = []
    for move, ip, which in history:
        if move == "knock":
            visitor, _ = door.knock(ip)
            known += [visitor] if visitor is not None else []
        elif known and move == "enter":
            door.entered(known[which % len(known)])
        elif known:
            door.left(known[which % len(known)])
        assert door.inside <= inbound_max(8)
        assert door.waiting <= PENDING_INBOUND_MAX

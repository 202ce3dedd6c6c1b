"""Bans end, grow with every return, are remembered, and cover sites with many of the banned."""

from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import Instant, after
from dpin.net.bans import (
    BAN_FIRST,
    BAN_MAX,
    BANS_MAX,
    BLAME_FADES,
    BLAMES_TO_BAN,
    NODES_TO_BAN_SITE,
    PROBATION,
    REASON_CHARS_MAX,
    Ban,
    Bans,
    check_bans,
)

NOW = Instant(10**15)
IP = "192.0.2.7"
FAR = "203.0.114.9"


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def test_blame_adds_up_to_a_ban_that_ends() -> None:
    bans = Bans()
    found = [bans.blame(node(1), FAR, "lied", NOW) for _ in range(BLAMES_TO_BAN)]
    assert found[-2:] == [False, True]
    assert bans.banned(node(1), "", NOW)
    assert not bans.banned(node(2), FAR, NOW)
    assert not bans.banned(node(1), FAR, after(NOW, BAN_FIRST))


def test_old_blame_fades() -> None:
    bans = Bans()
    for number in range(10 * BLAMES_TO_BAN):
        assert not bans.blame(node(1), FAR, "", Instant(NOW + number * BLAME_FADES))


def test_each_ban_lasts_twice_as_long_as_the_one_before_up_to_a_day() -> None:
    bans, now, lasted = Bans(), NOW, []
    for _ in range(10):
        bans.ban(node(1), FAR, "again", now)
        until = Instant(bans.standing(now)[0].until)
        lasted.append(until - now)
        now = until
    assert lasted[:3] == [BAN_FIRST, 2 * BAN_FIRST, 4 * BAN_FIRST]
    assert lasted[-1] == BAN_MAX


def test_after_a_week_without_another_an_offence_is_forgotten() -> None:
    bans = Bans()
    bans.ban(node(1), FAR, "", NOW)
    later = Instant(NOW + BAN_FIRST + PROBATION + 1)
    bans.ban(node(2), FAR, "", later)
    bans.ban(node(1), FAR, "", later)
    assert all(ban.offences == 1 for ban in bans.standing(later))


def test_many_banned_nodes_at_one_site_are_one_attacker() -> None:
    bans = Bans()
    for number in range(NODES_TO_BAN_SITE):
        assert not bans.banned(node(99), "203.0.114.1", NOW)
        bans.ban(node(number), f"203.0.114.{number}", "", NOW)
    assert bans.sites(NOW) == ["203.0.114.0/24"]
    assert bans.banned(node(99), "203.0.114.1", NOW)
    assert not bans.banned(node(99), "203.0.115.1", NOW)
    assert bans.sites(after(NOW, BAN_FIRST)) == []


def test_private_networks_are_never_banned_as_a_site() -> None:
    bans = Bans()
    for number in range(2 * NODES_TO_BAN_SITE):
        bans.ban(node(number), "192.168.1.7", "", NOW)
    assert bans.sites(NOW) == []


def test_bans_are_remembered_over_a_restart_with_their_number() -> None:
    bans, again = Bans(), Bans()
    bans.ban(node(1), FAR, "lied", NOW)
    check_bans(bans.remembered())
    again.recall(bans.remembered())
    assert again.banned(node(1), "", NOW)
    again.ban(node(1), FAR, "lied", NOW)
    assert again.standing(NOW)[0].offences == 2


def test_a_ban_can_be_lifted_and_is_forgotten_then() -> None:
    bans = Bans()
    bans.ban(node(1), FAR, "lied", NOW)
    assert bans.lift(node(1).hex())
    assert not bans.lift(node(1).hex())
    assert not bans.banned(node(1), FAR, NOW)
    assert bans.standing(NOW) == []


def test_bans_and_blames_are_bounded() -> None:
    bans = Bans()
    for number in range(BANS_MAX + 5):
        now = Instant(NOW + number)
        bans.ban(node(number), FAR.replace("114", str(number % 250)), "x" * 999, now)
        bans.blame(node(number), FAR, "", now)
    assert len(bans.remembered()) == BANS_MAX
    assert len(bans._blamed) <= BANS_MAX
    assert all(len(ban.reason) <= REASON_CHARS_MAX for ban in bans.remembered())


def test_what_was_never_written_is_refused() -> None:
    good = Ban(node(1).hex(), 1, 1, "", "")
    check_bans([good])
    for bad in ([good] * (BANS_MAX + 1), [Ban("x", 1, 1, "", "")], [Ban("s", 1, 0, "s", "")]):
        try:
            check_bans(bad)
        except PeerFault:
            continue
        raise AssertionError(bad[0])

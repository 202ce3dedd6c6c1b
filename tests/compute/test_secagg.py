"""Secure aggregation: exact sums, drop-outs, liars, and what nobody may learn."""

from hashlib import shake_256

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dpin.base.errors import PeerFault
from dpin.base.ids import Round
from dpin.compute.masked import PREFIX, masked_head, mean_of_sum, numbers_of, unmasked_sum
from dpin.compute.secagg.circle import circles
from dpin.compute.secagg.member import Member
from dpin.compute.secagg.secrets import pair_seed, place_of
from dpin.compute.secagg.settling import check_head, settle
from dpin.compute.secagg.shamir import (
    PRIME,
    SHARE_BYTES,
    candidates,
    coefficients,
    restored,
    share,
)
from dpin.compute.secagg.unmasking import Unmasking
from dpin.compute.secagg.words import KEY_SHARE, KEY_TAG, SELF_SHARE
from tests.support.circles import CHAIN, JOB, Group, circle_of, key_of, lease_of, numbers

COUNT = 50
SMALL_ORDERS = [  # of Curve25519: 0, 1, one of order 8 (RFC 7748 section 6.1 warns of them)
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]


@settings(max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.integers(0), st.randoms(use_true_random=False))
def test_enough_shares_restore_a_secret_and_fewer_do_not(
    secret: bytes, seed: int, dice: object
) -> None:
    above = coefficients(shake_256(str(seed).encode()).digest(320))
    shares = {place: share(secret, above, place) for place in range(1, 9)}
    places = list(shares)
    dice.shuffle(places)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert restored({place: shares[place] for place in places[:5]}) == secret
    assert restored({place: shares[place] for place in places[:4]}) != secret


def test_a_lie_among_the_shares_is_worked_around() -> None:
    above = coefficients(bytes(range(160)))
    shares = {place: share(b"s" * 32, above, place) for place in range(1, 6)}
    shares[2] = bytes(66)
    assert b"s" * 32 in [restored(some) for some in candidates(shares, 3)]


@settings(max_examples=15)
@given(st.integers(3, 9), st.data())
def test_the_sum_is_exact_whoever_drops_out(count: int, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(0, count - 1), max_size=(count - 1) // 2))
    group = Group(count)
    here = [seat for seat in range(count) if seat not in gone]
    files = {seat: group.update(seat, COUNT) for seat in here}
    if len(here) < 3:
        assert not settle(group.circle, group.heads(files, COUNT)).heads
        return
    want = torch.stack([numbers(seat, COUNT) for seat in here]).sum(0)
    assert torch.equal(group.total(files, here, COUNT), want)


def test_in_a_large_group_each_masks_with_twenty() -> None:
    group = Group(40)
    near = [set(group.circle.neighbours(lease_of(seat))) for seat in range(40)]
    assert {len(one) for one in near} == {20}
    assert all(
        lease_of(a) in near[b] for a in range(40) for b in range(40) if lease_of(b) in near[a]
    )
    gone = {3, 17, 29}
    files = {seat: group.update(seat, COUNT) for seat in range(40) if seat not in gone}
    want = torch.stack([numbers(seat, COUNT) for seat in files]).sum(0)
    assert torch.equal(group.total(files, list(files), COUNT), want)


def test_a_masked_update_looks_like_noise_and_is_another_each_round() -> None:
    group = Group(3)
    one = unmasked_sum([group.update(0, 20_000)], [], 20_000)
    assert abs(float(one.double().mean())) < 2**31 / 50
    assert float((one - numbers(0, 20_000)).double().abs().min()) > 0
    later = Member(key_of(0), circle_of(3, 1), lease_of(0))
    assert later.secrets.seeds != group.members[0].secrets.seeds


def test_nobody_tells_both_shares_of_one_member_whatever_it_is_asked() -> None:
    group = Group(5)
    files = {seat: group.update(seat, COUNT) for seat in range(5)}
    heads = group.heads(files, COUNT)
    there = settle(group.circle, heads)
    gone = settle(
        group.circle, {lease: head for lease, head in heads.items() if lease != lease_of(2)}
    )
    member = group.members[0]
    first = {owner: kind for owner, kind, _ in member.reveal(there).shares}
    second = {owner: kind for owner, kind, _ in member.reveal(gone).shares}
    assert first[lease_of(2)] == SELF_SHARE
    assert lease_of(2) not in second
    assert KEY_SHARE not in second.values()


def test_lost_mail_leaves_out_a_pair_and_no_more() -> None:
    group = Group(6, lost={(0, 1)})
    assert group.members[0].waiting == (lease_of(1),)
    assert group.members[1].waiting == (lease_of(0),)
    files = {seat: group.update(seat, COUNT) for seat in range(6)}
    want = torch.stack([numbers(seat, COUNT) for seat in range(6)]).sum(0)
    assert torch.equal(group.total(files, range(6), COUNT), want)


def test_two_that_disagree_about_their_mask_cannot_both_stay() -> None:
    group = Group(5)
    group.members[1].acknowledged.discard(lease_of(0))  # the last word got lost on the way to 1
    files = {seat: group.update(seat, COUNT) for seat in range(5)}
    settled = settle(group.circle, group.heads(files, COUNT))
    assert set(settled.heads) == {lease_of(seat) for seat in (0, 2, 3, 4)}
    want = torch.stack([numbers(seat, COUNT) for seat in (0, 2, 3, 4)]).sum(0)
    assert torch.equal(group.total(files, range(5), COUNT), want)


def test_a_member_with_two_keys_pushes_out_fewer_than_it_lies_to() -> None:
    group = Group(7)
    twin = replace(group.members[6].secrets.mask_key, public=b"\5" * 32)
    twin = replace(twin, signature=key_of(6).sign("dpin/secagg/key/v1", CHAIN, twin.said))
    with pytest.raises(PeerFault, match="two mask keys"):
        group.members[0].take(replace(group.members[6].shares_to(lease_of(0)), key=twin))
    files = {seat: group.update(seat, COUNT) for seat in range(7)}
    heads = group.heads(files, COUNT)
    partners = tuple(
        twin if key.lease == lease_of(6) else key for key in heads[lease_of(0)].partners
    )
    heads[lease_of(0)] = replace(heads[lease_of(0)], partners=partners)
    kept = settle(group.circle, heads).heads
    assert len(kept) == 6
    assert len({lease_of(0), lease_of(6)} & set(kept)) == 1


def test_forged_keys_and_shares_are_refused() -> None:
    group = Group(4)
    good = group.members[1].shares_to(lease_of(0))
    forged = replace(good.key, commitment=lease_of(9))
    wrong = [
        replace(good, key=forged),
        replace(good, to=lease_of(2)),
        replace(good, sealed=good.sealed[:-1] + bytes([good.sealed[-1] ^ 1])),
        replace(good, key=replace(good.key, circle=circle_of(4, 1).place)),
        Group(3).members[1].shares_to(lease_of(0)),
    ]
    for message in wrong:
        with pytest.raises(PeerFault):
            group.members[0].take(message)


def test_shares_are_for_the_eyes_of_one() -> None:
    group = Group(4)
    stolen = group.members[1].shares_to(lease_of(0))
    with pytest.raises(PeerFault, match="opened"):
        group.members[2].take(replace(stolen, to=lease_of(2)))


def test_a_false_share_delays_nobody_where_enough_are_true() -> None:
    group = Group(6)
    files = {seat: group.update(seat, COUNT) for seat in range(6)}
    settled = settle(group.circle, group.heads(files, COUNT))
    unmasking = Unmasking(settled)
    lie = group.members[5].reveal(settled)
    lie = replace(lie, shares=tuple((owner, kind, bytes(66)) for owner, kind, _ in lie.shares))
    unmasking.take(key_of(5).node_id, lie)
    for seat in range(4):
        unmasking.take(key_of(seat).node_id, group.members[seat].reveal(settled))
    assert unmasking.missing == ()
    with pytest.raises(PeerFault):
        unmasking.take(key_of(4).node_id, lie)


def test_with_too_few_shares_nothing_is_unmasked() -> None:
    group = Group(6)
    files = {seat: group.update(seat, COUNT) for seat in range(6)}
    settled = settle(group.circle, group.heads(files, COUNT))
    assert len(group.unmasking(settled, range(3)).missing) == 6


def test_heads_that_no_honest_member_writes_are_refused() -> None:
    group = Group(5)
    head = masked_head(group.update(0, COUNT), COUNT)
    wrong = [
        (lease_of(1), head),
        (lease_of(0), replace(head, partners=head.partners[:1])),
        (lease_of(0), replace(head, partners=head.partners[::-1])),
        (lease_of(0), replace(head, partners=(head.key, *head.partners[1:]))),
        (lease_of(0), replace(head, steps=0)),
    ]
    for lease, one in wrong:
        with pytest.raises(PeerFault):
            check_head(group.circle, lease, one)
    for data in (b"", b"x" * 40, group.update(0, COUNT)[:-1]):
        with pytest.raises(PeerFault):
            masked_head(data, COUNT)


@pytest.mark.parametrize("public", SMALL_ORDERS)
def test_a_mask_key_that_agrees_with_nobody_spoils_its_own_update_alone(public: bytes) -> None:
    """Its maker may list those only who are gone: nobody else sees it before the sum."""
    group = Group(3)
    [head] = group.heads({0: group.update(0, COUNT)}, COUNT).values()
    draft = replace(head.key, public=public, signature=b"")
    signed = replace(draft, signature=key_of(0).sign(KEY_TAG, CHAIN, draft.said))
    check_head(group.circle, lease_of(0), head)
    with pytest.raises(PeerFault, match="small order"):
        check_head(group.circle, lease_of(0), replace(head, key=signed))


def test_groups_cover_the_roster_and_none_is_too_small() -> None:
    roster = {lease_of(seat): key_of(seat).node_id for seat in range(11)}
    for size, want in ((0, 1), (1, 3), (4, 2), (20, 1)):
        found = circles(CHAIN, JOB, Round(0), roster, size)
        assert len(found) == want
        assert sorted(one for circle in found for one, _ in circle.members) == sorted(roster)
        assert all(len(circle.members) >= 3 for circle in found)


def test_a_mean_of_a_sum_is_that_of_the_movements_by_work() -> None:
    movements = [numbers(seat, COUNT) << 4 for seat in range(3)]
    steps = [10, 20, 5]
    total = torch.stack(
        [numbers_of(one, done, 20) for one, done in zip(movements, steps, strict=True)]
    ).sum(0)
    want = sum(one.double() * done for one, done in zip(movements, steps, strict=True)) / 35
    assert float((mean_of_sum(total, 35, 20).double() - want).abs().max()) < 2 * 64 * 3


def test_who_has_heard_nobody_takes_no_key_that_its_node_has_not_signed() -> None:
    group = Group(4)
    good = group.members[1].shares_to(lease_of(0))
    for key in (
        replace(good.key, commitment=lease_of(9)),
        replace(good.key, signature=bytes(64)),
        replace(good.key, circle=circle_of(4, 1).place),
    ):
        fresh = Member(key_of(0), group.circle, lease_of(0))
        with pytest.raises(PeerFault, match="mask key"):
            fresh.take(replace(good, key=key))
        assert fresh.heard == {}


def strangers_in(group: Group) -> tuple[int, int]:
    """Two members of a large circle that are no neighbours."""
    near = set(group.circle.neighbours(lease_of(0)))
    return 0, next(seat for seat in range(1, group.count) if lease_of(seat) not in near)


def test_in_a_large_group_nobody_takes_or_tells_shares_of_who_is_no_neighbour() -> None:
    group = Group(30)
    one, other = strangers_in(group)
    draft = group.members[one].shares_to(group.circle.neighbours(lease_of(one))[0])
    with pytest.raises(PeerFault, match="no neighbour"):
        group.members[other].take(replace(draft, to=lease_of(other)))
    files = {seat: group.update(seat, COUNT) for seat in range(30)}
    settled = settle(group.circle, group.heads(files, COUNT))
    reveal = group.members[other].reveal(settled)
    owner, kind, share_ = reveal.shares[0]
    assert lease_of(one) not in {owner for owner, _, _ in reveal.shares}
    unmasking = Unmasking(settled)
    lie = replace(reveal, shares=((lease_of(one), kind, share_),))
    with pytest.raises(PeerFault, match="cannot have"):
        unmasking.take(key_of(other).node_id, lie)
    assert owner in settled.heads


def test_shares_about_another_outcome_are_passed_over() -> None:
    group = Group(6)
    files = {seat: group.update(seat, COUNT) for seat in range(6)}
    heads = group.heads(files, COUNT)
    settled = settle(group.circle, heads)
    other = settle(group.circle, {lease: heads[lease] for lease in sorted(heads)[:5]})
    unmasking = Unmasking(settled)
    for seat in range(6):
        unmasking.take(key_of(seat).node_id, group.members[seat].reveal(other))
    assert len(unmasking.missing) == 6


def test_a_share_that_is_made_to_restore_another_secret_restores_none() -> None:
    group = Group(5)
    files = {seat: group.update(seat, COUNT) for seat in range(5)}
    settled = settle(group.circle, group.heads(files, COUNT))
    owner = lease_of(4)
    places = {seat: place_of(group.circle, owner, lease_of(seat)) for seat in range(3)}
    reveals = {seat: group.members[seat].reveal(settled) for seat in range(3)}
    unmasking = Unmasking(settled)
    for seat in (1, 2):
        unmasking.take(key_of(seat).node_id, reveals[seat])
    above = below = 1
    for place in (places[1], places[2]):
        above, below = above * place % PRIME, below * (place - places[0]) % PRIME
    [true] = [data for one, _, data in reveals[0].shares if one == owner]
    moved = (int.from_bytes(true, "big") + below * pow(above, -1, PRIME)) % PRIME  # secret + 1
    lie = ((owner, SELF_SHARE, moved.to_bytes(SHARE_BYTES, "big")),)
    unmasking.take(key_of(0).node_id, replace(reveals[0], shares=lie))
    assert owner in unmasking.missing
    unmasking.take(key_of(3).node_id, group.members[3].reveal(settled))
    assert owner not in unmasking.missing


def test_the_stream_of_two_members_is_bound_to_both_their_keys() -> None:
    group = Group(3)
    one, other = (group.members[seat].secrets for seat in (0, 1))
    secret = one.seeds[KEY_SHARE]
    usual = pair_seed(secret, one.mask_key, other.mask_key)
    changed = replace(other.mask_key, commitment=lease_of(7))
    assert pair_seed(secret, one.mask_key, changed).seed != usual.seed
    back = pair_seed(other.seeds[KEY_SHARE], other.mask_key, one.mask_key)
    assert (back.seed, back.negative) == (usual.seed, not usual.negative)


def test_no_number_leaves_the_range_of_a_word() -> None:
    giant = torch.tensor([1 << 34, -(1 << 34), 64 << 10])
    assert numbers_of(giant, 20, 20).tolist() == [1 << 24, -(1 << 24), 1 << 10]


def test_a_masked_update_that_says_it_is_of_another_model_is_refused() -> None:
    data = bytearray(Group(3).update(0, COUNT))
    data[PREFIX.size - 8] ^= 1
    with pytest.raises(PeerFault, match="model"):
        masked_head(bytes(data), COUNT)

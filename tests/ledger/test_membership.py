"""What a node is in an epoch: its seat, its consensus key, its reveals, and its silence."""

import msgspec
import pytest

from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.ledger.beacon import CHAIN_LENGTH, Chain, OwnChain
from dpin.ledger.blocks import Header, Vertex, sign_block
from dpin.ledger.chains import OwnChains
from dpin.ledger.checkpoint import CommitteeRecord, Member
from dpin.ledger.core import Core, Opening
from dpin.ledger.identity import Identity
from dpin.ledger.membership import Membership
from dpin.ledger.messages import Newest
from dpin.sim.ledgers import short_table
from tests.support.cluster import key
from tests.support.forge import Forge

FORGE = Forge()
OTHER = key(50)  # a consensus key
TABLE = short_table(bytes(32))
ANCHOR = Chain().anchor(TABLE)


def core(epoch: int, member: Member, base: int = 100) -> Core:
    """An epoch with this member at index 0 and three founders."""
    others = [Member(one.node_id, one.node_id, 1, NO_DIGEST, Round(0)) for one in FORGE.keys[1:]]
    record = CommitteeRecord(epoch, NO_DIGEST, Round(base), (member, *others))
    opening = Opening(record, NO_DIGEST, 0, NO_DIGEST, 0, 0)
    return Core(FORGE.chain, FORGE.genesis.params.consensus, opening)


def seat(signer: object = None, anchor_round: int = 0, anchor: object = None) -> Member:
    node = FORGE.keys[0].node_id
    return Member(
        node,
        OTHER.node_id if signer is OTHER else node,
        1,
        ANCHOR if anchor is ANCHOR else NO_DIGEST,
        Round(anchor_round),
    )


def own(epoch: int, round_: int, number: int = 0) -> Vertex:
    """A block of member 0, signed by its node key."""
    header: Header = msgspec.structs.replace(
        FORGE.rounds(1)[1][0].block.header,
        epoch=epoch,
        round=Round(round_),
        timestamp_ms=number,
    )
    return sign_block(FORGE.keys[0], FORGE.chain, header, ())


def newest(epoch: int, vertex: Vertex | None = None) -> Newest:
    if vertex is None:
        return Newest(epoch, Round(0), None, b"")
    return Newest(epoch, Round(0), vertex.block.header, vertex.block.signature)


def entered(epoch: int) -> tuple[Membership, Vertex]:
    member = Membership(Identity(FORGE.keys[0]))
    member.enter(core(epoch, seat()))
    assert member.role is not None
    return member, member.role.proposer.last


def heard(member: Membership, last: Vertex, epoch: int, *authors: int) -> bool:
    for author in authors:
        member.restart.answer(author, newest(epoch), last)
    return member.may_sign


def is_silent(member: Membership) -> bool:
    return member.silenced is not None


def test_a_seat_under_another_consensus_key_needs_that_key() -> None:
    without = Membership(Identity(FORGE.keys[0]))
    without.enter(core(1, seat(OTHER)))
    assert without.role is None
    assert without.silenced is not None
    assert "consensus key" in without.silenced
    holder = Membership(Identity(FORGE.keys[0], signers=[OTHER]))
    holder.enter(core(1, seat(OTHER)))
    assert holder.role is not None
    assert holder.silenced is None


def test_who_has_no_seat_is_a_follower_and_not_silenced() -> None:
    member = Membership(Identity(key(77)))
    member.enter(core(1, seat()))
    assert member.role is None
    assert member.silenced is None
    assert not member.may_sign


def test_reveals_go_on_from_the_anchor_that_the_committee_names() -> None:
    founder = OwnChain(Chain(), TABLE)
    for start in (0, 120):
        chain = OwnChain(Chain(), TABLE, Round(start))
        member = Membership(Identity(FORGE.keys[0], OwnChains({0: TABLE})))
        member.enter(core(1, seat(anchor_round=start, anchor=ANCHOR), 130))
        found = member._chain
        assert found is not None
        assert found.at(Round(150)) == chain.at(Round(150))
        # The next epoch names a later value of the same chain.
        later = msgspec.structs.replace(
            seat(), anchor=chain.at(Round(140)), anchor_round=Round(140)
        )
        member.enter(core(2, later, 200))
        assert member._chain is not None
        assert member._chain.at(Round(250)) == chain.at(Round(250))
    assert founder.at(Round(CHAIN_LENGTH + 1)) == NO_DIGEST
    stranger = Membership(Identity(FORGE.keys[0], OwnChains({0: TABLE})))
    wrong = msgspec.structs.replace(seat(), anchor=Digest(bytes([7]) * 32), anchor_round=Round(140))
    stranger.enter(core(2, wrong, 200))
    assert stranger._chain is None


def test_only_answers_from_the_own_epoch_let_a_member_sign() -> None:
    member, last = entered(3)
    assert not heard(member, last, 2, 1, 2, 3)
    assert not heard(member, last, 4, 1, 2, 3)
    assert not heard(member, last, 3, 1)
    assert heard(member, last, 3, 2)


def test_who_was_cleared_once_is_not_asked_to_wait_in_every_epoch() -> None:
    member, last = entered(3)
    assert heard(member, last, 3, 1, 2)
    member.enter(core(4, seat(), 200))
    assert member.may_sign


def test_a_block_of_a_later_epoch_silences_up_to_the_end_of_that_epoch() -> None:
    member, last = entered(3)
    member.restart.answer(1, newest(5, own(5, 300)), last)
    assert not heard(member, last, 3, 1, 2, 3)
    assert is_silent(member)
    for epoch in (4, 5):
        member.enter(core(epoch, seat(), 100 * epoch))
        assert not heard(member, last, epoch, 1, 2, 3)
    member.enter(core(6, seat(), 900))
    assert not is_silent(member)
    assert not member.may_sign  # before it has asked again
    assert heard(member, last, 6, 1, 2)


def test_of_many_blocks_that_somebody_else_signs_with_our_key_the_first_is_named() -> None:
    member, last = entered(3)
    assert heard(member, last, 3, 1, 2)
    member.saw(own(3, 150))
    said = member.silenced
    assert said is not None
    assert "round 150" in said
    for round_ in (151, 152):
        member.saw(own(3, round_))
    assert member.silenced == said
    assert not member.may_sign


def test_a_block_of_a_past_epoch_or_of_somebody_else_silences_nobody() -> None:
    member, last = entered(3)
    member.restart.answer(1, newest(3, own(2, 50)), last)
    theirs = own(5, 300)
    forged = Newest(5, Round(0), theirs.block.header, bytes(64))
    member.restart.answer(2, forged, last)
    assert member.silenced is None
    with pytest.raises(PeerFault):
        member.restart.answer(3, Newest(3, Round(0), own(3, 150).block.header, bytes(64)), last)
    assert member.silenced is None

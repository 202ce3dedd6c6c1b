"""From epoch to epoch: who is seated next, and what the state keeps of it."""

import msgspec

from dpin.base.ids import Round
from dpin.base.units import MicroTokens
from dpin.ledger.beacon import GAP_MAX
from dpin.ledger.candidacy import BondValidator, RetireValidator
from dpin.ledger.execute import Executor
from dpin.ledger.money import MAX_SUPPLY, supply
from dpin.ledger.order import OrderedBlock
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.roots import root_of
from tests.support.ledgers import Ledger
from tests.support.validators import (
    BOND,
    become_validator,
    registering,
    run_epoch,
    seated,
    signatures,
    signed_blocks,
    signer,
    weights,
    welcome,
)

FOUR = ["ann", "bob", "cat", "dan"]


def alone_with_three() -> Ledger:
    """One founder, and three who have bonded and registered."""
    ledger = Ledger("ann")
    welcome(ledger, "ann", "bob", "cat", "dan")
    for name in ("bob", "cat", "dan"):
        become_validator(ledger, name)
    return ledger


def four_and(*names: str, bond: int = BOND) -> Ledger:
    """Four founders, and these who have bonded so much and registered."""
    ledger = Ledger(*FOUR)
    welcome(ledger, "ann", *names)
    for name in names:
        become_validator(ledger, name, bond)
    return ledger


def test_one_grows_to_four_when_all_four_are_ready() -> None:
    ledger = alone_with_three()
    assert run_epoch(ledger, FOUR, ready=("bob", "cat", "dan")) == FOUR
    assert weights(ledger) == dict.fromkeys(FOUR, 1)
    assert ledger.applied[-1].state_root == root_of(ledger.state)


def test_one_stays_alone_until_three_others_are_ready() -> None:
    ledger = alone_with_three()
    assert run_epoch(ledger, FOUR, ready=("bob", "cat")) == ["ann"]
    assert run_epoch(ledger, FOUR, ready=("dan",)) == ["ann"]
    assert run_epoch(ledger, FOUR, ready=("bob", "cat", "dan")) == FOUR


def test_newcomers_sign_with_the_keys_they_registered_and_stir_the_mix_with_their_reveals() -> None:
    ledger = alone_with_three()
    run_epoch(ledger, FOUR, ready=("bob", "cat", "dan"))
    members = ledger.state.term.committee.members
    keys = {ledger.name(member.node): member.signer for member in members}
    assert keys == {"ann": ledger.id("ann")} | {
        name: signer(name).node_id for name in ("bob", "cat", "dan")
    }
    for _ in range(4):
        before = ledger.state.mix
        ledger.commit()
        assert ledger.state.mix != before
    assert run_epoch(ledger, FOUR) == FOUR


def test_a_member_that_does_not_sign_loses_its_seat_and_returns_when_it_is_ready() -> None:
    ledger = Ledger(*FOUR, "eve")
    assert run_epoch(ledger, FOUR) == FOUR
    assert run_epoch(ledger, FOUR) == FOUR
    assert run_epoch(ledger, FOUR, ready=("eve",)) == [*FOUR, "eve"]
    assert ledger.state.validators[ledger.id("eve")].bond == BOND


def test_four_of_whom_one_is_gone_go_on_as_they_are() -> None:
    ledger = Ledger(*FOUR)
    assert run_epoch(ledger, FOUR[:3]) == FOUR


def test_whoever_is_gone_is_replaced_by_who_is_ready() -> None:
    ledger = four_and("eve")
    assert run_epoch(ledger, FOUR[:3], ready=("eve",)) == ["ann", "bob", "cat", "eve"]


def test_newcomers_come_no_faster_than_a_third_of_the_weight() -> None:
    ledger = four_and("eve", "fay", "gil", bond=5 * BOND)
    five = run_epoch(ledger, FOUR, ready=("eve", "fay", "gil"))
    assert len(five) == 5
    others = [name for name in ("eve", "fay", "gil") if name not in five]
    assert len(run_epoch(ledger, five, ready=others)) == 6


def test_who_is_not_ready_for_this_very_epoch_is_not_seated() -> None:
    ledger = four_and("eve")
    run_epoch(ledger, FOUR[:1], ready=("eve",))
    assert seated(ledger) == FOUR
    assert run_epoch(ledger, FOUR) == FOUR


def test_who_retires_leaves_with_the_epoch_if_four_remain() -> None:
    ledger = Ledger(*FOUR, "eve")
    assert ledger.do("ann", RetireValidator()) == "ok"
    assert run_epoch(ledger, [*FOUR, "eve"]) == ["bob", "cat", "dan", "eve"]
    assert ledger.do("bob", RetireValidator()) == "ok"
    assert run_epoch(ledger, [*FOUR, "eve"]) == ["bob", "cat", "dan", "eve"]
    assert ledger.state.validators[ledger.id("ann")].last_epoch == 0
    assert ledger.state.validators[ledger.id("bob")].last_epoch == 2


def test_the_jailed_and_those_whose_bond_is_too_small_are_not_seated() -> None:
    people = [*FOUR, "eve", "fay"]
    ledger = Ledger(*people)
    ledger.state.validators[ledger.id("eve")].jailed_until = 2
    assert run_epoch(ledger, people) == [*FOUR, "fay"]
    ledger.state.validators[ledger.id("fay")].bond = MicroTokens(BOND - 1)
    ledger.state.reserve = MicroTokens(ledger.state.reserve + 1)
    ledger.executor._book.pools += 1
    assert run_epoch(ledger, people, ready=("eve",)) == [*FOUR, "eve"]


def test_a_chain_of_reveals_that_is_out_of_reach_must_be_registered_anew() -> None:
    ledger = four_and("eve")
    ledger.round = Round(GAP_MAX)
    for member in ledger.state.term.seated:
        member.round = ledger.round
    assert run_epoch(ledger, FOUR, ready=("eve",)) == FOUR
    assert ledger.do("eve", registering(ledger, "eve", start=int(ledger.round))) == "ok"
    assert run_epoch(ledger, FOUR, ready=("eve",)) == [*FOUR, "eve"]


def test_a_member_may_change_key_and_chain_from_one_epoch_to_the_next() -> None:
    ledger = Ledger(*FOUR)
    start = int(ledger.round) + 10
    assert ledger.do("ann", registering(ledger, "ann", start=start)) == "ok"
    [before] = [m for m in ledger.state.term.committee.members if m.node == ledger.id("ann")]
    assert before.signer == ledger.id("ann")
    assert run_epoch(ledger, FOUR) == FOUR
    [after] = [m for m in ledger.state.term.committee.members if m.node == ledger.id("ann")]
    assert after.signer == signer("ann").node_id
    assert after.anchor_round == start
    assert not ledger.state.validators[ledger.id("ann")].new_chain
    assert run_epoch(ledger, FOUR) == FOUR


def test_weight_follows_the_bond_up_to_a_fifth() -> None:
    ledger = Ledger(*FOUR, "eve", "fay")
    assert ledger.do("ann", BondValidator(MicroTokens(BOND))) == "ok"
    assert ledger.do("bob", BondValidator(MicroTokens(BOND // 10))) == "ok"
    run_epoch(ledger, [*FOUR, "eve", "fay"])
    found = weights(ledger)
    assert found["cat"] == BOND
    assert found["bob"] == BOND + BOND // 10
    assert found["ann"] == (5 * BOND + BOND // 10) // 4
    assert 5 * found["ann"] <= sum(found.values())


def test_no_more_are_seated_than_the_network_allows() -> None:
    params = msgspec.structs.replace(DEVELOPMENT, validators_max=5)
    ledger = Ledger(*FOUR, "eve", "fay", params=params)
    assert ledger.do("fay", BondValidator(MicroTokens(1))) == "ok"
    found = run_epoch(ledger, [*FOUR, "eve", "fay"])
    assert len(found) == 5
    assert "fay" in found


def test_the_newest_checkpoint_is_nobodys_omission() -> None:
    ledger = Ledger(*FOUR, "eve")
    while ledger.state.height < 21:
        ledger.commit(after_ms=2_000, blocks=signed_blocks(ledger, [*FOUR, "eve"]))
    while ledger.state.height < 31:
        ledger.commit(after_ms=2_000, blocks=signed_blocks(ledger, FOUR))
    assert ledger.state.epoch == 1
    assert seated(ledger) == [*FOUR, "eve"]


def test_a_checkpoint_counts_as_signed_once_and_by_the_key_of_its_signer_only() -> None:
    ledger = Ledger(*FOUR)
    for _ in range(11):
        ledger.commit()
    [noted] = ledger.state.term.noted
    own, others = signatures(ledger, 0), signatures(ledger, 1)
    stranger = msgspec.structs.replace(own[0], sequence=9)
    for sent in ([*others, stranger], [*own, *own], own):
        ledger.commit(blocks=[OrderedBlock(0, ledger.round, 0, sent)])
        assert noted.cosigners == (0 if sent[0] is others[0] else 1)


def test_the_fees_of_an_epoch_are_shared_among_those_who_were_there() -> None:
    params = msgspec.structs.replace(DEVELOPMENT, fee_base=MicroTokens(1_001))
    ledger = Ledger(*FOUR, "eve", params=params)
    before = {name: ledger.account(name).free for name in [*FOUR, "eve"]}
    assert ledger.do("eve", BondValidator(MicroTokens(1))) == "ok"
    pool = 1_001 - 1_001 // 2
    assert (ledger.state.term.fees, ledger.state.treasury) == (pool, pool)
    run_epoch(ledger, FOUR)
    gained = {name: ledger.account(name).free - before[name] for name in [*FOUR, "eve"]}
    assert gained == dict.fromkeys(FOUR, pool // 5) | {"eve": -1_002}
    assert ledger.state.treasury == pool - 4 * (pool // 5)
    assert ledger.state.term.fees == 0
    assert supply(ledger.state) == MAX_SUPPLY


def test_everybody_chooses_the_same_committees() -> None:
    ledger = alone_with_three()
    run_epoch(ledger, FOUR, ready=("bob", "cat", "dan"))
    run_epoch(ledger, FOUR[:3])
    other = Executor(ledger.genesis)
    assert [other.apply(commit) for commit in ledger.commits] == ledger.applied
    assert other.state == ledger.state

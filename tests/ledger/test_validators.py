"""Validators bond, register, are ready, retire and take their bond back; nobody else can."""

import msgspec
import pytest

from dpin.base.ids import NO_DIGEST, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger.candidacy import (
    BondValidator,
    ReadyValidator,
    RetireValidator,
    WithdrawBond,
    register_validator,
)
from dpin.ledger.money import MAX_SUPPLY, supply
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.roots import root_of
from dpin.ledger.standing import Validator
from dpin.ledger.transactions import Operation
from tests.support.ledgers import Ledger
from tests.support.validators import (
    BOND,
    anchor,
    become_validator,
    close_epoch,
    near_the_end,
    registering,
    signer,
    welcome,
)

GRANT = 10 * BOND


@pytest.fixture
def ledger() -> Ledger:
    """One founder, and a newcomer who has tokens."""
    made = Ledger("ann")
    welcome(made, "ann", "bob")
    return made


def validator(ledger: Ledger, name: str) -> Validator:
    return ledger.state.validators[ledger.id(name)]


def test_a_bond_moves_free_tokens_aside_and_may_be_added_to(ledger: Ledger) -> None:
    assert ledger.do("bob", BondValidator(BOND), BondValidator(MicroTokens(5))) == "ok"
    assert validator(ledger, "bob").bond == BOND + 5
    assert ledger.account("bob").free == GRANT - BOND - 5
    assert ledger.account("bob").stake == 0
    assert supply(ledger.state) == MAX_SUPPLY


@pytest.mark.parametrize(
    ("amount", "reason"), [(0, "bad-field"), (-1, "bad-field"), (GRANT + 1, "not-enough-free")]
)
def test_a_bond_that_cannot_be_is_refused(ledger: Ledger, amount: int, reason: str) -> None:
    assert ledger.do("bob", BondValidator(MicroTokens(amount))) == reason
    assert ledger.id("bob") not in ledger.state.validators


def test_who_registers_names_a_key_that_is_at_hand_and_a_chain_of_reveals(ledger: Ledger) -> None:
    become_validator(ledger, "bob", start=7)
    bob = validator(ledger, "bob")
    assert bob.signer == signer("bob").node_id
    assert (bob.anchor, bob.anchor_round) == (anchor(ledger, "bob"), 7)
    assert bob.new_chain


def test_nobody_registers_with_less_than_the_least_bond(ledger: Ledger) -> None:
    assert ledger.do("bob", registering(ledger, "bob")) == "bond-too-small"
    assert ledger.do("bob", BondValidator(MicroTokens(BOND - 1))) == "ok"
    assert ledger.do("bob", registering(ledger, "bob")) == "bond-too-small"
    assert ledger.do("bob", BondValidator(MicroTokens(1))) == "ok"
    assert ledger.do("bob", registering(ledger, "bob")) == "ok"


def test_nobody_registers_a_key_that_another_holds(ledger: Ledger) -> None:
    welcome(ledger, "ann", "eve")
    become_validator(ledger, "bob")
    copied = registering(ledger, "bob")
    assert ledger.do("eve", BondValidator(BOND), copied) == "signer-taken"
    unused = register_validator(
        signer("cat"), ledger.executor.chain, ledger.id("bob"), anchor(ledger, "eve"), Round(0)
    )
    assert ledger.do("eve", unused) == "wrong-possession"
    forged = msgspec.structs.replace(registering(ledger, "eve"), signer=ledger.id("eve"))
    assert ledger.do("eve", forged) == "wrong-possession"
    assert ledger.do("eve", registering(ledger, "eve")) == "ok"


def test_a_proof_of_possession_holds_for_one_chain_of_reveals_and_one_network(
    ledger: Ledger,
) -> None:
    elsewhere = Ledger("ann", "bob", "cat", "dan")
    ledger.do("bob", BondValidator(BOND))
    assert ledger.do("bob", registering(elsewhere, "bob")) == "wrong-possession"
    moved = msgspec.structs.replace(registering(ledger, "bob"), anchor_round=Round(9))
    assert ledger.do("bob", moved) == "wrong-possession"


@pytest.mark.parametrize(
    "changes",
    [
        {"signer": NodeId(bytes(31))},
        {"anchor": NO_DIGEST},
        {"anchor": bytes([1]) * 33},
        {"anchor_round": -1},
        {"anchor_round": 2**63},
    ],
)
def test_a_registration_with_a_field_out_of_range_is_refused(
    ledger: Ledger, changes: dict[str, object]
) -> None:
    ledger.do("bob", BondValidator(BOND))
    broken = msgspec.structs.replace(registering(ledger, "bob"), **changes)
    assert ledger.do("bob", broken) == "bad-field"
    assert validator(ledger, "bob") == Validator(BOND)


def test_who_registers_again_keeps_its_chain_unless_it_names_another(ledger: Ledger) -> None:
    become_validator(ledger, "bob")
    validator(ledger, "bob").new_chain = False
    assert ledger.do("bob", registering(ledger, "bob")) == "ok"
    assert not validator(ledger, "bob").new_chain
    assert ledger.do("bob", registering(ledger, "bob", start=50)) == "ok"
    assert validator(ledger, "bob").new_chain


def test_readiness_is_said_for_the_next_epoch_in_the_last_tenth_of_this_one(
    ledger: Ledger,
) -> None:
    become_validator(ledger, "bob")
    assert ledger.do("bob", ReadyValidator(1)) == "too-early"
    near_the_end(ledger)
    for epoch in (-1, 0, 2):
        assert ledger.do("bob", ReadyValidator(epoch)) == "wrong-epoch"
    assert ledger.do("bob", ReadyValidator(1)) == "ok"
    assert validator(ledger, "bob").ready_for == 1
    assert ledger.do("bob", RetireValidator()) == "ok"
    assert ledger.do("bob", ReadyValidator(1)) == "not-registered"


@pytest.mark.parametrize("operation", [RetireValidator(), WithdrawBond(), ReadyValidator(1)])
def test_who_has_no_bond_is_no_validator(ledger: Ledger, operation: Operation) -> None:
    assert ledger.do("bob", operation) == "unknown-validator"


def test_who_was_never_seated_takes_its_bond_back_once_retired(ledger: Ledger) -> None:
    become_validator(ledger, "bob")
    assert ledger.do("bob", WithdrawBond()) == "not-retired"
    assert ledger.do("bob", RetireValidator()) == "ok"
    assert ledger.do("bob", RetireValidator()) == "not-registered"
    assert ledger.do("bob", WithdrawBond()) == "ok"
    assert ledger.id("bob") not in ledger.state.validators
    assert ledger.account("bob").free == GRANT
    while ledger.state.height % 10:
        ledger.commit()
    assert ledger.applied[-1].state_root == root_of(ledger.state)


def test_a_bond_that_was_never_registered_can_be_taken_back_at_once(ledger: Ledger) -> None:
    assert ledger.do("bob", BondValidator(BOND), WithdrawBond()) == "ok"
    assert ledger.account("bob").free == GRANT


def test_a_bond_is_held_as_long_as_evidence_could_cost_it() -> None:
    ledger = Ledger("ann", "bob", "cat", "dan", "eve")
    assert ledger.do("bob", RetireValidator()) == "ok"
    validator(ledger, "bob").last_epoch = 1
    for _ in range(1 + DEVELOPMENT.unbonding_epochs):
        assert ledger.do("bob", WithdrawBond()) == "unbonding"
        close_epoch(ledger)
        validator(ledger, "bob").last_epoch = 1
    assert 1 in ledger.state.committees
    assert ledger.do("bob", WithdrawBond()) == "unbonding"
    close_epoch(ledger)
    validator(ledger, "bob").last_epoch = 1
    assert 1 not in ledger.state.committees
    assert ledger.do("bob", WithdrawBond()) == "ok"


def test_who_is_jailed_does_not_leave_by_taking_the_bond_and_coming_back(ledger: Ledger) -> None:
    become_validator(ledger, "bob")
    validator(ledger, "bob").jailed_until = 3
    assert ledger.do("bob", RetireValidator()) == "ok"
    for _ in range(3):
        assert ledger.do("bob", WithdrawBond()) == "unbonding"
        close_epoch(ledger)
    assert ledger.do("bob", WithdrawBond()) == "ok"


def test_who_registers_again_has_not_retired(ledger: Ledger) -> None:
    become_validator(ledger, "bob")
    assert ledger.do("bob", RetireValidator()) == "ok"
    assert ledger.do("bob", registering(ledger, "bob")) == "ok"
    assert not validator(ledger, "bob").retired
    assert ledger.do("bob", WithdrawBond()) == "not-retired"

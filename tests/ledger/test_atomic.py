"""Several operations of one transaction are done together, or none of them."""

from copy import deepcopy

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens, Tick
from dpin.ledger import fees
from dpin.ledger.candidacy import BondValidator, RetireValidator, WithdrawBond
from dpin.ledger.order import Receipt
from dpin.ledger.roots import root_of
from dpin.ledger.transactions import (
    TRANSACTION_BYTES_MAX,
    Award,
    Bid,
    Cancel,
    Credit,
    Operation,
    Ready,
    Stake,
    Stop,
    Transfer,
    Unstake,
    job_id,
    sign,
    sign_bid,
)
from tests.support.ledgers import (
    JOB,
    PRICE,
    Ledger,
    award,
    finish,
    found_in,
    key_of,
    lease_of,
    peopled,
    propose,
    registration,
    reveal_all,
    reveal_of,
    running,
    seal_all,
    work,
)

NEW = NodeId(bytes([9]) * 32)
TOO_MUCH = Transfer(NEW, MicroTokens(10**15), b"")


def pay(amount: int, to: NodeId = NEW) -> Transfer:
    return Transfer(to, MicroTokens(amount), b"")


def together(ledger: Ledger, name: str, *operations: Operation) -> Receipt:
    """All of these in one transaction; its receipt."""
    sequence = ledger.account(name).sequence_high + 1
    signed = sign(ledger.keys[name], ledger.executor.chain, sequence, operations)
    ledger._sequences[name] = sequence
    return ledger.commit(encode(signed)).receipts[0]


def test_operations_of_one_transaction_are_done_in_order() -> None:
    ledger = Ledger("ann")
    receipt = together(ledger, "ann", Stake(MicroTokens(9)), Unstake(MicroTokens(4)), pay(1))
    assert receipt.detail == "ok"
    assert ledger.account("ann").stake == 5
    assert ledger.state.accounts[NEW].free == 1


def test_the_receipt_names_the_operation_that_failed_and_why() -> None:
    ledger = Ledger("ann")
    receipt = together(ledger, "ann", pay(1), Stake(MicroTokens(1)), TOO_MUCH, pay(2))
    assert (receipt.code, receipt.detail) == (102, "not-enough-free operation=3")
    assert NEW not in ledger.state.accounts
    assert ledger.account("ann").stake == 0
    assert ledger.account("ann").sequence_high == 1


def test_each_proposal_of_a_transaction_opens_a_job_of_its_own() -> None:
    ledger = Ledger("req")
    receipt = together(ledger, "req", JOB, JOB, JOB)
    assert receipt.detail == "ok"
    assert list(ledger.state.jobs) == [job_id(receipt.subject, place) for place in range(3)]


def test_after_a_failure_an_account_it_touched_is_still_covered_by_the_root() -> None:
    ledger = Ledger("ann", "bob", "cat", "dan")
    failing = [pay(1, ledger.id("bob")), TOO_MUCH]
    signed = sign(ledger.keys["ann"], ledger.executor.chain, 1, tuple(failing))
    ledger._sequences["ann"] = 1
    ledger.commit(encode(signed), ledger.signed("ann", pay(5, ledger.id("bob"))))
    while len(ledger.commits) % 10:
        ledger.commit()
    assert ledger.applied[-1].state_root == root_of(ledger.state)


def stage() -> tuple[Ledger, dict[str, list[Operation]]]:
    """A ledger in the middle of everything, and what its people could do there in turn.

    A unit waits for its last reveal, an award for ready, a job for its award.
    """
    ledger = peopled("req", "ann", "bob", "cat")
    checked = running(ledger, "req", "ann", steps=41)
    key = key_of(ledger, checked, "ann")
    done, unit = work(ledger, key), ledger.state.units[key]
    finish(ledger, checked, "ann")
    ledger.wait(1)
    seal_all(ledger, unit, [found_in(done, unit)] * 2)
    assert ledger.do("ann", done.open_leaf(unit.window)) == "ok"
    reveal_all(ledger, unit, [found_in(done, unit)])
    verifier = ledger.name(unit.seats[1].verifier)
    awarded = propose(ledger, "req")
    assert award(ledger, awarded, bob=PRICE) == "ok"
    waiting, busy = propose(ledger, "req", seats=2), running(ledger, "req", "cat")
    until = Tick(ledger.state.tick + 1_000)
    bids = tuple(
        sign_bid(
            ledger.keys[name], ledger.executor.chain, Bid(waiting, ledger.id(name), PRICE, until)
        )
        for name in ("ann", "bob")
    )
    possible: dict[str, list[Operation]] = {
        "req": [
            Award(waiting, bids),
            msgspec.structs.replace(JOB, seats=2),
            Cancel(awarded),
            Cancel(waiting),
            Stop(lease_of(ledger, busy, "cat").id),
            Credit(ledger.id("req"), PRICE, b""),
        ],
        "ann": [Unstake(PRICE), registration(provides=False)],
        "bob": [Ready(lease_of(ledger, awarded, "bob").id), BondValidator(PRICE)],
        "cat": [work(ledger, key_of(ledger, busy, "cat")).commit(), WithdrawBond()],
    }
    # One may bond, one may withdraw: a bond that is not the founder's, retired and never seated.
    ledger.state.validators[ledger.id("cat")].last_epoch = -1
    assert ledger.do("cat", RetireValidator()) == "ok"
    possible[verifier].append(reveal_of(unit, found_in(done, unit)))
    for operations in possible.values():
        operations.append(pay(3))
    return ledger, possible


def test_everything_on_the_stage_can_be_done() -> None:
    for name in STAGE[1]:
        for operation in STAGE[1][name]:
            assert deepcopy(STAGE[0]).do(name, operation) == "ok", operation


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["req", "ann", "bob", "cat"]),
    st.lists(st.integers(0, 5), min_size=1, max_size=15),
    st.integers(0, 15),
)
def test_a_failed_transaction_leaves_the_state_that_was_there(
    name: str, choices: list[int], place: int
) -> None:
    ledger, possible = STAGE
    ledger = deepcopy(ledger)
    operations = [possible[name][one % len(possible[name])] for one in choices]
    operations.insert(min(place, len(operations)), TOO_MUCH)
    assume(fees.size_max(operations) <= TRANSACTION_BYTES_MAX)
    before = deepcopy(ledger.executor._book)
    receipt = together(ledger, name, *operations)
    assert receipt.code != 0
    now = ledger.executor._book
    assert now.agenda._at == before.agenda._at
    assert len(ledger.applied[-1].receipts) == 1
    state, account = before.state, now.state.accounts[ledger.id(name)]
    state.height, state.time, state.mix = now.state.height, now.state.time, now.state.mix
    state.fee_commits, state.fee_bytes = now.state.fee_commits, now.state.fee_bytes
    state.timestamp_ms = now.state.timestamp_ms
    state.term, state.sequence = now.state.term, now.state.sequence
    state.accounts.opened(ledger.id(name)).sequence_high = account.sequence_high
    state.accounts.opened(ledger.id(name)).sequence_mask = account.sequence_mask
    assert now.state == state
    assert root_of(now.state) == root_of(state)
    while ledger.state.height % 10:
        ledger.commit()
    assert ledger.applied[-1].state_root == root_of(ledger.state)


STAGE = stage()

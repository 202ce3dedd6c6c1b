"""Checkpoints and epochs as the state machine makes them."""

import msgspec

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST
from dpin.ledger.checkpoint import committee_digest
from dpin.ledger.committee import SEED_TAG, first_record
from dpin.ledger.execute import Executor
from dpin.ledger.order import Receipt
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.receipts import proven
from dpin.ledger.roots import root_of
from tests.support.ledgers import Ledger

PARAMS = DEVELOPMENT


def close_epoch(ledger: Ledger) -> None:
    """Let time pass up to the end of the epoch."""
    number = ledger.state.epoch
    while ledger.state.epoch == number:
        ledger.commit(after_ms=PARAMS.epoch_ms // 25)


def test_a_checkpoint_comes_with_every_state_root_and_is_the_last_leaf_of_the_log() -> None:
    ledger = Ledger("ann")
    for _ in range(10):
        ledger.commit()
    checkpoint = ledger.applied[-1].checkpoint
    assert checkpoint is not None
    log = ledger.executor.receipts
    last = len(log) - 1
    assert log[last] == checkpoint
    assert proven(checkpoint, (last, len(log)), log.prove(last), log.root)
    record = first_record(ledger.genesis, ledger.executor.chain)
    assert (checkpoint.sequence, checkpoint.epoch, checkpoint.height) == (1, 0, 10)
    assert checkpoint.commit == ledger.commits[-1].digest
    assert checkpoint.state_root == ledger.applied[-1].state_root == root_of(ledger.state)
    assert checkpoint.time_ms == ledger.state.time
    assert checkpoint.committee == committee_digest(record)
    assert checkpoint.next_committee == NO_DIGEST
    assert all(applied.checkpoint is None for applied in ledger.applied[:-1])


def test_no_leaf_of_the_log_is_both_a_receipt_and_a_checkpoint() -> None:
    ledger = Ledger("ann")
    for _ in range(10):
        ledger.commit()
    checkpoint = ledger.applied[-1].checkpoint
    receipt = Receipt(1, digest("test/subject", b""), 0, "ok")
    assert encode(checkpoint)[0] != encode(receipt)[0]


def test_an_epoch_closes_with_the_first_commit_that_has_its_time_and_its_commits() -> None:
    ledger = Ledger("ann")
    while ledger.state.time < PARAMS.epoch_ms - 1:
        ledger.commit(after_ms=min(2_000, PARAMS.epoch_ms - 1 - ledger.state.time))
        assert ledger.applied[-1].closing is None
    assert ledger.state.height >= PARAMS.epoch_commits_min
    mix = ledger.state.mix
    applied = ledger.commit(after_ms=1)
    record, checkpoint = applied.closing, applied.checkpoint
    assert record is not None
    assert checkpoint is not None
    assert ledger.state.mix != mix
    assert (record.epoch, ledger.state.epoch, checkpoint.epoch) == (1, 1, 0)
    assert record.seed == digest(SEED_TAG, ledger.state.mix + (1).to_bytes(8))
    assert record.base == ledger.round + PARAMS.consensus.gc_depth
    assert checkpoint.next_committee == committee_digest(record)
    assert checkpoint.state_root == root_of(ledger.state)


def test_an_epoch_with_too_few_commits_goes_on() -> None:
    params = msgspec.structs.replace(PARAMS, epoch_commits_min=40)
    ledger = Ledger("ann", params=params)
    for _ in range(39):
        assert ledger.commit(after_ms=2_000).closing is None
    assert ledger.state.time > params.epoch_ms
    assert ledger.commit().closing is not None


def test_a_committee_of_which_nobody_else_is_there_goes_on_with_its_reveals() -> None:
    ledger = Ledger("ann", "bob", "cat", "dan")
    members = [member.node for member in ledger.state.term.committee.members]
    for epoch in range(1, 4):
        close_epoch(ledger)
        assert ledger.state.epoch == epoch
        assert [member.node for member in ledger.state.term.committee.members] == members
        before = ledger.state.mix
        for _ in range(4):
            ledger.commit()
            assert ledger.state.mix != before
            before = ledger.state.mix


def test_committees_are_kept_as_long_as_a_bond_could_answer_for_them() -> None:
    ledger = Ledger("ann")
    for _ in range(5):
        close_epoch(ledger)
    assert sorted(ledger.state.committees) == [3, 4, 5]
    assert ledger.applied[-1].state_root == root_of(ledger.state)


def test_two_executors_agree_across_epochs() -> None:
    ledger = Ledger("ann", "bob", "cat", "dan")
    for _ in range(3):
        close_epoch(ledger)
    other = Executor(ledger.genesis)
    assert [other.apply(commit) for commit in ledger.commits] == ledger.applied
    assert other.state == ledger.state
    assert other.receipts.root == ledger.executor.receipts.root


def test_checkpoints_are_counted_over_the_life_of_the_chain() -> None:
    ledger = Ledger("ann")
    for _ in range(3):
        close_epoch(ledger)
    made = [applied.checkpoint for applied in ledger.applied if applied.checkpoint is not None]
    assert [one.sequence for one in made] == [*range(1, len(made) + 1)]
    assert sum(one.next_committee != NO_DIGEST for one in made) == 3
    leaves = [merkle.leaf_hash(encode(leaf)) for leaf in ledger.executor.receipts]
    assert merkle.root(leaves) == ledger.executor.receipts.root

"""What a provider builds from its leaves is what the ledger's own checks accept."""

from dpin.base.ids import BlobId
from dpin.base.leaf import leaf_digest
from dpin.ledger.accounts import UnitState
from dpin.ledger.transactions import INFER
from dpin.verify.commitment import commit_of, generation_leaves, open_leaf_of
from tests.support.jobs import TOKENS, generating, market, training
from tests.support.ledgers import (
    OTHER,
    START,
    UPDATE,
    found_in,
    key_of,
    reveal_all,
    reveal_of,
    seal_all,
    unit_of,
    work,
)


def test_the_ledger_takes_commit_and_opening_of_a_trained_unit() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker")
    done = work(ledger, key_of(ledger, job, "maker"))
    assert ledger.do("maker", commit_of(done.leaves, UPDATE)) == "ok"
    ledger.wait(1)
    unit = unit_of(ledger, job, "maker")
    found = [found_in(done, unit)] * 2
    seal_all(ledger, unit, found)
    assert ledger.do("maker", open_leaf_of(done.leaves, unit.window)) == "ok"
    reveal_all(ledger, unit, found)
    assert (unit.state, unit.reason) == (UnitState.PAID, "verified")


def test_a_unit_cut_short_commits_the_windows_that_were_done() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker")
    done = work(ledger, key_of(ledger, job, "maker"), windows=2)
    commit = commit_of(done.leaves, UPDATE)
    assert (commit.leaves, commit.steps) == (3, 20)
    assert ledger.do("maker", commit) == "ok"


def test_a_generation_goes_from_its_model_to_its_output() -> None:
    ledger = market()
    job = generating(ledger, "buyer", "maker")
    assert ledger.state.jobs[job].propose.kind == INFER
    lease, _ = key_of(ledger, job, "maker")
    leaves = generation_leaves(job, lease, START, OTHER, TOKENS)
    assert ledger.do("maker", commit_of(leaves, BlobId(OTHER))) == "ok"
    ledger.wait(1)
    unit = unit_of(ledger, job, "maker")
    seal_all(ledger, unit, [leaf_digest(leaves[1])])
    assert ledger.do("maker", open_leaf_of(leaves, unit.window)) == "ok"
    [seat] = unit.seats
    assert (
        ledger.do(
            ledger.name(seat.verifier), reveal_of(unit, leaf_digest(leaves[1]), BlobId(OTHER))
        )
        == "ok"
    )
    assert (unit.state, unit.reason) == (UnitState.PAID, "verified")

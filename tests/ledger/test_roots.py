"""The state root covers everything, and depends on nothing else."""

import os
import subprocess
import sys
from pathlib import Path

from dpin.base.units import MicroTokens
from dpin.ledger.accounts import State
from dpin.ledger.book import Kind
from dpin.ledger.roots import StateRoot, root_of, snapshot
from tests.support.ledgers import (
    Ledger,
    check_honestly,
    exchange,
    finish,
    key_of,
    lease_of,
    peopled,
    running,
)

ROOT = Path(__file__).parents[2]


def busy() -> Ledger:
    """A ledger with a part of every kind, in the middle of things."""
    ledger = peopled("req", "ann", "bob", "cat", "dan")
    job = running(ledger, "req", "ann", "bob", rounds=3)
    finish(ledger, job, "ann", "bob")
    key = key_of(ledger, job, "ann")
    exchange(ledger, job, "ann", "bob")
    check_honestly(ledger, key)
    finish(ledger, job, "ann")
    while len(ledger.commits) % 10:
        ledger.wait(1)
    return ledger


def test_dirty_buckets_alone_give_the_root_of_the_whole_state() -> None:
    ledger = busy()
    for _ in range(20):
        ledger.wait(10)
        roots = [one.state_root for one in ledger.applied if one.height % 10 == 0]
        if len(ledger.commits) % 10 == 0:
            assert roots[-1] == root_of(ledger.state)


def test_a_root_comes_with_every_tenth_commit_and_no_other() -> None:
    for applied in busy().applied:
        assert (applied.state_root is not None) == (applied.height % 10 == 0)


def test_a_change_anywhere_changes_the_root() -> None:
    ledger = busy()
    state, before = ledger.state, root_of(ledger.state)
    [job] = state.jobs.values()
    lease = lease_of(ledger, job.id, "ann")
    unit = next(unit for unit in state.units.values() if any(seat.sealed for seat in unit.seats))
    changes: list[tuple[object, str, object]] = [
        (state, "reserve", state.reserve + 1),
        (state, "treasury", state.treasury + 1),
        (state, "height", state.height + 1),
        (state, "mix", bytes(32)),
        (ledger.account("ann"), "free", MicroTokens(1)),
        (ledger.account("ann"), "absences", (True,)),
        (ledger.account("ann"), "registration", None),
        (job, "escrow", MicroTokens(1)),
        (job, "cancelled", True),
        (lease, "bond", MicroTokens(1)),
        (lease, "stopped", True),
        (unit, "deadline", 5),
        (unit, "paid", MicroTokens(1)),
        (unit, "used", set[bytes]()),
        (next(seat for seat in unit.seats if seat.sealed), "sealed", None),
        (job.rounds[0], "candidates", []),
        (job.rounds[0], "included", []),
        (job.rounds[0], "haves", {}),
    ]
    for thing, field, value in changes:
        kept = getattr(thing, field)
        setattr(thing, field, value)
        assert root_of(state) != before, field
        setattr(thing, field, kept)
    assert root_of(state) == before


def test_a_part_that_is_not_there_has_an_empty_value() -> None:
    state = State(MicroTokens(0), MicroTokens(0))
    assert snapshot(state, (Kind.ACCOUNT, bytes(32), 0)) == []
    assert StateRoot().digest != root_of(state)


SCRIPT = "from tests.ledger.test_roots import busy; print(busy().applied[-1].state_root.hex())"


def test_roots_are_equal_under_any_hash_seed() -> None:
    roots = set[str]()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(  # noqa: S603  # Our own interpreter and text.
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        roots.add(done.stdout.strip())
    last = busy().applied[-1].state_root
    assert last is not None
    assert roots == {last.hex()}

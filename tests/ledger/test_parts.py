"""Whoever puts a state together from its parts goes on as those who were there."""

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule
from typing_extensions import override

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.units import LedgerMillis
from dpin.ledger.accounts import State
from dpin.ledger.assembly import Assembly
from dpin.ledger.book import Kind
from dpin.ledger.deadlines import agenda_of
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.parts import Parts
from dpin.ledger.roots import few_of, root_of, snapshot
from dpin.ledger.transactions import Transfer
from tests.ledger.test_machine import PEOPLE, Units
from tests.support.ledgers import (
    check_honestly,
    exchange,
    finish,
    key_of,
    propose,
    running,
)
from tests.support.twins import Twins, bucket_of, peopled_twins, restored

PARAMS = msgspec.structs.replace(DEVELOPMENT, epoch_ms=LedgerMillis(4_000), epoch_commits_min=5)


class Joining(Units):
    """Anybody does anything, epochs end in between, and others join at each end."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = self.twins = peopled_twins(*PEOPLE, params=PARAMS)

    @rule()
    def end_of_epoch(self) -> None:
        epoch = self.ledger.state.epoch
        while self.ledger.state.epoch == epoch:
            self.ledger.commit(after_ms=500)

    @override
    def teardown(self) -> None:
        """All that is open ends by itself, for all alike."""
        self.ledger.wait(200)
        assert self.twins.joined


TestJoining = Joining.TestCase
TestJoining.settings = settings(
    max_examples=8,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)


def busy() -> Twins:
    """Jobs in every stage, at the end of an epoch."""
    ledger = peopled_twins(*PEOPLE, params=PARAMS)
    done = running(ledger, "req", "ann", "bob", seats=2, rounds=2)
    finish(ledger, done, "ann", "bob")
    exchange(ledger, done, "ann", "bob")
    running(ledger, "req", "cat", "dan", seats=2)
    propose(ledger, "dan")
    epoch = ledger.state.epoch
    while ledger.state.epoch == epoch:
        ledger.commit(after_ms=1_000)
    return ledger


def test_a_job_goes_on_the_same_across_an_epochs_end() -> None:
    ledger = busy()
    assert ledger.joined == 1
    [job] = [one for one in ledger.state.jobs.values() if len(one.rounds) > 1]
    finish(ledger, job.id, "ann", "bob")
    for name in ("ann", "bob"):
        check_honestly(ledger, key_of(ledger, job.id, name))
    ledger.wait(100)
    assert ledger.joined > 3


def test_what_was_frozen_stays_as_it_was() -> None:
    ledger = busy()
    frozen, root = ledger.executor.frozen.states[-1], root_of(ledger.state)
    assert frozen.checkpoint.state_root == root
    for name in PEOPLE:
        assert ledger.do(name, Transfer(ledger.id("ann"), ledger.account(name).free, b"")) == "ok"
    assert root_of(ledger.state) != root
    assert root_of(restored(frozen).state) == root


def test_the_agenda_of_a_state_is_what_will_happen_by_itself() -> None:
    ledger = busy()
    while ledger.state.live_jobs:
        agenda = agenda_of(ledger.state)
        assert agenda.first == ledger.executor.next_deadline
        ledger.wait(1)
    assert agenda_of(ledger.state).first is None


def test_a_bucket_with_anything_else_in_it_is_refused() -> None:
    frozen = busy().executor.frozen.states[-1]
    assembly = Assembly(frozen.checkpoint, frozen.hashes)
    bucket = next(number for number in range(256) if len(bucket_of(frozen, number)) > 1)
    entries = bucket_of(frozen, bucket)
    more = msgspec.structs.replace(entries[0], value=entries[0].value + b"\0")
    other = next(
        one for number in range(256) if number != bucket for one in bucket_of(frozen, number)
    )
    strange = msgspec.structs.replace(entries[0], kind=99)
    wrong = [
        entries[1:],
        [*entries, *entries],
        9 * entries[:1],
        [more, *entries[1:]],
        [*entries, other],
        [*entries, strange],
    ]
    for one in wrong:
        with pytest.raises(PeerFault):
            assembly.take(bucket, one)
        assert bucket in assembly.missing
    assembly.take(bucket, entries[::-1])
    assert bucket not in assembly.missing


def test_hashes_of_another_state_are_refused() -> None:
    frozen = busy().executor.frozen.states[-1]
    for hashes in (frozen.hashes[1:], frozen.hashes[::-1], ()):
        with pytest.raises(PeerFault, match="not of that state"):
            Assembly(frozen.checkpoint, hashes)


def values_of(state: State) -> list[tuple[Kind, bytes, int]]:
    return [*few_of(state), *((Kind.JOB, job, 0) for job in state.jobs)]


def test_a_state_with_something_missing_is_no_state() -> None:
    ledger = busy()
    with pytest.raises(PeerFault, match="does not fit"):
        Parts().state()
    parts = Parts()
    for part in values_of(ledger.state):
        parts.take(part, encode(snapshot(ledger.state, part)))
    with pytest.raises(PeerFault, match="does not fit"):
        parts.state()


def test_what_is_not_the_value_of_a_part_is_refused() -> None:
    for kind in Kind:
        with pytest.raises(PeerFault):
            Parts().take((kind, bytes(32), 0), encode([1, 2]))

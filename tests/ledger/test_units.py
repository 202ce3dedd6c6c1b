"""From commit to verdict: what is taken, who is seated, who is paid and who loses what."""

from dataclasses import replace

import msgspec
import pytest

from dpin.base.ids import NO_BLOB, NO_DIGEST, BlobId, Digest, JobId, Round
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import LeaseState, Unit, UnitState
from dpin.ledger.params import DEVELOPMENT, PUBLIC
from dpin.ledger.settlement import unit_subject
from dpin.ledger.transactions import Commit, LeafPath, OpenLeaf, Unstake, VerifyCommit
from dpin.ledger.views import live_units, unit_cost
from dpin.ledger.wages import wages
from tests.support.ledgers import (
    JOB,
    OTHER,
    PRICE,
    STAKE,
    START,
    Ledger,
    Work,
    bonds,
    exchange,
    finish,
    found_in,
    key_of,
    lease_of,
    peopled,
    registration,
    reveal_all,
    reveal_of,
    running,
    seal_all,
    unit_of,
    work,
)

FEE = 3 * PRICE // 2  # verifier fee of JOB at PRICE
SHARE = FEE // 2
PAY = PRICE * 97 // 100
SEAL_TICKS = DEVELOPMENT.verify_commit_ticks + 3 * 1_000 // DEVELOPMENT.tick_ms
ABSENT = PRICE // 10


@pytest.fixture
def ledger() -> Ledger:
    return peopled("req", "ann", "bob", "cat")


def committed(ledger: Ledger) -> tuple[JobId, Unit, Work]:
    """A unit of ann's, seated with bob and cat."""
    job = running(ledger, "req", "ann")
    finish(ledger, job, "ann")
    ledger.wait(1)
    unit = unit_of(ledger, job, "ann")
    return job, unit, work(ledger, (unit.lease, unit.round))


def test_a_unit_that_nobody_could_replay_is_paid_as_scored_and_earns_no_name(
    ledger: Ledger,
) -> None:
    job = running(ledger, "req", "ann", verifiers=0)
    finish(ledger, job, "ann")
    ledger.wait(1)
    unit = unit_of(ledger, job, "ann")
    assert (unit.state, unit.reason, unit.seats) == (UnitState.PAID, "scored", [])
    assert unit.paid == PAY
    assert ledger.state.accounts[ledger.id("ann")].units_ok == 0


def money(ledger: Ledger) -> dict[str, int]:
    """What everybody has, the requester's escrow beside it."""
    everybody = {name: ledger.account(name) for name in ledger.keys}
    held = {name: account.free + account.stake for name, account in everybody.items()}
    return held | {"req": held["req"] + sum(job.escrow for job in ledger.state.jobs.values())}


def opened(ledger: Ledger, found: list[Digest]) -> tuple[Unit, dict[str, int]]:
    """A unit whose seats have sealed these and whose provider has opened; and money before all."""
    before = money(ledger)
    _, unit, done = committed(ledger)
    truth = found_in(done, unit)
    seal_all(ledger, unit, [truth if one == HONEST else one for one in found])
    if len(found) < 2:
        ledger.wait(SEAL_TICKS)
    assert ledger.do("ann", done.open_leaf(unit.window)) == "ok"
    return unit, before


HONEST = Digest(b"honest")


def gains(ledger: Ledger, before: dict[str, int]) -> dict[str, int]:
    return {name: now - before[name] for name, now in money(ledger).items()}


def verdict(ledger: Ledger, found: list[Digest]) -> tuple[Unit, dict[str, int]]:
    """The settled unit and what everybody gained, when the seats find these."""
    unit, before = opened(ledger, found)
    truth = found_in(work(ledger, (unit.lease, unit.round)), unit)
    reveal_all(ledger, unit, [truth if one == HONEST else one for one in found])
    assert bonds(ledger.state) == sum(one.locked for one in ledger.state.accounts.values())
    return unit, gains(ledger, before)


def test_two_that_agree_pay_the_provider(ledger: Ledger) -> None:
    unit, gained = verdict(ledger, [HONEST, HONEST])
    assert (unit.state, unit.reason, unit.paid) == (UnitState.PAID, "verified", PAY)
    assert gained == {"req": -PRICE - FEE, "ann": PAY, "bob": SHARE, "cat": SHARE}
    assert ledger.account("ann").units_ok == 1
    assert ledger.state.treasury == 9_000
    assert unit.lost == 0


def test_two_that_find_the_same_other_leaf_convict(ledger: Ledger) -> None:
    unit, gained = verdict(ledger, [OTHER, OTHER])
    assert (unit.state, unit.reason, unit.lost) == (UnitState.SLASHED, "bad-work", PRICE)
    assert gained["ann"] == -PRICE
    assert gained["bob"] == gained["cat"] == PRICE * 4 // 10
    assert gained["req"] == 0
    assert ledger.account("ann").faults == 1
    lease = ledger.state.leases[unit.lease]
    assert (lease.state, lease.reason, lease.bond) == (LeaseState.ENDED, "bad-work", 0)


@pytest.mark.parametrize("found", [[HONEST, OTHER], [OTHER, HONEST], [OTHER, Digest(bytes(32))]])
def test_two_that_contradict_each_other_void(ledger: Ledger, found: list[Digest]) -> None:
    unit, gained = verdict(ledger, found)
    assert (unit.state, unit.reason) == (UnitState.VOID, "conflicting")
    assert gained == {"req": -FEE, "ann": 0, "bob": SHARE, "cat": SHARE}
    assert ledger.account("ann").faults == 0


def test_the_same_leaf_with_another_update_convicts_too(ledger: Ledger) -> None:
    unit, before = opened(ledger, [HONEST, HONEST])
    truth = found_in(work(ledger, (unit.lease, unit.round)), unit)
    for seat in list(unit.seats):
        reveal = reveal_of(unit, truth, BlobId(bytes([9]) * 32))
        assert ledger.do(ledger.name(seat.verifier), reveal) == "ok"
    assert (unit.state, unit.reason) == (UnitState.SLASHED, "bad-work")
    assert gains(ledger, before)["ann"] == -PRICE


def test_what_two_were_not_shown_costs_what_no_commit_costs_and_convicts_nobody(
    ledger: Ledger,
) -> None:
    unit, gained = verdict(ledger, [NO_DIGEST, NO_DIGEST])
    assert (unit.state, unit.reason) == (UnitState.LAPSED, "withheld-state")
    assert gained == {"req": PRICE // 2 - FEE, "ann": -PRICE // 2, "bob": SHARE, "cat": SHARE}
    assert (wages_of(ledger, "ann"), wages_of(ledger, "bob")) == ([-PRICE // 2], [SHARE])
    assert unit.lost == PRICE // 2
    assert unit_cost(ledger.state.jobs[job_of(ledger, unit)], unit) == FEE
    lease = ledger.state.leases[unit.lease]
    assert (lease.state, lease.reason, lease.bond) == (LeaseState.ENDED, "withheld-state", 0)
    assert ledger.account("ann").faults == 1


def wages_of(ledger: Ledger, name: str) -> list[int]:
    """What somebody's own records say that the last settlement brought."""
    receipts = ledger.applied[-1].receipts
    return [wage.change for wage in wages(ledger.state, ledger.id(name), receipts)]


def job_of(ledger: Ledger, unit: Unit) -> JobId:
    return ledger.state.leases[unit.lease].job


def test_two_who_could_not_encode_the_update_convict_nobody(ledger: Ledger) -> None:
    unit, _ = opened(ledger, [HONEST, HONEST])
    truth = found_in(work(ledger, (unit.lease, unit.round)), unit)
    for seat in list(unit.seats):
        assert ledger.do(ledger.name(seat.verifier), reveal_of(unit, truth, NO_BLOB)) == "ok"
    assert (unit.state, unit.reason) == (UnitState.LAPSED, "withheld-state")


def test_the_agreement_of_one_pays(ledger: Ledger) -> None:
    unit, gained = verdict(ledger, [HONEST])
    assert (unit.state, unit.reason) == (UnitState.PAID, "verified")
    absent, present = sorted(gained[name] for name in ("bob", "cat"))
    assert (absent, present) == (-ABSENT, SHARE)
    assert gained["req"] == -PRICE - SHARE


def test_the_disagreement_of_one_voids(ledger: Ledger) -> None:
    unit, gained = verdict(ledger, [OTHER])
    assert (unit.state, unit.reason) == (UnitState.VOID, "disputed-by-one")
    assert gained["req"] == -SHARE
    assert gained["ann"] == 0


@pytest.mark.parametrize(("revealed", "state"), [(1, UnitState.VOID), (0, UnitState.PAID)])
def test_who_seals_and_does_not_reveal_is_absent(
    ledger: Ledger, revealed: int, state: UnitState
) -> None:
    unit, before = opened(ledger, [OTHER, OTHER])
    reveal_all(ledger, unit, [OTHER][:revealed])
    ledger.wait(DEVELOPMENT.reveal_ticks)
    assert unit.state == state
    gained = gains(ledger, before)
    assert min(gained[name] for name in ("bob", "cat")) == -ABSENT
    assert gained["ann"] == (PAY if state == UnitState.PAID else 0)


def test_a_provider_that_does_not_open_in_time_is_not_convicted(ledger: Ledger) -> None:
    before = money(ledger)
    _, unit, _ = committed(ledger)
    seal_all(ledger, unit, [OTHER, OTHER])
    ledger.wait(DEVELOPMENT.leaf_ticks)
    assert (unit.state, unit.reason) == (UnitState.LAPSED, "withheld-leaf")
    gained = gains(ledger, before)
    assert gained == {"req": PRICE // 2 - FEE, "ann": -PRICE // 2, "bob": SHARE, "cat": SHARE}
    assert (wages_of(ledger, "ann"), wages_of(ledger, "bob")) == ([-PRICE // 2], [SHARE])
    assert unit_cost(ledger.state.jobs[job_of(ledger, unit)], unit) == FEE
    assert ledger.account("bob").absences == (False,)


def test_a_unit_is_followed_however_many_rounds_ago_it_was() -> None:
    """On a public network a leaf may be opened for an hour, and rounds may take a minute."""
    ledger = peopled("req", "ann", "bob", "cat", params=PUBLIC)
    job = running(ledger, "req", "ann", rounds=40)
    finish(ledger, job, "ann")
    ledger.wait(1)
    unit = unit_of(ledger, job, "ann")
    done = work(ledger, (unit.lease, unit.round))
    seal_all(ledger, unit, [OTHER, OTHER])
    for _ in range(30):
        exchange(ledger, job, "ann")
        finish(ledger, job, "ann")
    rounds = [found.round for _, _, found in live_units(ledger.state)]
    assert unit.state == UnitState.SEALED
    assert rounds[0] == unit.round == 0
    assert rounds == sorted(rounds)
    assert ledger.do("ann", done.open_leaf(unit.window)) == "ok"


def test_when_nobody_seals_others_are_seated_once() -> None:
    ledger = peopled("req", "ann", "bob", "cat", "dan", "eve")
    _, unit, _ = committed(ledger)
    first = {seat.verifier for seat in unit.seats}
    window = unit.window
    ledger.wait(SEAL_TICKS)
    assert unit.state == UnitState.SEATED
    assert unit.refilled
    assert unit.window == window
    second = {seat.verifier for seat in unit.seats}
    assert len(first) == len(second) == 2
    assert not first & second
    assert all(ledger.state.accounts[node].absences == (True,) for node in first)
    ledger.wait(SEAL_TICKS)
    assert (unit.state, unit.reason) == (UnitState.PAID, "unverified")
    assert ledger.account("ann").units_ok == 0
    assert ledger.state.reserve == 10**15 - 60_600_000_000 + 4 * ABSENT + 21_000


def test_when_nobody_else_can_be_seated_the_unit_is_paid_unverified(ledger: Ledger) -> None:
    _, unit, _ = committed(ledger)
    ledger.wait(SEAL_TICKS)
    assert (unit.state, unit.reason) == (UnitState.PAID, "unverified")


def test_in_a_world_of_two_units_are_paid_unverified() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    for name in ("bob", "cat"):
        assert ledger.do(name, registration(fingerprint=OTHER)) == "ok"
    _, unit, _ = committed(ledger)
    assert (unit.state, unit.reason, unit.window) == (UnitState.PAID, "unverified", -1)


def test_who_was_absent_is_not_seated_until_it_registers_again(ledger: Ledger) -> None:
    _, unit, _ = committed(ledger)
    ledger.wait(SEAL_TICKS)
    _, unit, _ = committed(ledger)
    assert unit.reason == "unverified"
    assert ledger.do("bob", registration()) == "ok"
    _, unit, _ = committed(ledger)
    assert [seat.verifier for seat in unit.seats] == [ledger.id("bob")]


def test_verifiers_without_a_free_bond_are_not_seated(ledger: Ledger) -> None:
    bond = 10 * SHARE
    assert ledger.do("bob", Unstake(MicroTokens(STAKE - bond + 1))) == "ok"
    assert ledger.do("cat", Unstake(MicroTokens(STAKE - bond))) == "ok"
    _, unit, _ = committed(ledger)
    assert [(seat.verifier, seat.bond) for seat in unit.seats] == [(ledger.id("cat"), bond)]
    assert ledger.account("cat").locked == bond
    assert ledger.do("cat", Unstake(MicroTokens(1))) == "not-enough-stake"


def test_those_that_take_jobs_are_seated_before_those_that_do_not() -> None:
    ledger = peopled("req", "ann", "bob", "cat", "dan")
    for name in ("cat", "dan"):
        assert ledger.do(name, registration(provides=False)) == "ok"
    _, unit, _ = committed(ledger)
    assert unit.seats[0].verifier == ledger.id("bob")
    assert len(unit.seats) == 2


def test_windows_and_verifiers_vary_with_the_mix() -> None:
    windows, pairs = set[int](), set[frozenset[bytes]]()
    ledger = peopled("req", "ann", "bob", "cat", "dan", "eve")
    for _ in range(12):
        _, unit, _ = committed(ledger)
        windows.add(unit.window)
        pairs.add(frozenset(seat.verifier for seat in unit.seats))
    assert windows <= {1, 2, 3, 4}
    assert min(len(windows), len(pairs)) > 2


def test_a_unit_cut_short_is_paid_by_its_windows(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann")
    key = key_of(ledger, job, "ann")
    free = ledger.account("ann").free
    assert ledger.do("ann", work(ledger, key, windows=1).commit()) == "ok"
    ledger.wait(1)
    unit = unit_of(ledger, job, "ann")
    assert unit.window == 1
    done = work(ledger, key, windows=1)
    seal_all(ledger, unit, [found_in(done, unit)] * 2)
    assert ledger.do("ann", done.open_leaf(1)) == "ok"
    reveal_all(ledger, unit, [found_in(done, unit)] * 2)
    assert unit.paid == PRICE // 4 * 97 // 100
    assert ledger.account("ann").free == free + unit.paid


def test_too_little_work_is_refused(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", windows=10, steps=100)
    key = key_of(ledger, job, "ann")
    assert ledger.do("ann", work(ledger, key, windows=1).commit()) == "too-little-work"
    assert ledger.do("ann", work(ledger, key, windows=2).commit()) == "ok"  # a fifth, to the step


def test_a_commit_that_does_not_bind_its_unit_is_refused(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", rounds=2)
    key = key_of(ledger, job, "ann")
    done = work(ledger, key)
    good = done.commit()

    def bent(**changes: object) -> Commit:
        leaf = msgspec.structs.replace(done.leaves[0], **changes)
        return replace(done, leaves=(leaf, *done.leaves[1:])).commit()

    structs = msgspec.structs
    wrong: dict[Commit, str] = {
        structs.replace(good, root=Digest(bytes(31))): "bad-field",
        structs.replace(good, update=BlobId(b"")): "bad-field",
        structs.replace(good, leaves=1): "bad-field",
        structs.replace(good, leaves=6): "bad-field",
        structs.replace(good, steps=39): "not-a-window-bound",
        structs.replace(good, root=OTHER): "bad-leaf",
        structs.replace(good, first=LeafPath(b"", ())): "bad-leaf",
        structs.replace(good, first=done.opened(1)): "wrong-binding",
        structs.replace(good, round=Round(1)): "unknown-unit",
        structs.replace(good, lease=OTHER): "unknown-lease",
        structs.replace(good, lease=lease_of(ledger, job, "bob").id): "not-the-provider",
        bent(job=JobId(OTHER)): "wrong-binding",
        bent(round=Round(0), step=1): "wrong-binding",
        bent(cursor=5): "wrong-binding",
        bent(optimizer=OTHER): "wrong-optimizer",
    }
    for operation, reason in wrong.items():
        assert ledger.do("ann", operation) == reason
    assert ledger.do("ann", good) == "ok"
    assert ledger.do("ann", good) == "not-running"


def test_an_opening_that_does_not_bind_its_unit_is_refused(ledger: Ledger) -> None:
    _, unit, done = committed(ledger)
    good = done.open_leaf(unit.window)
    assert ledger.do("ann", good) == "wrong-state"
    seal_all(ledger, unit, [OTHER, OTHER])
    other = 1 if unit.window != 1 else 2
    wrong: dict[OpenLeaf, str] = {
        done.open_leaf(other): "wrong-binding",
        msgspec.structs.replace(good, last=done.opened(1)): "wrong-binding",
        msgspec.structs.replace(good, last=LeafPath(b"x", ())): "bad-leaf",
        msgspec.structs.replace(good, round=Round(3)): "unknown-unit",
    }
    for operation, reason in wrong.items():
        assert ledger.do("ann", operation) == reason
    assert ledger.do("bob", good) == "not-the-provider"
    assert ledger.do("ann", good) == "ok"


def test_seals_and_reveals_belong_to_the_seated_and_are_given_once(ledger: Ledger) -> None:
    _, unit, done = committed(ledger)
    first, second = (ledger.name(seat.verifier) for seat in unit.seats)
    sealed = VerifyCommit(unit.lease, unit.round, OTHER)
    assert ledger.do("req", sealed) == "not-seated"
    assert ledger.do(first, msgspec.structs.replace(sealed, sealed=Digest(b""))) == "bad-field"
    seal_all(ledger, unit, [OTHER])
    assert ledger.do(first, sealed) == "already-sealed"
    assert ledger.do(first, reveal_of(unit, OTHER)) == "wrong-state"
    ledger.wait(SEAL_TICKS)
    assert ledger.do(second, sealed) == "wrong-state"
    assert ledger.do("ann", done.open_leaf(unit.window)) == "ok"
    assert ledger.do(second, reveal_of(unit, OTHER)) == "not-sealed"
    assert ledger.do("req", reveal_of(unit, OTHER)) == "not-seated"
    assert ledger.do(first, reveal_of(unit, Digest(bytes(32)))) == "wrong-seal"
    assert ledger.do(first, reveal_of(unit, OTHER, NO_BLOB)) == "ok"
    assert ledger.do(first, reveal_of(unit, OTHER, NO_BLOB)) == "wrong-state"


def test_a_second_unit_must_start_where_the_first_one_ended(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", rounds=2)
    finish(ledger, job, "ann")
    exchange(ledger, job, "ann")
    ledger.wait(1)
    first = ledger.state.units[lease_of(ledger, job, "ann").id, Round(0)]
    done = work(ledger, (first.lease, first.round))
    seal_all(ledger, first, [found_in(done, first)] * 2)
    assert ledger.do("ann", done.open_leaf(first.window)) == "ok"
    broken = work(ledger, (first.lease, Round(1)), optimizer=OTHER)
    assert ledger.do("ann", broken.commit()) == "ok"
    ledger.wait(1)
    second = ledger.state.units[first.lease, Round(1)]
    seal_all(ledger, second, [OTHER, OTHER])
    assert ledger.do("ann", broken.open_leaf(second.window)) == "ok"
    assert (second.state, second.reason) == (UnitState.SLASHED, "optimizer-chain")
    lease = ledger.state.leases[first.lease]
    assert (lease.state, lease.bond) == (LeaseState.ENDED, 4 * PRICE)
    reveal_all(ledger, first, [found_in(done, first)] * 2)
    assert first.state == UnitState.PAID
    assert lease.bond == 0


def test_a_unit_starts_with_what_the_leases_last_commit_left_over_or_with_nothing(
    ledger: Ledger,
) -> None:
    job = running(ledger, "req", "ann", "bob", rounds=2)
    done = work(ledger, key_of(ledger, job, "ann"))
    left = msgspec.structs.replace(done.commit(), error_buffer=OTHER)
    assert ledger.do("ann", msgspec.structs.replace(left, error_buffer=Digest(b""))) == "bad-field"
    assert ledger.do("ann", left) == "ok"
    finish(ledger, job, "bob")
    exchange(ledger, job, "ann", "bob")
    ledger.wait(1)

    def starting_with(name: str, error: Digest) -> Commit:
        begun = work(ledger, key_of(ledger, job, name))
        leaf = msgspec.structs.replace(begun.leaves[0], error_buffer=error)
        return replace(begun, leaves=(leaf, *begun.leaves[1:])).commit()

    assert ledger.do("ann", starting_with("ann", START)) == "wrong-optimizer"
    assert ledger.do("ann", starting_with("ann", OTHER)) == "ok"
    assert ledger.do("bob", starting_with("bob", OTHER)) == "wrong-optimizer"
    assert ledger.do("bob", starting_with("bob", NO_DIGEST)) == "ok"


def test_a_unit_under_way_of_a_slashed_lease_is_forfeit(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", rounds=2)
    finish(ledger, job, "ann")
    exchange(ledger, job, "ann")
    ledger.wait(1)
    first = ledger.state.units[lease_of(ledger, job, "ann").id, Round(0)]
    done = work(ledger, (first.lease, first.round))
    seal_all(ledger, first, [OTHER, OTHER])
    assert ledger.do("ann", done.open_leaf(first.window)) == "ok"
    reveal_all(ledger, first, [OTHER, OTHER])
    second = ledger.state.units[first.lease, Round(1)]
    assert (first.state, first.reason) == (UnitState.SLASHED, "bad-work")
    assert (second.state, second.reason) == (UnitState.VOID, "forfeit")
    assert (second.paid, second.lost) == (0, 0)
    assert ledger.state.leases[first.lease].bond == 0


def test_a_lease_whose_bond_is_spent_ends(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", rounds=12, quorum=1)
    lease = lease_of(ledger, job, "ann")
    lease.bond = MicroTokens(lease.bond - 4 * PRICE)
    ledger.account("ann").locked = lease.bond
    ledger.wait(DEVELOPMENT.commit_ticks + 2 * JOB.unit_ms // DEVELOPMENT.tick_ms + 1)
    assert lease.state == LeaseState.ENDED
    assert lease.bond == 0


def test_a_settlement_leaves_a_receipt_that_says_what_moved(ledger: Ledger) -> None:
    unit, _ = verdict(ledger, [HONEST, HONEST])
    log = ledger.executor.receipts
    [index] = log.of(unit_subject(unit.lease, unit.round))
    assert log.receipt(index).detail == f"paid verified paid={PAY} lost=0"
    assert log.receipt(index).code == UnitState.PAID


def test_good_windows_from_another_start_than_the_rounds_are_slashed(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", rounds=2)
    finish(ledger, job, "ann", "bob")
    done = work(ledger, key_of(ledger, job, "cat"), start=OTHER)
    assert ledger.do("cat", done.commit()) == "ok"
    ledger.wait(1)
    unit = unit_of(ledger, job, "cat")
    found = found_in(done, unit)
    seal_all(ledger, unit, [found] * len(unit.seats))
    assert ledger.do("cat", done.open_leaf(unit.window)) == "ok"
    reveal_all(ledger, unit, [found] * len(unit.seats))
    assert (unit.state, unit.reason) == (UnitState.SLASHED, "wrong-start")

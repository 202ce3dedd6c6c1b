"""A seated verifier against a real ledger: what it asks for when, what it seals and reveals."""

from collections.abc import Iterable

import msgspec
import pytest

from dpin.base.attention import LOOK
from dpin.base.codec import decode
from dpin.base.ids import NO_BLOB, NO_DIGEST, BlobId, Digest
from dpin.base.machine import Blame, Send, Tick
from dpin.base.units import Instant, MicroTokens, after
from dpin.compute.generation import Generate, Generated
from dpin.compute.task import CheckUpdate, CheckWindow, OpenJob, UpdateChecked, WindowChecked
from dpin.compute.work import Dismiss, Exited, Hire, Order, Reported, WorkerId
from dpin.ledger.accounts import Seat, UnitState
from dpin.ledger.transactions import VerifyCommit, VerifyReveal
from dpin.ledger.wishes import Follow, Wish
from dpin.storage.wanted import Fetch, Missing
from dpin.verify.bench import RESTARTS_MAX
from dpin.verify.commitment import commit_of, generation_leaves, open_leaf_of
from dpin.verify.messages import AskOpening, NoOpening, Opening, VerifyMessage
from dpin.verify.verifier import IDLE_MAX, Effect, Event, Told, Verifier
from tests.support.checking import LAST, STATE, CheckedUnit
from tests.support.jobs import (
    TOKENS,
    at,
    files_of,
    generating,
    here,
    infer_manifest,
    manifest_blob,
    market,
    only,
    path_of,
    too_large,
    train_manifest,
    training,
)
from tests.support.ledgers import (
    OTHER,
    START,
    UPDATE,
    lease_of,
    unit_of,
)


class Checked(CheckedUnit):
    """The unit, and the verifier on the first of its seats."""

    def __init__(self) -> None:
        super().__init__()
        self.me = self.ledger.name(self.unit.seats[0].verifier)
        self.verifier = Verifier(self.ledger.id(self.me), b"secret")
        self.worker = WorkerId(f"check-{self.job.hex()[:8]}")
        self.now: Instant = at(0)

    @property
    def seat(self) -> Seat:
        return self.unit.seats[0]

    def step(self, event: Event) -> list[Effect]:
        return self.verifier.step(event, self.now)

    def load(self) -> list[Effect]:
        """The job's files arrive; what the last of them leads to."""
        effects = self.step(Follow(self.ledger.state))
        for event in files_of(train_manifest()):
            effects = self.step(event)
        return effects

    def wait(self) -> list[Effect]:
        """The time of the unit's state is almost over, and this node has been awake in it."""
        self.near_deadline()
        effects: list[Effect] = []
        for _ in range(3):
            self.now = after(self.now, LOOK)
            effects = self.step(Follow(self.ledger.state))
        return effects

    def tell(self, message: Opening | NoOpening) -> list[Effect]:
        return self.step(Told(self.ledger.id("maker"), message))

    def ready(self) -> list[Effect]:
        """Loaded, and the state in which the window starts is here."""
        self.load()
        self.tell(self.opening(final=False))
        return self.step(here(STATE))

    def find(self, found: Digest, *, ok: bool = True) -> list[Effect]:
        """The worker has re-executed the window."""
        leaf = self.done.leaves[self.unit.window - 1]
        return self.step(Reported(self.worker, WindowChecked(leaf, ok, found, 1)))

    def do(self, effects: Iterable[Effect]) -> None:
        """Have the one wish done."""
        [wish] = only(Wish, effects)
        assert self.ledger.do(self.me, wish.operation) == "ok"

    def open(self) -> None:
        """The other seals as well, and the provider opens its leaves."""
        self.seal(self.unit.seats[1].verifier)
        self.open_leaves()


@pytest.fixture
def checked() -> Checked:
    return Checked()


def asked(effects: Iterable[Effect]) -> list[bool]:
    """Which openings were asked for, by `final`."""
    messages: list[VerifyMessage] = [
        decode(VerifyMessage, send.payload) for send in only(Send, effects)
    ]
    return [message.final for message in messages if isinstance(message, AskOpening)]


def orders(effects: Iterable[Effect]) -> list[object]:
    return [order.command for order in only(Order, effects)]


def test_whoever_has_no_seat_and_no_job_to_warm_up_for_does_nothing(checked: Checked) -> None:
    stranger = Verifier(checked.ledger.id("buyer"), b"secret")
    assert stranger.step(Follow(checked.ledger.state), at(0)) == []


def test_a_job_under_way_is_loaded_before_there_is_a_seat() -> None:
    ledger = market()
    training(ledger, "buyer", "maker")
    verifier = Verifier(ledger.id("one"), b"secret")
    effects = verifier.step(Follow(ledger.state), at(0))
    assert len(only(Hire, effects)) == 1
    assert not only(Send, effects)
    assert not verifier.checking


def test_a_seat_is_followed_from_the_files_to_the_seal(checked: Checked) -> None:
    first = checked.step(Follow(checked.ledger.state))
    assert len(only(Hire, first)) == 1
    assert [fetch.blob for fetch in only(Fetch, first)] == [manifest_blob(train_manifest())]
    loaded = checked.load()
    assert [type(command) for command in orders(loaded)] == [OpenJob]
    assert asked(loaded) == [False]
    told = checked.tell(checked.opening(final=False))
    assert [fetch.blob for fetch in only(Fetch, told)] == [STATE]
    [command] = orders(checked.step(here(STATE)))
    leaf = checked.done.leaves[checked.unit.window - 1]
    assert command == CheckWindow(leaf, 0, path_of(STATE))
    checked.do(checked.find(checked.honest))
    assert checked.seat.sealed is not None


def most(checked: Checked) -> int:
    """The bytes of the largest state that the verifier fetches of a unit."""
    [fetch] = only(Fetch, checked.tell(checked.opening(final=False)))
    return fetch.bytes_max


def test_a_state_too_large_to_be_one_is_judged_like_bytes_that_are_none(checked: Checked) -> None:
    checked.load()
    bytes_max = most(checked)
    effects = checked.step(too_large(STATE, bytes_max + 1))
    assert [blame.peer for blame in only(Blame, effects)] == [checked.ledger.id("maker")]
    assert not orders(effects)
    checked.do(effects)  # It seals that nothing was shown.
    checked.open()
    [wish] = only(Wish, checked.step(Follow(checked.ledger.state)))
    assert isinstance(wish.operation, VerifyReveal)
    assert (wish.operation.found, wish.operation.update) == (NO_DIGEST, NO_BLOB)


def test_a_state_that_is_here_for_another_job_may_be_too_large_for_this_one(
    checked: Checked,
) -> None:
    checked.load()
    bytes_max = most(checked)
    effects = checked.step(here(STATE, length=bytes_max + 1))
    assert not orders(effects)
    assert only(Wish, effects)


def test_a_state_too_large_for_somebody_else_is_asked_for_again(checked: Checked) -> None:
    checked.load()
    bytes_max = most(checked)
    assert not only(Blame, checked.step(too_large(STATE, bytes_max)))
    checked.now = at(0.3)
    assert [fetch.blob for fetch in only(Fetch, checked.step(Tick()))] == [STATE]


def test_a_last_state_too_large_to_be_one_lets_the_update_be_none(checked: Checked) -> None:
    checked.ready()
    checked.do(checked.find(checked.honest))
    checked.open()
    checked.step(Follow(checked.ledger.state))
    [fetch] = only(Fetch, checked.tell(checked.opening(final=True)))
    [wish] = only(Wish, checked.step(too_large(LAST, fetch.bytes_max + 1)))
    assert isinstance(wish.operation, VerifyReveal)
    assert (wish.operation.found, wish.operation.update) == (checked.honest, NO_BLOB)


def test_what_is_sealed_can_be_revealed_and_pays_the_unit(checked: Checked) -> None:
    checked.ready()
    checked.do(checked.find(checked.honest))
    checked.open()
    assert asked(checked.step(Follow(checked.ledger.state))) == [True]
    fetches = only(Fetch, checked.tell(checked.opening(final=True)))
    assert {fetch.blob for fetch in fetches} == {LAST}  # The start is held already.
    leaves = checked.done.leaves
    start = path_of(train_manifest().initial)
    expected = CheckUpdate(leaves[0], leaves[-1], start, path_of(LAST))
    assert orders(checked.step(here(LAST))) == [expected]
    report = UpdateChecked(leaves[-1], states_ok=True, update=UPDATE)
    effects = checked.step(Reported(checked.worker, report))
    [wish] = only(Wish, effects)
    assert isinstance(wish.operation, VerifyReveal)
    assert (wish.operation.found, wish.operation.update) == (checked.honest, UPDATE)
    checked.do(effects)
    assert checked.seat.reveal == wish.operation


def test_the_end_is_never_asked_for_before_the_leaves_are_open(checked: Checked) -> None:
    checked.ready()
    checked.do(checked.find(checked.honest))
    checked.seal(checked.unit.seats[1].verifier)
    assert checked.unit.state == UnitState.SEALED
    for second in range(5):
        checked.now = at(3 * second)
        assert True not in asked(checked.step(Follow(checked.ledger.state)))


def test_an_opening_is_asked_for_again_once_per_interval(checked: Checked) -> None:
    assert asked(checked.load()) == [False]
    assert asked(checked.step(Follow(checked.ledger.state))) == []
    checked.now = at(3)
    assert asked(checked.step(Tick())) == [False]


def test_a_provider_that_is_a_moment_behind_is_asked_again_soon(checked: Checked) -> None:
    checked.load()
    unit = checked.unit
    assert (
        asked(checked.tell(NoOpening(unit.lease, unit.round, final=False, reason="what unit?")))
        == []
    )
    checked.now = at(0.3)
    assert asked(checked.step(Follow(checked.ledger.state))) == [False]


def test_a_blob_that_nobody_gave_is_fetched_again_soon(checked: Checked) -> None:
    checked.load()
    checked.tell(checked.opening(final=False))
    assert only(Fetch, checked.step(Missing(STATE, "no source"))) == []
    checked.now = at(0.3)
    assert [fetch.blob for fetch in only(Fetch, checked.step(Tick()))] == [STATE]


def test_answers_of_others_than_the_provider_are_ignored(checked: Checked) -> None:
    checked.load()
    told = Told(checked.ledger.id("two"), checked.opening(final=False))
    assert only(Fetch, checked.step(told)) == []


@pytest.mark.parametrize("change", ["path", "leaf", "window"])
def test_an_opening_that_its_commit_does_not_hold_is_blamed(checked: Checked, change: str) -> None:
    checked.load()
    honest = checked.opening(final=False)
    match change:
        case "path":
            message = msgspec.structs.replace(honest, path=(OTHER, *honest.path[1:]))
        case "leaf":
            leaf = msgspec.structs.replace(honest.leaf, parameters=OTHER)
            message = msgspec.structs.replace(honest, leaf=leaf)
        case _:
            message = msgspec.structs.replace(checked.opening(final=True), final=False)
            if checked.unit.window == len(checked.done.leaves):
                return
    effects = checked.tell(message)
    assert [blame.peer for blame in only(Blame, effects)] == [checked.ledger.id("maker")]
    assert only(Fetch, effects) == []


def test_a_state_that_does_not_hash_to_its_leaf_is_sealed_as_wrong(checked: Checked) -> None:
    checked.ready()
    [wish] = only(Wish, checked.find(checked.honest, ok=False))
    assert isinstance(wish.operation, VerifyCommit)
    checked.do([wish])
    checked.open()
    [reveal] = only(Wish, checked.step(Follow(checked.ledger.state)))
    assert isinstance(reveal.operation, VerifyReveal)
    assert (reveal.operation.found, reveal.operation.update) == (NO_DIGEST, NO_BLOB)


def test_a_window_that_differs_is_revealed_without_looking_at_the_update(checked: Checked) -> None:
    checked.ready()
    checked.do(checked.find(OTHER))
    checked.open()
    effects = checked.step(Follow(checked.ledger.state))
    assert asked(effects) == []
    [wish] = only(Wish, effects)
    assert isinstance(wish.operation, VerifyReveal)
    assert (wish.operation.found, wish.operation.update) == (OTHER, NO_BLOB)
    checked.do(effects)


@pytest.mark.parametrize("update", [BlobId(OTHER), NO_BLOB])
def test_the_update_as_encoded_again_is_revealed(checked: Checked, update: BlobId) -> None:
    checked.ready()
    checked.do(checked.find(checked.honest))
    checked.open()
    checked.step(Follow(checked.ledger.state))
    checked.tell(checked.opening(final=True))
    checked.step(here(LAST))
    good = update != NO_BLOB
    report = UpdateChecked(checked.done.leaves[-1], states_ok=good, update=BlobId(OTHER))
    [wish] = only(Wish, checked.step(Reported(checked.worker, report)))
    assert isinstance(wish.operation, VerifyReveal)
    assert wish.operation.update == update


def test_a_state_never_delivered_is_held_against_the_provider_only_at_the_end(
    checked: Checked,
) -> None:
    checked.load()
    assert only(Wish, checked.step(Follow(checked.ledger.state))) == []
    checked.do(checked.wait())
    assert checked.seat.sealed is not None


@pytest.mark.parametrize("slept", [3, 60])
def test_who_has_slept_itself_holds_nothing_against_the_provider(
    checked: Checked, slept: float
) -> None:
    """The answer is among its mail; the ledger's time has gone on without it."""
    checked.load()
    checked.near_deadline()
    checked.now = at(slept)
    assert only(Wish, checked.step(Follow(checked.ledger.state))) == []
    checked.tell(checked.opening(final=False))
    assert orders(checked.step(here(STATE)))
    assert only(Wish, checked.wait()) == []


def test_an_end_never_delivered_is_held_against_the_provider_only_at_the_end(
    checked: Checked,
) -> None:
    checked.ready()
    checked.do(checked.find(checked.honest))
    checked.open()
    assert only(Wish, checked.step(Follow(checked.ledger.state))) == []
    [wish] = only(Wish, checked.wait())
    assert isinstance(wish.operation, VerifyReveal)
    assert (wish.operation.found, wish.operation.update) == (checked.honest, NO_BLOB)


def test_an_own_worker_that_is_slow_accuses_nobody(checked: Checked) -> None:
    assert [type(command) for command in orders(checked.ready())] == [CheckWindow]
    assert only(Wish, checked.wait()) == []


def test_own_files_that_do_not_come_accuse_nobody(checked: Checked) -> None:
    checked.step(Follow(checked.ledger.state))
    assert only(Wish, checked.wait()) == []


def test_an_own_bench_that_is_ready_only_at_the_end_accuses_nobody(checked: Checked) -> None:
    checked.step(Follow(checked.ledger.state))
    checked.near_deadline()
    assert only(Wish, checked.load()) == []
    assert only(Wish, checked.step(Follow(checked.ledger.state))) == []


def test_an_own_worker_that_keeps_dying_accuses_nobody(checked: Checked) -> None:
    checked.ready()
    for _ in range(RESTARTS_MAX + 1):
        checked.step(Exited(checked.worker, "out of memory"))
    assert only(Wish, checked.wait()) == []


def test_a_dead_worker_is_brought_up_again_with_its_orders_a_few_times(checked: Checked) -> None:
    checked.ready()
    for _ in range(RESTARTS_MAX):
        effects = checked.step(Exited(checked.worker, "out of memory"))
        assert len(only(Hire, effects)) == 1
        assert [type(command) for command in orders(effects)] == [OpenJob, CheckWindow]
    effects = checked.step(Exited(checked.worker, "out of memory"))
    assert only(Hire, effects) == []
    assert orders(effects) == []


def test_whoever_forgot_what_it_found_stays_silent(checked: Checked) -> None:
    checked.ready()
    checked.do(checked.find(checked.honest))
    checked.open()
    fresh = Verifier(checked.ledger.id(checked.me), b"secret")
    effects = fresh.step(Follow(checked.ledger.state), at(9))
    assert only(Wish, effects) == []
    assert asked(effects) == []


def test_the_seal_is_the_same_after_a_restart(checked: Checked) -> None:
    checked.ready()
    [before] = only(Wish, checked.find(checked.honest))
    checked.verifier = Verifier(checked.ledger.id(checked.me), b"secret")
    checked.ready()
    [after] = only(Wish, checked.find(checked.honest))
    assert after == before


def test_an_ended_job_is_dismissed_and_forgotten(checked: Checked) -> None:
    checked.ready()
    assert len(checked.verifier.checking) == 1
    while checked.job in checked.ledger.state.live_jobs:
        checked.ledger.wait(5)
    effects = checked.step(Follow(checked.ledger.state))
    assert only(Dismiss, effects) == [Dismiss(checked.worker)]
    assert not checked.verifier.checking
    assert checked.step(Tick()) == []


def test_a_node_keeps_workers_for_so_many_jobs_in_which_it_has_no_seat(checked: Checked) -> None:
    ledger = checked.ledger
    jobs = [checked.job, *(training(ledger, "buyer", "maker") for _ in range(IDLE_MAX + 3))]
    hired: dict[WorkerId, int] = {}
    most = 0
    for job in jobs:  # Each while the others go on.
        unit = unit_of(ledger, job, "maker")
        unit.state, unit.seats = UnitState.SEATED, [Seat(ledger.id(checked.me), MicroTokens(0))]
        for effect in checked.step(Follow(ledger.state)):
            if isinstance(effect, Hire | Dismiss):
                change = 1 if isinstance(effect, Hire) else -1
                hired[effect.worker] = hired.get(effect.worker, 0) + change
        assert hired[WorkerId(f"check-{job.hex()[:8]}")] == 1
        unit.seats = []
        most = max(most, sum(hired.values()))
    assert most == IDLE_MAX + 1
    assert hired[WorkerId(f"check-{jobs[-2].hex()[:8]}")] == 1  # The newest stay.


def test_a_generation_is_generated_again_and_compared() -> None:
    ledger = market()
    job = generating(ledger, "buyer", "maker")
    lease = lease_of(ledger, job, "maker")
    leaves = generation_leaves(job, lease.id, START, OTHER, TOKENS)
    assert ledger.do("maker", commit_of(leaves, BlobId(OTHER))) == "ok"
    ledger.wait(1)
    unit = unit_of(ledger, job, "maker")
    [seat] = unit.seats
    verifier = Verifier(seat.verifier, b"secret")
    verifier.step(Follow(ledger.state), at(0))
    [order] = only(
        Order, [it for file in files_of(infer_manifest()) for it in verifier.step(file, at(0))]
    )
    assert isinstance(order.command, Generate)
    assert order.command.model == path_of(infer_manifest().model)
    report = Reported(order.worker, Generated(OTHER, TOKENS, 1, 2))
    [sealed] = only(Wish, verifier.step(report, at(1)))
    assert ledger.do(ledger.name(seat.verifier), sealed.operation) == "ok"
    assert ledger.do("maker", open_leaf_of(leaves, unit.window)) == "ok"
    [revealed] = only(Wish, verifier.step(Follow(ledger.state), at(2)))
    assert ledger.do(ledger.name(seat.verifier), revealed.operation) == "ok"
    assert (unit.state, unit.reason) == (UnitState.PAID, "verified")

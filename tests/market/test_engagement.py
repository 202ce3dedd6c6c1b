"""One lease from the provider's side, against a real ledger."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from dpin.base.codec import decode
from dpin.base.ids import BlobId, Digest, JobId, Round
from dpin.base.leaf import Leaf
from dpin.base.machine import Send
from dpin.base.units import Tick
from dpin.compute.generation import Generate, Generated, Tokens
from dpin.compute.reporting import Progress
from dpin.compute.task import (
    Failed,
    MergeRound,
    Opened,
    OpenJob,
    Report,
    Trained,
    TrainUnit,
)
from dpin.compute.work import Dismiss, Hire, Order
from dpin.ledger.accounts import JobState, LeaseState, Phase, UnitState
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import Commit, Have, Ready, Stop
from dpin.ledger.views import offers
from dpin.ledger.wishes import Wish
from dpin.market.engagement import (
    READY_MARGIN_TICKS,
    RESTARTS_MAX,
    Effect,
    Engagement,
    Fault,
    renew,
)
from dpin.market.messages import Decline, Heartbeat, MarketMessage, Reason, Text
from dpin.market.pace import LEAST_PARTS, MARGIN_MS, UNBOXED_MS, Pace
from dpin.storage.wanted import Allow, Keep, Kept
from dpin.verify.defender import Produced
from tests.support.jobs import (
    at,
    file_id,
    files_of,
    generating,
    here,
    infer_manifest,
    manifest_blob,
    market,
    only,
    path_of,
    proposed,
    train_manifest,
    training,
)
from tests.support.ledgers import (
    OTHER,
    PRICE,
    START,
    award,
    exchange,
    finish,
    key_of,
    lease_of,
    running,
    unit_of,
    work,
)

UPDATE_FILE = "/w/update"


class Engaged:
    """Maker's lease, just awarded; with `both`, one has the other seat."""

    def __init__(self, fault: Fault = Fault.NONE, *, both: bool = False) -> None:
        self.ledger = market()
        self.seats = 2 if both else 1
        self.job_id = proposed(self.ledger, "buyer", seats=self.seats, rounds=2)
        names = ("maker", "one")[: self.seats]
        assert award(self.ledger, self.job_id, **dict.fromkeys(names, PRICE)) == "ok"
        if both:
            assert self.ledger.do("one", Ready(lease_of(self.ledger, self.job_id, "one").id))
        self.lease = lease_of(self.ledger, self.job_id, "maker")
        job = self.ledger.state.jobs[self.job_id]
        tick_ms = self.ledger.genesis.params.tick_ms
        self.engagement = Engagement(job, self.lease, fault, tick_ms)

    def follow(self, moment: float = 0) -> list[Effect]:
        return list(self.engagement.follow(self.ledger.state, at(moment)))

    def load(self) -> list[Effect]:
        """Files arrive, and the worker opens the job."""
        effects = self.follow()
        for event in files_of(train_manifest(seats=self.seats, rounds=2)):
            self.engagement.loading.fetched(event)
            effects += self.follow()
        self.report(Opened(Round(0), START))
        return effects

    def hurry(self) -> None:
        """Said to be ready because the award is about to lapse."""
        left = self.lease.deadline - self.ledger.state.tick
        self.ledger.wait(left - READY_MARGIN_TICKS)
        self.do(self.follow(), Ready)

    def report(self, report: Report) -> list[Effect]:
        return list(self.engagement.reported(report))

    def start(self) -> TrainUnit:
        """Loaded, ready, and with an order for the first unit."""
        self.load()
        self.do(self.follow(), Ready)
        [order] = only(Order, self.follow())
        assert isinstance(order.command, TrainUnit)
        return order.command

    def trained(self) -> Trained:
        done = work(self.ledger, key_of(self.ledger, self.job_id, "maker"))
        states = tuple(f"/w/{leaf.window}" for leaf in done.leaves)
        return Trained(
            lease=self.lease.id,
            round=done.leaves[0].round,
            leaves=done.leaves,
            states=states,
            update=UPDATE_FILE,
            base="/w/base",
            loss_micronats=5_000_000,
            tokens=640,
            milliseconds=1_000,
        )

    def do(self, effects: Iterable[Effect], kind: type) -> None:
        """Have the one wish of this kind done."""
        [wish] = [it for it in only(Wish, effects) if isinstance(it.operation, kind)]
        assert self.ledger.do("maker", wish.operation) == "ok"

    def commit(self) -> BlobId:
        """Trained, kept, committed."""
        update = file_id("update")
        self.report(self.trained())
        list(self.engagement.kept(Kept(UPDATE_FILE, update, 1_000)))
        self.do(self.follow(), Commit)
        return update


def operations(effects: Iterable[Effect]) -> list[object]:
    return [wish.operation for wish in only(Wish, effects)]


def said(effects: Iterable[Effect]) -> list[MarketMessage]:
    return [decode(MarketMessage, send.payload) for send in only(Send, effects)]


def test_a_lease_is_said_to_be_ready_when_its_worker_has_opened_the_job() -> None:
    engaged = Engaged()
    first = engaged.follow()
    assert only(Hire, first) == [Hire(engaged.engagement.worker)]
    assert operations(first) == []
    for event in files_of(train_manifest(rounds=2)):
        engaged.engagement.loading.fetched(event)
    effects = engaged.follow()
    assert [type(order.command) for order in only(Order, effects)] == [OpenJob]
    assert operations(effects) == []
    engaged.report(Opened(Round(0), START))
    effects = engaged.follow()
    assert operations(effects) == [Ready(engaged.lease.id)]
    engaged.do(effects, Ready)
    assert engaged.lease.state == LeaseState.RUNNING


def test_a_worker_that_loads_for_long_costs_no_lease_at_the_start_of_a_job() -> None:
    engaged = Engaged()
    engaged.follow()
    for event in files_of(train_manifest(rounds=2)):
        engaged.engagement.loading.fetched(event)
    left = engaged.lease.deadline - engaged.ledger.state.tick
    engaged.ledger.wait(left - READY_MARGIN_TICKS - 1)
    assert operations(engaged.follow()) == []
    engaged.ledger.wait(1)
    assert operations(engaged.follow()) == [Ready(engaged.lease.id)]


def test_whose_earlier_lease_has_lapsed_says_it_is_ready_once_the_files_are_here() -> None:
    """Else who takes longer than an award to load, or to be heard, would lapse for ever."""
    engaged = Engaged()
    engaged.engagement.hasty = True
    assert operations(engaged.follow()) == []
    for event in files_of(train_manifest(rounds=2)):
        engaged.engagement.loading.fetched(event)
    assert operations(engaged.follow()) == [Ready(engaged.lease.id)]


def test_a_unit_is_ordered_once_a_round_and_within_its_deadline() -> None:
    engaged = Engaged()
    command = engaged.start()
    assert (command.lease, command.seat, command.round) == (engaged.lease.id, 0, 0)
    assert command.fresh_optimizer
    unit = unit_of(engaged.ledger, engaged.job_id, "maker")
    left_ms = (unit.deadline - engaged.ledger.state.tick) * 200
    assert 0 < command.limit_ms < left_ms
    assert only(Order, engaged.follow()) == []


def test_nothing_is_trained_before_the_worker_has_opened_the_job() -> None:
    engaged = Engaged()
    engaged.follow()
    for event in files_of(train_manifest(rounds=2)):
        engaged.engagement.loading.fetched(event)
    engaged.hurry()
    assert only(Order, engaged.follow()) == []
    engaged.report(Opened(Round(0), START))
    assert len(only(Order, engaged.follow())) == 1


def test_a_unit_that_nobody_can_check_is_not_written_down_for_verifiers() -> None:
    engaged = Engaged()
    engaged.start()
    effects = engaged.report(msgspec.structs.replace(engaged.trained(), states=()))
    assert [type(effect) for effect in effects] == [Keep]


def test_what_was_trained_is_kept_and_then_committed() -> None:
    engaged = Engaged()
    engaged.start()
    effects = engaged.report(engaged.trained())
    assert [type(effect) for effect in effects] == [Produced, Keep]
    [keep] = only(Keep, effects)
    assert (keep.path, keep.readers) == (UPDATE_FILE, frozenset())
    assert operations(engaged.follow()) == []
    update = file_id("update")
    list(engaged.engagement.kept(Kept(UPDATE_FILE, update, 1_000)))
    [commit] = operations(engaged.follow())
    assert isinstance(commit, Commit)
    assert (commit.update, commit.steps) == (update, 40)
    assert engaged.ledger.do("maker", commit) == "ok"
    assert operations(engaged.follow()) == [Have(engaged.lease.id, Round(0), (engaged.lease.id,))]


def test_an_update_is_released_once_the_round_exchanges_and_not_before() -> None:
    engaged = Engaged(both=True)
    engaged.start()
    update = engaged.commit()
    assert only(Allow, engaged.follow()) == []
    finish(engaged.ledger, engaged.job_id, "one")
    record = engaged.ledger.state.jobs[engaged.job_id].rounds[0]
    assert record.phase == Phase.EXCHANGE
    assert only(Allow, engaged.follow()) == [Allow(update, None)]


def test_it_says_what_it_holds_when_all_is_here_or_time_runs_out() -> None:
    engaged = Engaged(both=True)
    engaged.start()
    engaged.commit()
    finish(engaged.ledger, engaged.job_id, "one")
    assert operations(engaged.follow()) == []
    record = engaged.ledger.state.jobs[engaged.job_id].rounds[0]
    engaged.ledger.wait(record.deadline - engaged.ledger.state.tick - 5)
    [late] = operations(engaged.follow())
    assert late == Have(engaged.lease.id, Round(0), (engaged.lease.id,))
    other = lease_of(engaged.ledger, engaged.job_id, "one")
    commit = unit_of(engaged.ledger, engaged.job_id, "one").commit
    assert commit is not None
    engaged.engagement.loading.fetched(here(commit.update))
    [whole] = operations(engaged.follow())
    assert whole == Have(engaged.lease.id, Round(0), tuple(sorted([engaged.lease.id, other.id])))


class Behind(Engaged):
    """Maker trains its first unit while one has done its own: the round has gone on."""

    def __init__(self) -> None:
        super().__init__(both=True)
        self.start()
        finish(self.ledger, self.job_id, "one")
        self.ledger.wait(DEVELOPMENT.grace_ticks)
        self.report_late = self.trained()
        exchange(self.ledger, self.job_id, "maker", "one")
        self.follow()

    def commit_late(self) -> Commit:
        """Trained at last, and kept."""
        self.report(self.report_late)
        list(self.engagement.kept(Kept(UPDATE_FILE, file_id("late"), 1_000)))
        [commit] = operations(self.follow())
        assert isinstance(commit, Commit)
        return commit


def test_a_unit_that_is_done_after_its_round_is_committed_all_the_same() -> None:
    behind = Behind()
    job = behind.ledger.state.jobs[behind.job_id]
    assert (len(job.rounds), job.rounds[0].included[0].age) == (2, 0)
    commit = behind.commit_late()
    assert (commit.round, commit.update) == (0, file_id("late"))
    assert behind.ledger.do("maker", commit) == "ok"
    assert operations(behind.follow()) == []


def test_a_late_update_is_released_and_said_to_be_held_with_the_next_round() -> None:
    behind = Behind()
    assert behind.ledger.do("maker", behind.commit_late()) == "ok"
    assert only(Allow, behind.follow()) == []
    finish(behind.ledger, behind.job_id, "one")
    behind.ledger.wait(DEVELOPMENT.grace_ticks)
    record = behind.ledger.state.jobs[behind.job_id].rounds[1]
    assert record.late == [(behind.lease.id, 0)]
    assert only(Allow, behind.follow()) == [Allow(file_id("late"), None)]
    [update] = [
        it.commit for it in behind.ledger.state.units.values() if it.round == 1 and it.commit
    ]
    behind.engagement.loading.fetched(here(update.update))
    [held] = operations(behind.follow())
    assert held == Have(behind.lease.id, Round(1), tuple(sorted(offers(record))))


def test_the_last_unit_is_finished_and_paid_where_the_job_has_taken_its_last_round() -> None:
    behind = Behind()
    finish(behind.ledger, behind.job_id, "one")
    behind.ledger.wait(DEVELOPMENT.grace_ticks)
    exchange(behind.ledger, behind.job_id, "maker", "one")
    job = behind.ledger.state.jobs[behind.job_id]
    assert (job.state, behind.lease.state) == (JobState.SETTLING, LeaseState.ENDED)
    assert behind.engagement.commits.unfinished(job, behind.ledger.state)
    assert behind.ledger.do("maker", behind.commit_late()) == "ok"
    last = unit_of(behind.ledger, behind.job_id, "maker")
    assert (last.round, last.state) == (1, UnitState.RUNNING)
    assert behind.engagement.commits.unfinished(job, behind.ledger.state)
    behind.ledger.wait(last.deadline - behind.ledger.state.tick)
    assert not behind.engagement.commits.unfinished(job, behind.ledger.state)


def test_who_has_loaded_when_its_round_is_over_begins_its_unit_before_it_merges() -> None:
    """What it commits must begin with the state that the round began with."""
    engaged = Engaged(both=True)
    engaged.follow()
    for event in files_of(train_manifest(seats=2, rounds=2)):
        engaged.engagement.loading.fetched(event)
    engaged.hurry()
    finish(engaged.ledger, engaged.job_id, "one")
    engaged.ledger.wait(DEVELOPMENT.grace_ticks)
    engaged.follow()  # Asks for the updates.
    exchange(engaged.ledger, engaged.job_id, "maker", "one")
    job = engaged.ledger.state.jobs[engaged.job_id]
    assert (job.rounds[0].closed, job.rounds[1].closed) == (True, False)
    for one in job.rounds[0].included:
        engaged.engagement.loading.fetched(here(one.update))
    engaged.report(Opened(Round(0), START))
    commands = [order.command for order in only(Order, engaged.follow())]
    assert [type(command) for command in commands] == [TrainUnit, MergeRound]
    assert isinstance(commands[0], TrainUnit)
    assert commands[0].round == 0


def test_who_can_begin_only_when_its_time_is_over_begins_nothing() -> None:
    engaged = Engaged(both=True)
    engaged.follow()
    for event in files_of(train_manifest(seats=2, rounds=2)):
        engaged.engagement.loading.fetched(event)
    engaged.hurry()
    unit = unit_of(engaged.ledger, engaged.job_id, "maker")
    engaged.ledger.wait(unit.deadline - engaged.ledger.state.tick)
    engaged.report(Opened(Round(0), START))
    orders = [type(order.command) for order in only(Order, engaged.follow())]
    assert TrainUnit not in orders


def test_who_was_too_slow_does_as_much_as_the_others_have_time_for() -> None:
    pace = Pace(grace_ticks=10, whole=lambda _: 40)
    ledger = market()
    job = ledger.state.jobs[training(ledger, "buyer", "maker", "one", rounds=3)]
    began = ledger.state.tick
    pace.follow(job, began)
    ledger.wait(20)
    finish(ledger, job.id, "one")
    pace.follow(job, ledger.state.tick)
    took = ledger.state.tick - began
    ledger.wait(DEVELOPMENT.grace_ticks)
    exchange(ledger, job.id, "maker", "one")
    pace.follow(job, ledger.state.tick)
    now = ledger.state.tick
    assert pace.box_ms(Round(1), now, 200) == UNBOXED_MS  # It has not trained yet.
    pace.trained(reported(steps=20, milliseconds=5_000))
    whole = took * 200 + 2_000 - 1_000
    assert pace.box_ms(Round(1), now, 200) == whole < 10_000
    assert pace.box_ms(Round(1), Tick(now + 5), 200) == whole - 1_000
    # Less than a fifth of a unit is refused: that much is done however late it is.
    assert pace.box_ms(Round(1), Tick(now + 1_000), 200) == 10_000 * LEAST_PARTS // 10
    pace.trained(reported(steps=20, milliseconds=1_000))
    assert pace.box_ms(Round(1), now, 200) == UNBOXED_MS


def test_a_unit_that_is_longer_than_the_one_before_has_more_time() -> None:
    ledger = market()
    job = ledger.state.jobs[training(ledger, "buyer", "maker", "one", rounds=3)]
    paces = [Pace(grace_ticks=10, whole=whole) for whole in (lambda _: 20, lambda at: 20 + 20 * at)]
    for pace in paces:
        pace.follow(job, ledger.state.tick)
    ledger.wait(20)
    finish(ledger, job.id, "one")
    for pace in paces:
        pace.follow(job, ledger.state.tick)
    ledger.wait(DEVELOPMENT.grace_ticks)
    exchange(ledger, job.id, "maker", "one")
    now, boxes = ledger.state.tick, []
    for pace in paces:
        pace.follow(job, now)
        pace.trained(reported(steps=20, milliseconds=9_000))
        boxes.append(pace.box_ms(Round(1), now, 200))
    same, longer = boxes
    assert same < longer < UNBOXED_MS


def test_the_grace_that_a_box_counts_on_is_the_one_that_the_ledger_gives() -> None:
    """A long round waits for a tenth of its time, which is more than the least grace."""
    pace = Pace(grace_ticks=DEVELOPMENT.grace_ticks, whole=lambda _: 40)
    ledger = market()
    job = ledger.state.jobs[running(ledger, "buyer", "maker", "one", unit_ms=400_000)]
    pace.follow(job, ledger.state.tick)
    began, tick_ms = ledger.state.tick, DEVELOPMENT.tick_ms
    ledger.wait(30 * DEVELOPMENT.grace_ticks)
    finish(ledger, job.id, "one")
    pace.follow(job, ledger.state.tick)
    record = job.rounds[0]
    assert record.quorum_at is not None
    grace = record.deadline - record.quorum_at
    assert grace >= 3 * DEVELOPMENT.grace_ticks
    pace.trained(reported(steps=20, milliseconds=60_000))
    whole = record.quorum_at - began + grace
    assert pace.box_ms(Round(0), began, tick_ms) == whole * tick_ms - MARGIN_MS


def reported(steps: int, milliseconds: int) -> Trained:
    leaf = Leaf(JobId(bytes(32)), OTHER, Round(0), 2, steps, OTHER, OTHER, OTHER, steps)
    return Trained(OTHER, Round(0), (leaf,), (), "", "", 0, 0, milliseconds)


def test_a_lease_goes_on_with_the_records_of_a_state_that_its_node_has_caught_up_by() -> None:
    engaged = Engaged()
    engaged.start()
    job, lease = replace(engaged.ledger.state.jobs[engaged.job_id]), replace(engaged.lease)
    renew(engaged.engagement, job, lease)
    parts = engaged.engagement
    held = (parts.job, parts.files.job, parts.merging.job, parts.pulse.job, parts.veil.job)
    assert all(one is job for one in held)
    assert all(one is lease for one in (parts.lease, parts.pulse.lease, parts.veil.lease))


def test_heartbeats_tell_how_far_it_is_once_a_second() -> None:
    engaged = Engaged()
    engaged.start()
    engaged.report(Progress(engaged.lease.id, Round(0), 7, 40, 4_000_000, 900))
    [beat] = said(engaged.follow(1))
    expected = Heartbeat(engaged.lease.id, Round(0), "run", 7, 40, 4_000_000, 900)
    assert beat == expected
    assert said(engaged.follow(1.9)) == []
    assert said(engaged.follow(2)) == [expected]


def test_however_short_a_unit_is_its_requester_hears_how_it_went() -> None:
    engaged = Engaged()
    engaged.start()
    assert said(engaged.follow(1))
    done = reported(40, 500)
    engaged.report(msgspec.structs.replace(done, loss_micronats=3_000_000, tokens=1_000))
    [beat] = said(engaged.follow(1.1))
    assert beat == Heartbeat(engaged.lease.id, Round(0), "run", 40, 40, 3_000_000, 2_000)
    assert said(engaged.follow(1.2)) == []


def test_the_phases_are_told_as_they_pass() -> None:
    engaged = Engaged()
    assert engaged.engagement.phase == "upload"
    for event in [None, *files_of(train_manifest(rounds=2))]:
        if event is not None:
            engaged.engagement.loading.fetched(event)
        engaged.follow()
    assert engaged.engagement.phase == "load"
    engaged.report(Opened(Round(0), START))
    engaged.do(engaged.follow(), Ready)
    assert engaged.engagement.phase == "run"


def test_a_fault_is_passed_to_the_worker_and_vanishing_is_silence() -> None:
    assert Engaged(Fault.SKIP_WORK).start().fault == "skip-work"
    assert Engaged().start().fault == ""
    engaged = Engaged(Fault.VANISH)
    engaged.load()
    engaged.do(engaged.follow(), Ready)
    for moment in range(5):
        assert engaged.follow(moment) == []


def test_a_worker_that_dies_before_any_commit_is_replaced() -> None:
    engaged = Engaged()
    engaged.start()
    engaged.engagement.exited("killed")
    effects = engaged.follow()
    assert only(Hire, effects) == [Hire(engaged.engagement.worker)]
    assert [type(order.command) for order in only(Order, effects)] == [OpenJob]
    engaged.report(Opened(Round(0), START))
    assert [type(order.command) for order in only(Order, engaged.follow())] == [TrainUnit]


def test_a_worker_that_dies_too_often_ends_the_lease() -> None:
    engaged = Engaged()
    engaged.start()
    for _ in range(RESTARTS_MAX):
        engaged.engagement.exited("killed")
    assert len(only(Hire, engaged.follow())) == 1
    engaged.engagement.exited("killed")
    assert engaged.engagement.failed == "the worker died: killed"


def test_a_worker_that_dies_after_a_commit_takes_the_lease_along() -> None:
    engaged = Engaged()
    engaged.start()
    engaged.commit()
    engaged.engagement.exited("killed")
    [message] = said(engaged.follow(5))
    expected = Decline(engaged.job_id, Reason.FAULTY, "the worker died: killed")
    assert message == expected
    assert engaged.follow(5.5) == []
    assert said(engaged.follow(6)) == [expected]
    assert engaged.ledger.do("buyer", Stop(engaged.lease.id)) == "ok"
    assert engaged.follow(7) == []


def test_a_job_whose_manifest_is_wrong_is_given_up() -> None:
    engaged = Engaged()
    engaged.follow()
    blob = manifest_blob(train_manifest(rounds=2))
    engaged.engagement.loading.fetched(here(blob, b"garbage"))
    [message] = said(engaged.follow(2))
    assert isinstance(message, Decline)
    assert message.code == Reason.FAULTY
    assert message.detail.startswith("bad-manifest")


def test_a_command_that_failed_gives_the_lease_up_and_says_why() -> None:
    engaged = Engaged()
    engaged.start()
    assert engaged.report(Failed("TrainUnit", "no memory")) == []
    [message] = said(engaged.follow(5))
    assert isinstance(message, Decline)
    assert (message.code, message.detail) == (Reason.FAULTY, "training: no memory")


def generation() -> tuple[Engagement, list[Effect]]:
    """A generation whose model is here, and what that leads to."""
    ledger = market()
    job = generating(ledger, "buyer", "maker")
    lease = lease_of(ledger, job, "maker")
    engagement = Engagement(ledger.state.jobs[job], lease, Fault.NONE, 200)
    list(engagement.follow(ledger.state, at(0)))
    for event in files_of(infer_manifest()):
        engagement.loading.fetched(event)
    return engagement, list(engagement.follow(ledger.state, at(0)))


def test_a_generation_streams_its_text_and_commits_its_digest() -> None:
    engagement, effects = generation()
    [order] = only(Order, effects)
    assert isinstance(order.command, Generate)
    assert order.command.model == path_of(infer_manifest().model)
    texts = [
        *said(engagement.reported(Tokens(b"once "))),
        *said(engagement.reported(Tokens(b"upon"))),
    ]
    assert texts == [Text(engagement.lease.id, 0, b"once "), Text(engagement.lease.id, 5, b"upon")]
    produced, again = engagement.reported(Generated(OTHER, 8, 10, 400))
    assert isinstance(produced, Produced)
    assert said([again]) == [Text(engagement.lease.id, 0, b"once upon")]  # Some may be lost.
    assert [leaf.parameters for leaf in produced.leaves] == [START, Digest(OTHER)]
    assert produced.states == ()
    assert engagement.pulse.tokens_per_second == 20


def test_a_generation_begun_again_begins_its_text_again() -> None:
    engagement, _ = generation()
    list(engagement.reported(Tokens(b"once ")))
    engagement.exited("killed")
    [text] = said(engagement.reported(Tokens(b"once upon")))
    assert text == Text(engagement.lease.id, 0, b"once upon")


def test_the_worker_goes_with_the_lease() -> None:
    engaged = Engaged()
    engaged.follow()
    assert list(engaged.engagement.loading.dismiss()) == [Dismiss(engaged.engagement.worker)]

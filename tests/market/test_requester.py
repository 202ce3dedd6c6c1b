"""A requester: from an order to a proposal, an award and a model; and what a restart finds."""

import msgspec
import pytest
from msgspec.structs import replace

from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.ids import BlobId, NodeId, Round
from dpin.base.leaf import leaf_digest
from dpin.base.machine import PeerDown, PeerUp, Store, Tick
from dpin.compute.scores import Judged, Score, Scored, ScoreRound
from dpin.compute.task import (
    OUTPUT_TAG,
    Evaluate,
    Evaluated,
    Export,
    Exported,
    Failed,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    Prepare,
)
from dpin.compute.work import Dismiss, Exited, Hire, Reported
from dpin.ledger.accounts import JobState
from dpin.ledger.mempool import FULL
from dpin.ledger.transactions import Cancel, Propose, Stop
from dpin.ledger.wishes import Outcome, Wish
from dpin.market.messages import Text
from dpin.market.orders import OwnJobEnd, OwnJobRecord, OwnRecord
from dpin.market.ownjob import OwnJob, Stage
from dpin.market.ownjobs import JOBS_MAX, OwnJobs
from dpin.market.requester import Abandon, Effect, Start, ToRequester
from dpin.market.story import Note
from dpin.market.workshop import EXPORTS_REFUSED_MAX, RESTARTS_MAX
from dpin.storage.wanted import Keep, KeepData, Kept
from dpin.verify.commitment import commit_of, generation_leaves, open_leaf_of
from tests.support.buyers import WORKER, Buyer, J, commands, job_files, wish_for
from tests.support.jobs import TOKENS, at, file_id, here, only, path_of
from tests.support.ledgers import (
    START,
    check_honestly,
    exchange,
    finish,
    key_of,
    lease_of,
    reveal_of,
    seal_all,
    unit_of,
)
from tests.support.market import PREPARED, do, infer_order, train_order

SEALED_TEXT = b"once upon"


def test_an_order_is_prepared_kept_recorded_and_then_proposed() -> None:
    buyer = Buyer()
    assert only(Hire, buyer.first) == [Hire(WORKER)]
    assert [type(command) for command in commands(buyer.first)] == [Prepare]
    keeps = only(Keep, buyer.report(PREPARED))
    assert [keep.path for keep in keeps] == [
        *PREPARED.shards,
        PREPARED.holdout,
        PREPARED.initial,
    ]
    assert only(Wish, buyer.follow()) == []
    buyer = Buyer()
    effects = buyer.prepare()
    assert len(only(KeepData, effects)) == 1
    [store] = only(Store, effects)
    assert store.sync
    record: OwnRecord = decode(OwnRecord, store.record)
    assert isinstance(record, OwnJobRecord)
    propose = wish_for(Propose, buyer.follow()).operation
    assert propose == record.propose
    assert record.propose.price_cap > 0


def test_the_proposal_spends_no_more_than_the_budget() -> None:
    buyer = Buyer()
    before = buyer.ledger.account("buyer").free
    buyer.fund()
    assert 0 < before - buyer.ledger.account("buyer").free <= train_order().budget
    assert buyer.own.stage == Stage.MATCHING


def test_bids_lead_to_an_award_and_the_lease_to_a_running_job() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.hire()
    notes = [note.text for note in only(Note, buyer.follow(4))]
    assert buyer.own.stage == Stage.RUNNING
    assert "node takes seat 0 at 1 a unit" in notes
    assert [phase.name for phase in buyer.own.phases][-1] == "run"


MERGED = Merged(Round(1), START, "/w/one", taken=1)


def trained(buyer: Buyer, merged: Merged = MERGED) -> list[Effect]:
    """The one round is committed, exchanged, checked; the state is merged and measured."""
    buyer.fund()
    buyer.hire()
    buyer.follow(4)
    for event in job_files(buyer):
        buyer.step(event, 4)
    buyer.report(Opened(Round(0), START), 5)
    buyer.report(Evaluated(Round(0), 5_500_000), 5)
    finish(buyer.ledger, buyer.job, "maker")
    exchange(buyer.ledger, buyer.job, "maker")
    buyer.follow(6)
    commit = unit_of(buyer.ledger, buyer.job, "maker").commit
    assert commit is not None
    merge = commands(buyer.step(here(commit.update), 7))
    assert [type(command) for command in merge] == [ScoreRound, MergeRound]
    [question] = only(ScoreRound, merge)
    record = buyer.ledger.state.jobs[buyer.job].rounds[0]
    lease = lease_of(buyer.ledger, buyer.job, "maker")
    assert question.beacon == record.beacon != bytes(32)
    assert question.updates == (Judged(path_of(commit.update), lease.id, 0, commit.steps),)
    buyer.report(Scored(Round(0), (Score(lease.id, 41, 12),)), 7)
    effects = buyer.report(merged, 8)
    buyer.report(Evaluated(Round(1), 2_500_000), 8)
    check_honestly(buyer.ledger, key_of(buyer.ledger, buyer.job, "maker"))
    return effects


def test_a_trained_model_is_merged_measured_exported_and_done() -> None:
    buyer = Buyer()
    effects = trained(buyer)
    assert [type(command) for command in commands(effects)] == [Evaluate, Export]
    assert (buyer.own.holdout_before, buyer.own.holdout_after) == (5_500_000, 2_500_000)
    assert buyer.ledger.state.jobs[buyer.job].state == JobState.DONE
    buyer.follow(9)
    assert not buyer.own.stage.ended
    done = buyer.report(Exported("/out", ("/out/model.safetensors",)), 10)
    assert buyer.own.stage == Stage.DONE
    assert only(Dismiss, done) == [Dismiss(WORKER)]
    assert [note.text.split(";")[0] for note in only(Note, done)] == [
        "done: the model is in /out/model.safetensors"
    ]


def test_a_job_whose_rounds_have_merged_nothing_has_failed_and_says_why() -> None:
    buyer = Buyer()
    refused = ("node: a giant, over 100 times the median norm",)
    said = trained(buyer, replace(MERGED, refused=refused, taken=0))
    [warning] = [note for note in only(Note, said) if note.kind == "warning"]
    assert warning.text == f"round 1 has merged nothing: {refused[0]}"
    buyer.follow(9)
    done = buyer.report(Exported("/out", ("/out/model.safetensors",)), 10)
    assert buyer.own.stage == Stage.FAILED
    assert buyer.own.reason.startswith("none of its 1 rounds has merged an update")
    assert refused[0] in buyer.own.reason
    assert only(Dismiss, done) == [Dismiss(WORKER)]


def test_a_result_that_its_folder_does_not_take_is_written_again_until_it_does() -> None:
    buyer = Buyer()
    trained(buyer)
    full = Failed("Export", "the disk refused: No space left on device (/out)")
    said = buyer.report(full, 10)
    assert commands([*said, *buyer.follow(10.1)]) == []
    [note] = [note for note in only(Note, said) if note.kind == "warning"]
    assert note.text.startswith("writing the result: the disk refused: No space left")
    assert [type(command) for command in commands(buyer.follow(25))] == [Export]
    assert not [note for note in only(Note, buyer.report(full, 26)) if note.kind == "warning"]
    buyer.follow(41)
    buyer.report(Exported("/out", ("/out/model.safetensors",)), 42)
    assert buyer.own.stage == Stage.DONE


def test_a_result_is_not_written_for_ever() -> None:
    buyer = Buyer()
    trained(buyer)
    for number in range(EXPORTS_REFUSED_MAX + 1):
        assert not buyer.own.stage.ended
        buyer.follow(10 + 20 * number)
        buyer.report(Failed("Export", "the disk refused: Permission denied (/out)"), 11)
    assert buyer.own.stage == Stage.FAILED
    assert buyer.own.reason.startswith("writing the result: the disk refused")


def test_updates_that_cannot_be_scored_end_no_job() -> None:
    buyer = Buyer()
    trained(buyer)
    notes = only(Note, buyer.report(Failed("ScoreRound", "no memory"), 9))
    assert "updates were not scored: no memory" in [note.text for note in notes]
    assert not buyer.own.stage.ended


def test_the_provenance_names_every_update_that_went_in() -> None:
    buyer = Buyer()
    effects = trained(buyer)
    [export] = only(Export, commands(effects))
    [included] = buyer.ledger.state.jobs[buyer.job].rounds[0].included
    assert included.update.hex() in export.provenance
    assert buyer.ledger.id("maker").hex() in export.provenance


def test_a_job_that_the_ledger_refuses_fails_with_the_ledgers_reason() -> None:
    buyer = Buyer()
    buyer.prepare()
    effects = buyer.step(Outcome(f"propose:{J}", START, "not-enough-free", 7))
    assert (buyer.own.stage, buyer.own.reason) == (
        Stage.FAILED,
        "the ledger refused the job: not-enough-free",
    )
    assert only(Dismiss, effects) == [Dismiss(WORKER)]
    assert only(Wish, buyer.follow()) == []


def test_a_full_mempool_is_no_refusal_of_the_job() -> None:
    buyer = Buyer()
    buyer.prepare()
    buyer.step(Outcome(f"propose:{J}", START, FULL, 0))
    assert not buyer.own.stage.ended
    assert wish_for(Propose, buyer.follow()).operation == buyer.own.propose


def test_outcomes_of_other_wishes_change_nothing() -> None:
    buyer = Buyer()
    buyer.prepare()
    for key in ("propose:j-9", f"award:{J}", "register", f"cancel:{J}"):
        buyer.step(Outcome(key, START, "too-late", 7))
    assert not buyer.own.stage.ended


def test_a_restart_finds_the_job_on_the_ledger_and_does_not_propose_again() -> None:
    buyer = Buyer()
    buyer.fund()
    job = buyer.job
    buyer.restart()
    assert only(Wish, buyer.follow()) == []
    assert buyer.job == job
    assert buyer.own.stage == Stage.MATCHING


def test_a_restart_before_the_proposal_was_taken_proposes() -> None:
    buyer = Buyer()
    buyer.prepare()
    buyer.restart()
    assert wish_for(Propose, buyer.follow()).operation == buyer.own.propose


def test_a_job_that_was_done_stays_done_after_a_restart() -> None:
    buyer = Buyer()
    trained(buyer)
    buyer.follow(9)
    buyer.report(Exported("/out", ("/out/model.safetensors",)), 10)
    job = buyer.job
    buyer.restart()
    assert buyer.follow(20) == []
    assert (buyer.own.stage, buyer.job) == (Stage.DONE, job)
    assert buyer.own.output_files == ("/out/model.safetensors",)
    assert buyer.own.finished == at(10)


def test_two_equal_proposals_are_two_jobs() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.records = [
        encode(msgspec.structs.replace(record, local_id=local_id))
        for local_id in ("j-1", "j-2")
        for record in [decode(OwnJobRecord, buyer.records[1])]
    ]
    buyer.restart()
    assert wish_for(Propose, buyer.follow()).key == "propose:j-2"


def test_an_order_given_again_is_not_the_job_that_it_was_before() -> None:
    """The seed of a generation is 0 unless somebody says another: the same words, the same job."""
    buyer = Buyer(infer_order())
    buyer.step(Kept(infer_order().model_file, file_id("model"), 1_000))
    first = wish_for(Propose, buyer.follow())
    buyer.step(Abandon(J))
    buyer.follow()
    assert buyer.own.stage == Stage.CANCELLED
    do(buyer.ledger, "buyer", first)  # It was under way.
    buyer.follow()
    buyer.step(Start("j-2", infer_order()))
    buyer.step(Kept(infer_order().model_file, file_id("model"), 1_000))
    again = wish_for(Propose, buyer.follow())
    assert (again.key, again.operation) == ("propose:j-2", first.operation)
    do(buyer.ledger, "buyer", again)
    buyer.follow()
    found = buyer.requester.jobs["j-2"].job
    assert found is not None
    assert [found] == list(buyer.ledger.state.jobs.values())[1:]


def test_an_order_asked_for_twice_under_one_id_is_one_job() -> None:
    buyer = Buyer(infer_order())
    records = list(buyer.records)
    assert buyer.step(Start(J, infer_order())) == []
    assert buyer.records == records
    assert list(buyer.requester.jobs) == [J]


def test_a_job_cancelled_before_it_is_funded_is_never_proposed() -> None:
    buyer = Buyer()
    buyer.prepare()
    buyer.step(Abandon(J))
    effects = buyer.follow()
    assert only(Wish, effects) == []
    assert buyer.own.stage == Stage.CANCELLED


def test_a_job_over_its_time_is_cancelled_and_says_so() -> None:
    buyer = Buyer()
    buyer.fund()
    assert only(Wish, buyer.follow(3_599)) == []
    assert isinstance(wish_for(Cancel, buyer.follow(3_601)).operation, Cancel)
    assert buyer.own.reason == "time limit"


def test_a_running_job_is_cancelled_on_the_ledger() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.step(Abandon(J))
    do(buyer.ledger, "buyer", wish_for(Cancel, buyer.follow()))
    buyer.ledger.wait(30)
    effects = buyer.follow(9)
    assert buyer.own.stage == Stage.CANCELLED
    assert [note.text for note in only(Note, effects) if note.kind == "end"] == [
        "cancelled; spent 0"
    ]


def test_a_job_that_nobody_takes_fails_when_it_expires() -> None:
    buyer = Buyer()
    buyer.fund()
    for tick in range(30):
        buyer.ledger.wait(1)
        buyer.follow(tick / 5)
    assert (buyer.own.stage, buyer.own.reason) == (Stage.FAILED, "no-provider")


def test_a_command_that_fails_fails_the_job_with_its_reason() -> None:
    buyer = Buyer()
    buyer.report(Failed("Prepare", "the corpus is too small"))
    assert (buyer.own.stage, buyer.own.reason) == (
        Stage.FAILED,
        "preparing the job: the corpus is too small",
    )
    buyer.restart()
    assert buyer.follow(20) == []  # It is not begun again.
    assert buyer.own.stage == Stage.FAILED


def test_a_worker_that_dies_is_replaced_a_few_times() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.hire()
    buyer.follow(4)
    for event in job_files(buyer):
        buyer.step(event, 4)
    for _ in range(RESTARTS_MAX):
        effects = buyer.step(Exited(WORKER, "killed"), 5)
        assert only(Hire, effects) == [Hire(WORKER)]
        assert [type(command) for command in commands(effects)] == [OpenJob]
    buyer.step(Exited(WORKER, "killed"), 6)
    assert (buyer.own.stage, buyer.own.reason) == (Stage.FAILED, "the worker died: killed")


def test_a_job_that_has_failed_here_is_cancelled_on_the_ledger_after_a_restart_too() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.hire()
    for _ in range(RESTARTS_MAX + 1):
        buyer.step(Exited(WORKER, "killed"), 5)
    assert buyer.own.stage == Stage.FAILED
    assert wish_for(Cancel, buyer.follow(6)).operation == Cancel(buyer.job)
    buyer.restart()
    do(buyer.ledger, "buyer", wish_for(Cancel, buyer.follow(7)))
    assert only(Wish, buyer.follow(8)) == []


def test_the_last_word_on_a_job_stands_whatever_is_heard_later() -> None:
    buyer = Buyer()
    buyer.prepare()
    buyer.step(Abandon(J))
    buyer.follow()
    for event in (
        Outcome(f"propose:{J}", START, "not-enough-free", 7),
        Reported(WORKER, Failed("Prepare", "too late")),
        Exited(WORKER, "killed"),
    ):
        assert buyer.step(event, 3) == []
    assert (buyer.own.stage, buyer.own.finished) == (Stage.CANCELLED, at(0))


def test_a_worker_that_dies_while_preparing_fails_the_job() -> None:
    buyer = Buyer()
    buyer.step(Exited(WORKER, "killed"))
    assert buyer.own.reason == "the worker died: killed"


def test_a_provider_that_is_gone_is_let_go_and_one_that_is_back_is_not() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.hire()
    buyer.follow(4)
    maker = buyer.ledger.id("maker")
    for peer in (maker, buyer.ledger.id("one")):
        buyer.step(PeerUp(peer), 4)
    buyer.step(PeerDown(maker), 4)
    buyer.step(PeerUp(maker), 5)
    assert only(Wish, buyer.follow(6)) == []
    buyer.step(PeerDown(maker), 7)
    for moment in (8, 9, 10, 11, 11.9):
        assert only(Wish, buyer.step(Tick(), moment)) == []
    assert wish_for(Stop, buyer.step(Tick(), 12)).operation == Stop(
        lease_of(buyer.ledger, buyer.job, "maker").id
    )


def test_a_requester_that_has_slept_lets_nobody_go_for_what_it_did_not_hear() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.hire()
    maker = buyer.ledger.id("maker")
    for peer in (maker, buyer.ledger.id("one")):
        buyer.step(PeerUp(peer), 4)
    buyer.follow(4)
    assert only(Wish, buyer.step(Tick(), 60)) == []  # Signs of life are among its mail.
    moments = range(61, 70)
    assert [only(Wish, buyer.step(Tick(), moment)) for moment in moments] == [[]] * 9
    assert isinstance(wish_for(Stop, buyer.step(Tick(), 70)).operation, Stop)


def test_a_requester_whose_own_network_is_opened_again_lets_nobody_go() -> None:
    """All are gone at one moment; they come back one by one, on a slow machine after seconds."""
    buyer = Buyer()
    buyer.fund()
    buyer.hire()
    buyer.follow(4)
    maker, one = buyer.ledger.id("maker"), buyer.ledger.id("one")
    for event in (PeerUp(maker), PeerUp(one), PeerDown(maker), PeerDown(one)):
        buyer.step(event, 4)
    assert only(Wish, buyer.step(Tick(), 11)) == []
    buyer.step(PeerUp(one), 11)
    assert only(Wish, buyer.step(Tick(), 13)) == []
    buyer.step(PeerUp(maker), 13)
    assert not buyer.own.lost


def test_connections_of_strangers_are_not_remembered() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.hire()
    buyer.follow(4)
    for number in range(100):
        buyer.step(PeerDown(NodeId(bytes([number]) * 32)), 5)
    buyer.step(PeerDown(buyer.ledger.id("one")), 5)
    assert not buyer.own.lost


def test_of_too_many_jobs_the_oldest_that_has_ended_is_forgotten() -> None:
    jobs = OwnJobs()
    for number in range(JOBS_MAX):
        jobs.add(OwnJob(f"j-{number}", train_order(), at(number)))
    jobs.by_id["j-7"].end(Stage.DONE, "", at(900))
    jobs.add(OwnJob("new", train_order(), at(901)))
    assert len(jobs.by_id) == JOBS_MAX
    assert "j-7" not in jobs.by_id
    assert "new" in jobs.by_id


def test_a_job_that_was_forgotten_is_not_found_again_under_another_name() -> None:
    buyer = Buyer()
    buyer.fund()
    job, jobs, me = buyer.own.job, OwnJobs(), buyer.ledger.id("buyer")
    jobs.add(buyer.own)
    buyer.own.end(Stage.DONE, "", at(1))
    for number in range(JOBS_MAX):
        jobs.add(OwnJob(f"j-{number + 2}", train_order(), at(number)))
    assert J not in jobs.by_id
    again = OwnJob("again", train_order(), at(900))
    again.propose = buyer.own.propose
    assert job is not None
    assert jobs.find(again, me, buyer.ledger.state) is None
    assert OwnJobs().find(again, me, buyer.ledger.state) is job


def test_the_end_of_an_unknown_job_is_passed_over() -> None:
    jobs = OwnJobs()
    jobs.restore(OwnJobEnd("j-9", None, "done", "", 0, ()))
    assert jobs.by_id == {}


def generate(text: bytes) -> Buyer:
    """A generation that was checked and paid; the requester was sent this text."""
    buyer = Buyer(infer_order())
    assert only(Keep, buyer.first)
    buyer.step(Kept(infer_order().model_file, file_id("model"), 1_000))
    buyer.fund()
    buyer.hire()
    buyer.follow(4)
    lease = lease_of(buyer.ledger, buyer.job, "maker").id
    buyer.step(ToRequester(buyer.ledger.id("maker"), Text(lease, 0, text)), 5)
    output = digest(OUTPUT_TAG, SEALED_TEXT)
    leaves = generation_leaves(buyer.job, lease, START, output, TOKENS)
    assert buyer.ledger.do("maker", commit_of(leaves, BlobId(output))) == "ok"
    buyer.ledger.wait(1)
    unit = unit_of(buyer.ledger, buyer.job, "maker")
    found = leaf_digest(leaves[1])
    seal_all(buyer.ledger, unit, [found])
    assert buyer.ledger.do("maker", open_leaf_of(leaves, unit.window)) == "ok"
    [seat] = unit.seats
    reveal = reveal_of(unit, found, BlobId(output))
    assert buyer.ledger.do(buyer.ledger.name(seat.verifier), reveal) == "ok"
    buyer.follow(9)
    return buyer


def test_a_generation_whose_text_is_the_one_committed_is_done() -> None:
    buyer = generate(SEALED_TEXT)
    assert (buyer.own.stage, buyer.own.reason) == (Stage.DONE, "verified")
    buyer.restart()
    buyer.follow(20)
    assert buyer.own.stage == Stage.DONE


@pytest.mark.parametrize("text", [b"", b"once", b"once upom"])
def test_a_text_that_is_not_the_one_committed_fails_the_job(text: bytes) -> None:
    buyer = generate(text)
    assert (buyer.own.stage, buyer.own.reason) == (
        Stage.FAILED,
        "the text received is not the text committed",
    )

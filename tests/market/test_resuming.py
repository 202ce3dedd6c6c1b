"""A requester goes on where it was, after a restart and after its worker's death."""

import pytest

from dpin.base.codec import decode, encode
from dpin.base.ids import Round
from dpin.compute.task import (
    Evaluate,
    Export,
    Failed,
    MergeRound,
    Opened,
)
from dpin.compute.work import Exited
from dpin.ledger.accounts import JobState
from dpin.ledger.wishes import Wish
from dpin.market.orders import OwnJobEnd, OwnRecord, OwnRound
from dpin.market.requester import Effect
from dpin.market.story import Note
from dpin.node import ownrecords
from dpin.node.ownrecords import remembered
from tests.support.buyers import INITIAL, ROOT, WORKER, J, Run, commands
from tests.support.jobs import only
from tests.support.ledgers import (
    OTHER,
    START,
)


def again(merged: int) -> tuple[Run, list[Effect]]:
    """A requester that was killed after so many rounds, and has loaded its job again."""
    run = Run(merged)
    run.restart()
    return run, run.load(20)


def test_a_restart_goes_on_with_the_newest_state_that_was_kept() -> None:
    run, effects = again(2)
    assert run.begun(effects) == (2, "/w/2")
    notes = only(Note, run.report(Opened(Round(2), START), 21))
    assert "goes on after round 2, with the state kept on this disk" in [it.text for it in notes]
    run.close()
    run.follow(22)
    [merge] = [it for it in commands(run.arrive(2)) if isinstance(it, MergeRound)]
    assert merge.round == 2


def test_what_was_known_of_the_rounds_is_known_after_a_restart() -> None:
    before = Run(2)
    run, _ = again(2)
    assert run.own.rounds.keys() == before.own.rounds.keys()
    for round_ in (0, 1):
        times, was = run.own.rounds[Round(round_)], before.own.rounds[Round(round_)]
        assert (times.began, times.closed, times.missed) == (was.began, was.closed, False)
        assert (times.scores, times.signed) == (was.scores, was.signed)
        assert (times.holdout_micronats, times.update_bytes) == (2_000_000 - round_, 1_000)
    assert (run.own.holdout_before, run.own.holdout_after) == (5_500_000, 1_999_999)


def test_a_state_that_cannot_be_read_leaves_the_one_before_and_then_the_first() -> None:
    run, _ = again(2)
    older = run.report(Failed("OpenJob", "corrupt checkpoint: cut short"), 21)
    assert run.begun(older) == (1, "/w/1")
    first = run.report(Failed("OpenJob", "no such file"), 22)
    assert run.begun(first) == (0, INITIAL)
    assert not run.own.stage.ended
    run.report(Failed("OpenJob", "no such file"), 23)
    assert run.own.stage.ended  # Without its first state there is no job.


def test_another_state_than_the_one_kept_is_not_gone_on_from() -> None:
    run, _ = again(2)
    effects = run.report(Opened(Round(2), OTHER), 21)
    assert run.begun(effects) == (1, "/w/1")
    assert Evaluate() not in commands(effects)


def test_a_state_of_which_the_ledger_says_otherwise_is_not_gone_on_from() -> None:
    run = Run(2)
    run.close()  # In the third round it stands what that began with.
    run.ledger.state.jobs[run.job].rounds[2].state_hash = OTHER
    run.restart()
    assert run.begun(run.load(20)) == (1, "/w/1")


def test_a_worker_that_dies_leaves_its_newest_state_to_the_next() -> None:
    run = Run(2)
    assert run.begun(run.step(Exited(WORKER, "killed"), 20)) == (2, "/w/2")
    run.report(Opened(Round(2), START), 21)
    assert run.own.merging is not None
    assert run.own.merging.states.keys() == {0, 1}


def test_a_requester_killed_before_it_has_exported_does_that_with_the_same_lineage() -> None:
    whole = Run(2)
    whole.close()
    [expected] = [it for it in commands(whole.merge(2)) if isinstance(it, Export)]
    run, effects = again(3)
    assert run.begun(effects) == (3, "/w/3")
    found = commands(run.report(Opened(Round(3), START, ROOT), 21))
    [export] = [it for it in found if isinstance(it, Export)]
    assert "" not in {export.lineage, export.scores}
    assert (export.lineage, export.scores) == (expected.lineage, expected.scores)


def test_rounds_that_were_over_before_they_were_seen_count_as_missed() -> None:
    run = Run(1)
    run.close()
    run.restart()
    run.load(9)
    assert [times.missed for _, times in sorted(run.own.rounds.items())] == [False, True, False]


def test_a_job_that_was_over_in_time_is_finished_however_late_its_requester_is_back() -> None:
    run = Run(2)
    run.close()
    assert run.ledger.state.jobs[run.job].state == JobState.DONE
    run.restart()
    late = run.own.order.time_limit // 1_000_000 + 60
    effects = run.load(late)
    assert not [note for note in only(Note, effects) if note.kind == "warning"]
    assert only(Wish, effects) == []
    assert run.begun(effects) == (2, "/w/2")


def records(run: Run) -> list[OwnRecord]:
    found: list[OwnRecord] = [decode(OwnRecord, record) for record in run.records]
    return found


def test_a_log_that_begins_anew_keeps_the_newest_word_on_each_round() -> None:
    run = Run(2)
    assert len([it for it in records(run) if isinstance(it, OwnRound)]) > 2
    kept: list[OwnRecord] = [decode(OwnRecord, it) for it in remembered(run.records, {J})]
    rounds = [it for it in kept if isinstance(it, OwnRound)]
    assert [(it.round, it.holdout_micronats) for it in rounds] == [(0, 2_000_000), (1, 1_999_999)]


def test_a_log_that_begins_anew_keeps_so_many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(2)
    monkeypatch.setattr(ownrecords, "ROUNDS_MAX", 1)
    kept: list[OwnRecord] = [decode(OwnRecord, it) for it in remembered(run.records, {J})]
    assert [it.round for it in kept if isinstance(it, OwnRound)] == [1]


def test_of_a_job_that_is_forgotten_no_rounds_are_kept() -> None:
    run = Run(2)
    end = encode(OwnJobEnd(J, run.job, "done", "", 1, ()))
    assert remembered([*run.records, end], ()) == [end]

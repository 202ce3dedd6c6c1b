"""A sweep from the command line, against a fake node whose jobs end at once."""

from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from dpin.base.errors import Misuse
from dpin.cli.exits import ExitCode
from dpin.cli.sweeps import (
    Trial,
    plans_of,
    run_sweep,
    submit_all,
    sweep_exit,
    sweep_text,
    sweep_values,
    take_up,
    trials_of,
)
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.control import SubmitRequest
from dpin.node.status import JobDetail, JobView, PlanView
from tests.support.fake_control import FakeControl, job_view, plan_view

TEXT = """\
type: train
data: {path: corpus}
sweep: {args.learning_rate: [1e-3, 3e-3, 9e-3]}
"""
LOSSES = {"lr-1": 2.5, "lr-2": 2.25, "lr-3": None}


class Node(Client):
    """Jobs that need two looks to end; the third of them fails."""

    def __init__(self) -> None:
        self.asked: list[SubmitRequest] = []
        self.looks: dict[str, int] = {}
        self.most = 0

    @override
    def submit(self, request: SubmitRequest) -> JobView:  # type: ignore[override]
        self.asked.append(request)
        self.looks[request.name] = 0
        self.most = max(self.most, sum(looks < 2 for looks in self.looks.values()))
        return msgspec.structs.replace(job_view(request.name), id=request.name)

    @override
    def job(self, job: str) -> JobDetail:
        self.looks[job] += 1
        failed = "failed" if LOSSES[job] is None else "done"
        state = failed if self.looks[job] > 1 else "running"
        detail = FakeControl().job("j-7f3a2c10")
        reason = "time limit" if state == "failed" else ""
        detail.job = msgspec.structs.replace(job_view(job, state=state, reason=reason), id=job)
        detail.holdout_after = LOSSES[job]
        return detail


@pytest.fixture(name="trials")
def made_trials(tmp_path: Path) -> list[Trial]:
    (tmp_path / "lr.yaml").write_text(TEXT)
    return trials_of(tmp_path / "lr.yaml", ["args.rounds=4"], "")


def test_all_points_run_a_few_at_a_time_and_the_best_stands_first(
    trials: list[Trial], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dpin.cli.sweeps.POLL_SECONDS", 0)
    node = Node()
    run_sweep(node, trials, 2)
    assert node.most == 2
    assert [request.sets[0] for request in node.asked] == ["args.rounds=4"] * 3
    lines = sweep_text(trials).splitlines()
    assert lines[0].split()[:3] == ["#", "LEARNING_RATE", "LOSS"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["2", "3e-3", "2.2500"],
        ["1", "1e-3", "2.5000"],
        ["3", "9e-3", "-"],
    ]
    told = capsys.readouterr().err
    assert "lr-2 is done: loss 2.2500\n" in told
    assert "lr-3 is failed: time limit\n  fix: dpin explain lr-3\n" in told


def test_a_sweeps_status_is_what_ended_its_jobs_if_that_is_one_thing(trials: list[Trial]) -> None:
    def ended(*reasons: str) -> ExitCode:
        for trial, reason in zip(trials, reasons, strict=True):
            trial.detail = FakeControl().job("j-7f3a2c10")
            state = "failed" if reason else "done"
            trial.detail.job = job_view("x", state=state, reason=reason)
        return sweep_exit(trials)

    assert ended("", "", "") == ExitCode.OK
    assert ended("", "no-provider", "no-provider") == ExitCode.NO_MATCH
    assert ended("", "time limit", "no-provider") == ExitCode.JOB_FAILED
    trials[0].detail = None
    assert sweep_exit(trials[:1]) == ExitCode.JOB_FAILED


def test_a_sweep_that_cannot_be_begun_whole_names_the_jobs_that_run(
    trials: list[Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    class Poor(Node):
        @override
        def submit(self, request: SubmitRequest) -> JobView:  # type: ignore[override]
            if len(self.asked) == 2:
                raise ClientError("over-budget", "there is no more")
            return super().submit(request)

    with pytest.raises(ClientError, match="no more"):
        submit_all(Poor(), trials)
    assert "2 jobs go on, 1 were not begun\n  dpin submit --attach lr-1" in capsys.readouterr().err
    for trial in trials:
        trial.job = ""
    submit_all(Node(), trials)
    assert capsys.readouterr().err == ""


def test_a_sweep_that_is_left_says_which_jobs_go_on(
    trials: list[Trial], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(Node(), trials, 2)
    told = capsys.readouterr().err
    assert "2 jobs go on, 1 were not begun" in told
    assert "dpin submit --attach lr-1 | dpin cancel lr-1" in told
    assert "the same command without --anew goes on with the sweep" in told


class Remembering(Client):
    """A node that has begun what it was asked for, and begins nothing twice."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.begun: list[str] = []

    @override
    def jobs(self) -> list[JobView]:
        return [self.view(job) for job in self.states]

    def view(self, job: str) -> JobView:
        return msgspec.structs.replace(job_view("x", state=self.states[job]), id=job)

    @override
    def submit(self, request: SubmitRequest) -> JobView:  # type: ignore[override]
        if request.id not in self.states:
            self.begun.append(request.name)
            self.states[request.id] = "done"
        return self.view(request.id)

    @override
    def job(self, job: str) -> JobDetail:
        detail = FakeControl().job("j-7f3a2c10")
        detail.job = self.view(job)
        detail.holdout_after = 2.5 if self.states[job] == "done" else None
        return detail


def test_a_sweep_that_was_left_goes_on_with_the_points_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dpin.cli.sweeps.POLL_SECONDS", 0)
    (tmp_path / "lr.yaml").write_text(TEXT)
    node = Remembering()
    first = trials_of(tmp_path / "lr.yaml", [], "")
    take_up(node, first, anew=False)
    assert capsys.readouterr().err == ""
    submit_all(node, first[:1])
    again = trials_of(tmp_path / "lr.yaml", [], "")
    take_up(node, again, anew=False)
    assert "1 of 3 jobs were begun before" in capsys.readouterr().err
    assert [trial.begun for trial in again] == [True, False, False]
    run_sweep(node, again, 2)
    assert node.begun == ["lr-1", "lr-2", "lr-3"]
    assert all(trial.ended for trial in again)


def test_a_sweep_is_begun_anew_only_if_asked_and_then_goes_on_with_the_new_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "lr.yaml").write_text(TEXT)
    node = Remembering()
    for anew, taken, ends in (
        (False, 0, 3),  # nothing was begun: all of it
        (False, 3, 3),  # all of it was
        (True, 0, 1),  # anew, and left after one
        (False, 1, 3),  # goes on with the newest
        (False, 3, 3),
    ):
        trials = trials_of(tmp_path / "lr.yaml", [], "")
        take_up(node, trials, anew=anew)
        assert sum(trial.begun for trial in trials) == taken
        submit_all(node, trials[:ends])
    assert node.begun == ["lr-1", "lr-2", "lr-3"] * 2


def test_another_value_another_folder_and_another_text_are_another_sweep(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for folder in (tmp_path, other):
        (folder / "lr.yaml").write_text(TEXT)
    (tmp_path / "words.yaml").write_text(f"{TEXT}seed: 4\n")
    sweeps = [
        trials_of(tmp_path / "lr.yaml", [], ""),
        trials_of(tmp_path / "lr.yaml", ["args.rounds=4"], ""),
        trials_of(tmp_path / "words.yaml", [], ""),
        trials_of(other / "lr.yaml", [], ""),
    ]
    ids = [trial.id_at(attempt) for sweep in sweeps for trial in sweep for attempt in (1, 2)]
    assert len({*ids}) == len(ids) == 24
    named = trials_of(tmp_path / "lr.yaml", [], "night")
    assert [trial.id_at(1) for trial in named] == [trial.id_at(1) for trial in sweeps[0]]


def test_jobs_of_a_sweep_are_named_after_its_name(tmp_path: Path) -> None:
    (tmp_path / "lr.yaml").write_text(f"name: rates\n{TEXT}")
    file = tmp_path / "lr.yaml"
    for sets, name, first in (
        ([], "", "rates-1"),
        (["name=pace"], "", "pace-1"),
        ([], "night", "night-1"),
    ):
        assert trials_of(file, sets, name)[0].request.name == first


def test_the_folder_of_a_sweep_can_be_set_for_one_run(tmp_path: Path) -> None:
    (tmp_path / "lr.yaml").write_text(TEXT)
    trials = trials_of(tmp_path / "lr.yaml", ["output=night"], "")
    assert [trial.point.output for trial in trials] == ["night/1", "night/2", "night/3"]


def test_a_point_that_is_cancelled_is_shown_so_and_the_others_go_on(
    trials: list[Trial], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dpin.cli.sweeps.POLL_SECONDS", 0)
    node = Remembering()
    take_up(node, trials, anew=False)
    submit_all(node, trials[:1])
    node.states[trials[0].job] = "cancelled"
    run_sweep(node, trials, 1)
    *_, last = sweep_text(trials).splitlines()
    assert last.split()[:3] == ["1", "1e-3", "-"]
    assert f"cancelled  {trials[0].job}" in last
    assert f"{trials[0].job} is cancelled; what was done" in capsys.readouterr().err
    told = msgspec.json.decode(msgspec.json.encode(sweep_values(trials)))["trials"]
    assert [one["job"]["job"]["state"] for one in told] == ["done", "done", "cancelled"]
    assert sweep_exit(trials) != ExitCode.OK


def test_a_point_that_is_no_job_stops_the_sweep_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TEXT.replace("9e-3", "fast"))
    with pytest.raises(Misuse, match="learning_rate"):
        trials_of(tmp_path / "bad.yaml", [], "")


class Refusing(Node):
    """Has something against the second point."""

    @override
    def plan(self, request: SubmitRequest) -> PlanView:
        if request.name == "lr-2":
            raise ClientError("misuse", "the data are too few", "give more data")
        return plan_view(request.name)


def test_a_dry_run_of_a_sweep_names_the_point_that_would_be_refused(trials: list[Trial]) -> None:
    assert [plan.name for plan in plans_of(Refusing(), trials[:1])] == ["lr-1"]
    with pytest.raises(ClientError, match=r"args\.learning_rate=3e-3: the data are too few") as no:
        plans_of(Refusing(), trials)
    assert no.value.fix == "give more data"

"""A report: numbers, events that TensorBoard reads, a picture, a page."""

import json
import re
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dpin.cli.charts import figure_of
from dpin.cli.pictures import job_text
from dpin.cli.report import write_report
from dpin.node.roundviews import BudgetView, ClientView, RoundView
from dpin.node.status import JobDetail
from tests.support.fake_control import NOW_MS, FakeControl

JOB = "j-7f3a2c10"


def round_view(number: int, *, loss: float | None = 2.5) -> RoundView:
    return RoundView(
        round=number,
        participants=["bea", "c<y>d"],
        included=2,
        loss=loss,
        holdout=None if loss is None else loss + 0.1,
        tokens_per_second=900 + number,
        started_ms=NOW_MS + 10_000 * number,
        train_ms=9_000,
        exchange_ms=1_000,
        state_hash="ab" * 32,
        update_bytes=123_456,
    )


@pytest.fixture(name="detail")
def made_detail() -> JobDetail:
    detail = FakeControl().job(JOB)
    detail.rounds = [round_view(0), round_view(1, loss=2.25), round_view(2, loss=None)]
    return detail


def test_a_report_has_all_its_files_and_they_say_what_was_measured(
    detail: JobDetail, tmp_path: Path
) -> None:
    html, png, metrics, events = write_report(detail, tmp_path / "r")
    assert png.read_bytes().startswith(b"\x89PNG")
    page = html.read_text()
    assert "c&lt;y&gt;d" in page
    assert "123,456" in page
    assert "10%" in page  # one second of ten
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line.get("loss/train") for line in lines] == [2.5, 2.25, None, None]
    assert lines[0]["time/communication_share"] == pytest.approx(0.1)
    assert lines[-1]["state"] == detail.job.state
    assert events.parent == tmp_path / "r"


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 40])
def test_rounds_and_providers_are_counted_in_whole_numbers(detail: JobDetail, rounds: int) -> None:
    detail.rounds = [round_view(number) for number in range(rounds)]
    figure = figure_of(detail)
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown
        assert all(tick == int(tick) for tick in shown)
    assert all(tick == int(tick) for tick in figure.axes[3].get_yticks())


def test_tensorboard_reads_the_events(detail: JobDetail, tmp_path: Path) -> None:
    write_report(detail, tmp_path)
    write_report(detail, tmp_path)  # A second report takes the place of the first.
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    losses = board.Scalars("loss/train")
    assert [(event.step, event.value) for event in losses] == [(1, 2.5), (2, 2.25)]
    assert len(board.Scalars("speed/tokens_per_second")) == len(detail.rounds)
    held = [event.step for event in board.Scalars("loss/holdout")]
    assert held == [0, 1, 2]  # A step is how many rounds are behind the model: 0 is the start.


def test_what_clients_tell_and_what_noise_costs_is_in_the_numbers(
    detail: JobDetail, tmp_path: Path
) -> None:
    last = detail.rounds[1]
    last.clients = [ClientView(name="bea", steps=5, loss=2.0, tokens_per_second=70)]
    last.epsilon = 4.25
    detail.budget = BudgetView(epsilon=4.25, epsilon_max=10.0, delta=1e-5)
    html, _, metrics, _ = write_report(detail, tmp_path)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    told = {"bea": {"steps": 5, "loss": 2.0, "tokens_per_second": 70}}
    assert [line.get("clients") for line in lines] == [{}, told, {}, None]
    assert [line.get("step") for line in lines] == [1, 2, 3, None]
    assert lines[1]["privacy/epsilon"] == pytest.approx(4.25)
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [(one.step, one.value) for one in board.Scalars("clients/bea/loss")] == [(2, 2.0)]
    assert "epsilon 4.25 of 10 at delta 1e-5" in html.read_text()
    whole = job_text(detail)
    assert "epsilon 4.25 of 10" in whole
    assert re.search(r"2 +bea +5 +2\.000 +70", whole)


def test_speed_that_nobody_has_told_is_not_nought(detail: JobDetail, tmp_path: Path) -> None:
    for item in detail.rounds:
        item.tokens_per_second = None
    _, _, metrics, _ = write_report(detail, tmp_path)
    first = json.loads(metrics.read_text().splitlines()[0])
    assert first["speed/tokens_per_second"] is None
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert "speed/tokens_per_second" not in board.Tags()["scalars"]


def test_a_job_without_rounds_has_a_report_too(tmp_path: Path) -> None:
    detail = FakeControl().job(JOB)
    detail.rounds = []
    html, *_ = write_report(detail, tmp_path)
    assert detail.job.id in html.read_text()

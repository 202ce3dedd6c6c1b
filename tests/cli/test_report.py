"""A report: numbers, events that TensorBoard reads, a picture, a page."""

import json
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dpin.cli.charts import figure_of
from dpin.cli.report import write_report
from dpin.node.status import JobDetail, RoundView
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
    assert [(event.step, event.value) for event in losses] == [(0, 2.5), (1, 2.25)]
    assert len(board.Scalars("speed/tokens_per_second")) == len(detail.rounds)


def test_a_job_without_rounds_has_a_report_too(tmp_path: Path) -> None:
    detail = FakeControl().job(JOB)
    detail.rounds = []
    html, *_ = write_report(detail, tmp_path)
    assert detail.job.id in html.read_text()

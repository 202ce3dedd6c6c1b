"""A provider's log: a line for each thing, levels that say what matters, and no flood."""

import json

import pytest
import structlog

from dpin.base.ids import JobId
from dpin.base.units import seconds
from dpin.cli.service import set_up_logs
from dpin.market.chronicle import Deed
from dpin.node.diary import LINES_MAX, SPAN, Diary
from dpin.node.settings import LogSection
from tests.support.jobs import at

JOB = JobId(bytes(range(32)))
PAID = Deed("job-paid", JOB, {"round": 2, "reason": "verified", "paid": "0.97"})


def test_a_line_names_the_job_as_dpin_jobs_does() -> None:
    [(level, event, data)] = Diary().lines(PAID, at(0))
    assert (level, event) == ("info", "job-paid")
    assert data == {"job": "j-00010203", "round": 2, "reason": "verified", "paid": "0.97"}


def test_what_costs_money_is_a_warning_and_what_was_not_taken_a_detail() -> None:
    diary = Diary()
    levels = {
        name: diary.lines(Deed(name, JOB), at(0))[0][0]
        for name in ("job-fined", "job-given-up", "job-declined", "job-ended")
    }
    assert levels == {
        "job-fined": "warning",
        "job-given-up": "warning",
        "job-declined": "debug",
        "job-ended": "info",
    }


def test_a_flood_is_cut_and_counted() -> None:
    diary = Diary()
    written = [line for _ in range(LINES_MAX + 7) for line in diary.lines(PAID, at(1))]
    assert len(written) == LINES_MAX
    assert diary.lines(PAID, at(59)) == []
    left_out, line = diary.lines(PAID, at(1 + SPAN / seconds(1)))
    assert left_out == ("warning", "job-lines-left-out", {"lines": 8})
    assert line[1] == "job-paid"


def test_in_a_log_for_programs_a_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        set_up_logs(LogSection(level="info", format="json"))
        Diary().take(PAID, at(0))
        Diary().take(Deed("job-declined", JOB, {"reason": "busy"}), at(0))
    finally:
        structlog.reset_defaults()
    [line] = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], said["job"]) == ("job-paid", "info", "j-00010203")
    assert (said["round"], said["paid"]) == (2, "0.97")

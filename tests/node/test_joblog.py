"""What was said about each job: numbered, bounded, handed out from any point."""

from dpin.base.units import Instant
from dpin.market.story import Note
from dpin.node.joblog import ENTRIES_MAX, JOBS_MAX, JobLog

NOW = Instant(1_700_000_000_123_456)


def test_entries_are_numbered_and_timed() -> None:
    log = JobLog()
    first = log.add(Note("j-1", "phase", "plan", {"round": 3}), NOW)
    second = log.add(Note("j-1", "phase", "match"), NOW)
    assert (first.number, second.number) == (1, 2)
    assert first.time_ms == 1_700_000_000_123
    assert first.data == {"round": 3}


def test_whoever_follows_gets_what_came_after() -> None:
    log = JobLog()
    for number in range(5):
        log.add(Note("j-1", "phase", str(number)), NOW)
    log.add(Note("j-2", "phase", "another"), NOW)
    assert [entry.text for entry in log.after("j-1", 3)] == ["3", "4"]
    assert log.after("j-1", 5) == []
    assert log.after("j-9", 0) == []


def test_of_too_many_entries_the_oldest_go_and_numbers_go_on() -> None:
    log = JobLog()
    for number in range(ENTRIES_MAX + 3):
        log.add(Note("j-1", "token", str(number)), NOW)
    entries = log.after("j-1", 0)
    assert len(entries) == ENTRIES_MAX
    assert (entries[0].number, entries[-1].number) == (4, ENTRIES_MAX + 3)


def test_of_too_many_jobs_the_oldest_goes() -> None:
    log = JobLog()
    for number in range(JOBS_MAX + 1):
        log.add(Note(f"j-{number}", "phase", "plan"), NOW)
    assert log.after("j-0", 0) == []
    assert len(log.after("j-1", 0)) == 1

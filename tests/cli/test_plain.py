"""What strangers wrote reaches a terminal as letters."""

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from dpin.cli.exits import tell
from dpin.cli.options import say, show
from dpin.cli.plain import plain, plain_line
from dpin.cli.service import set_up_logs
from dpin.node.settings import LogSection

CLEAR = "\x1b[2J\x9b2J\x07\x7f\u202e"


@given(st.text())
def test_nothing_that_is_printed_is_a_command_and_letters_stay(text: str) -> None:
    for before, after in zip(text, plain(text), strict=True):
        assert after == before or (after == "?" and not before.isprintable())
        assert after.isprintable() or after in "\n\t" or ord(after) >= 0xA0
    assert "\n" not in plain_line(text)


def test_all_that_commands_print_goes_this_way(capsys: pytest.CaptureFixture[str]) -> None:
    show(f"data {CLEAR}")
    say(f"said {CLEAR}")
    tell("code", f"wrong {CLEAR}", f"mend {CLEAR}")
    printed = capsys.readouterr()
    assert printed.out == "data ?[2J?2J???\n"
    assert printed.err == "said ?[2J?2J???\nerror[code]: wrong ?[2J?2J???\n  fix: mend ?[2J?2J???\n"


def test_a_log_for_people_shows_no_command_and_no_line_that_a_stranger_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        set_up_logs(LogSection(format="console"))
        structlog.get_logger().warning("peer-blamed", reason=f"it said\nlater {CLEAR}")
    finally:
        structlog.reset_defaults()
    [line] = capsys.readouterr().out.splitlines()
    assert "it said?later ?[2J?2J???" in line

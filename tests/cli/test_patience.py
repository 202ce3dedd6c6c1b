"""Whoever waits at a terminal is told after a while that something goes on; nobody else is."""

import io
import sys
import threading
from collections.abc import Callable

import pytest

from dpin.cli import patience
from dpin.cli.options import say, show
from dpin.cli.patience import WORDS, hush, patient


class Terminal(io.StringIO):
    """What is written to it, and a wait for that."""

    def __init__(self, *, watched: bool) -> None:
        super().__init__()
        self._watched = watched
        self.told = threading.Event()

    def isatty(self) -> bool:  # type: ignore[explicit-override]
        return self._watched

    def flush(self) -> None:  # type: ignore[explicit-override]
        self.told.set()


def placed(monkeypatch: pytest.MonkeyPatch, *, watched: bool = True) -> Terminal:
    terminal = Terminal(watched=watched)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_after_a_silence_somebody_at_a_terminal_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = placed(monkeypatch)
    with patient(0.0):
        assert terminal.told.wait(30)
    assert terminal.getvalue() == WORDS


@pytest.mark.parametrize("speak", [lambda: say("a word"), lambda: show("data"), hush])
def test_whoever_has_heard_something_is_left_alone(
    speak: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = placed(monkeypatch)
    with patient(60.0):
        speak()
    assert WORDS not in terminal.getvalue()


def test_a_pipe_is_told_nothing_and_has_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = placed(monkeypatch, watched=False)
    before = {*threading.enumerate()}  # Some, of earlier tests, may be about to end.
    with patient(0.0):
        assert {*threading.enumerate()} <= before
    assert terminal.getvalue() == ""


def test_a_command_that_fails_ends_the_wait_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = placed(monkeypatch)
    with pytest.raises(ValueError, match="oops"), patient(60.0):
        raise ValueError("oops")
    assert terminal.getvalue() == ""
    assert patience.SILENCE_SECONDS == 2.0

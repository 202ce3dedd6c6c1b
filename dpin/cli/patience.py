"""A word for whoever sits at a terminal and has heard nothing of a command for a while."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SILENCE_SECONDS: Final = 2.0
WORDS: Final = "still working\n"

_heard = threading.Event()


def hush() -> None:
    """Something was said, or is about to be asked: no word is needed."""
    _heard.set()


@contextmanager
def patient(seconds: float = SILENCE_SECONDS) -> Iterator[None]:
    """While this goes on in silence for so long, say that it does: once, to people alone."""
    _heard.clear()
    if not sys.stderr.isatty():
        yield
        return
    speaker = threading.Thread(target=_speak, args=(seconds,), daemon=True)
    speaker.start()
    try:
        yield
    finally:
        _heard.set()
        speaker.join()


def _speak(seconds: float) -> None:
    if not _heard.wait(seconds):
        sys.stderr.write(WORDS)
        sys.stderr.flush()

"""Where the exceptions of other people's code stop."""

from collections.abc import Callable
from types import TracebackType

from dpin.base.errors import DpinError

Report = Callable[[BaseException], None]


def _ignore(_error: BaseException) -> None:
    """A report that nobody needs."""


class Contained:
    """`with Contained(report):` reports what is raised instead of letting it out.

    Cancellation passes: only what is an Exception through and through stops here. Used at the
    edge to libp2p alone, whose exceptions have no common base and no list.
    """

    def __init__(self, report: Report = _ignore) -> None:
        self._report = report

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, BaseExceptionGroup):
            _, rest = error.split(Exception)
            if rest is not None:
                return False
        elif not isinstance(error, Exception):
            return False
        self._report(error)
        return True


def root_of(error: BaseException) -> BaseException:
    """The exception at the bottom of groups and causes; what dpin says itself is the bottom."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif isinstance(error, DpinError):
            return error
        elif error.__cause__ is not None:
            error = error.__cause__
        elif inner := getattr(error, "errors", None):  # libp2p's own kind of group
            error = inner[0]
        else:
            return error


def one_line(error: BaseException) -> str:
    """What happened, at the bottom, for people."""
    root = root_of(error)
    return f"{type(root).__name__}: {root}".splitlines()[0]

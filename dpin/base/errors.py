"""The error tree.

DpinError
├── PeerFault     the other side broke a rule: decoding raises it, a machine turns it into Blame
├── Unavailable   disk, network or device said no: only shells raise it
└── Misuse        the caller asked for what cannot be: shown to a person with its fix

A broken invariant is none of these: it is an AssertionError, and it stops the node.
"""

import errno
from typing import ClassVar, Final

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_YOURS: Final = frozenset({errno.EACCES, errno.EPERM})


class DpinError(Exception):
    """Everything that dpin raises on purpose."""


class PeerFault(DpinError):
    """A peer sent what the protocol forbids."""


class Unavailable(DpinError):
    """A disk, a network or a device did not do its part."""

    @property
    def fix(self) -> str:
        """What helps: room, or a right, where the system says that it wants one; else empty."""
        return helping(self.__cause__)


class Misuse(DpinError):
    """A request that cannot be met; `fix` says what to do instead."""

    code: ClassVar[str] = "misuse"  # what programs tell the kinds apart by

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class NotFound(Misuse):
    """Nothing goes by that name."""

    code = "not-found"


class NoMatch(Misuse):
    """No provider can take the job."""

    code = "no-match"


class NotVerified(Misuse):
    """What was handed over does not show what it says."""

    code = "not-verified"


class OverBudget(Misuse):
    """It would cost more than there is, or more than was allowed."""

    code = "over-budget"


class TooEarly(Misuse):
    """It is not there yet, and will be."""

    code = "too-early"


def helping(cause: BaseException | None) -> str:
    """What to do about what the system says of a disk or a port; empty where nobody knows."""
    if not isinstance(cause, OSError):
        return ""
    if cause.errno in _NO_ROOM:
        return "make room on that disk, then do it again"
    if cause.errno in _NOT_YOURS:
        return "whoever runs dpin must own that path: ls -ld, then chown; or name another"
    if cause.errno == errno.EROFS:
        return "that disk can only be read: name another place"
    if cause.errno == errno.EADDRINUSE:
        return "stop what listens there, which `ss -ltnp` names, or set another port"
    return ""


def unreadable(path: object, problem: OSError, fix: str = "name a file") -> Misuse:
    """A file that somebody named: it is not there, or it cannot be read."""
    absent = isinstance(problem, FileNotFoundError | NotADirectoryError)
    return (NotFound if absent else Misuse)(f"{path}: {problem.strerror or problem}", fix=fix)

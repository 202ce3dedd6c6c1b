"""Exit codes, and errors as one sentence with a cause and a fix."""

import sys
from enum import IntEnum
from typing import Final

from dpin.base.errors import DpinError, Misuse, Unavailable
from dpin.cli.plain import plain
from dpin.client.errors import ClientError, JobFailed


class ExitCode(IntEnum):
    """What a command's exit status means; the numbers never change."""

    OK = 0
    BUG = 1
    USAGE = 2
    JOB_FAILED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    NO_MATCH = 6
    TIMED_OUT = 7
    NOT_VERIFIED = 8
    OVER_BUDGET = 9
    INTERRUPTED = 130


_BY_CODE: Final = {
    "misuse": ExitCode.USAGE,
    "not-found": ExitCode.NOT_FOUND,
    "no-result": ExitCode.NOT_FOUND,
    "unreachable": ExitCode.UNREACHABLE,
    "no-match": ExitCode.NO_MATCH,
    "timed-out": ExitCode.TIMED_OUT,
    "too-early": ExitCode.TIMED_OUT,
    "not-verified": ExitCode.NOT_VERIFIED,
    "over-budget": ExitCode.OVER_BUDGET,
    "difference": ExitCode.NOT_VERIFIED,
}
# Words in the reason of a job that failed; the first that fits decides.
_BY_REASON: Final = {
    "no-match": ExitCode.NO_MATCH,
    "no-provider": ExitCode.NO_MATCH,
    "expired": ExitCode.NO_MATCH,
    "timed-out": ExitCode.TIMED_OUT,
    "time limit": ExitCode.TIMED_OUT,
    "check failed": ExitCode.NOT_VERIFIED,
    "not the text committed": ExitCode.NOT_VERIFIED,
    "budget": ExitCode.OVER_BUDGET,
}

Known = DpinError | ClientError


def code_of(error: Known) -> str:
    """The word that programs tell errors apart by."""
    return error.code if isinstance(error, Misuse | ClientError) else "unavailable"


def exit_of(error: Known) -> ExitCode:
    """The exit status of an error; 1 where a disk or a network failed."""
    if isinstance(error, JobFailed):
        return exit_of_job(error.state, error.reason)
    return _BY_CODE.get(code_of(error), ExitCode.BUG)


def exit_of_job(state: str, reason: str) -> ExitCode:
    """The exit status that a job's end gives `dpin submit`."""
    if state == "done":
        return ExitCode.OK
    fits = (code for words, code in _BY_REASON.items() if words in reason)
    return next(fits, ExitCode.JOB_FAILED)


def tell(code: str, message: str, fix: str = "") -> None:
    """Write an error to stderr: one sentence, and what to do."""
    lines = f"error[{code}]: {message}\n" + (f"  fix: {fix}\n" if fix else "")
    sys.stderr.write(plain(lines))


def _fix_of(error: Known) -> str:
    if isinstance(error, Misuse | ClientError):
        return error.fix
    known = error.fix if isinstance(error, Unavailable) else ""
    return known or "try again, or: dpin doctor"


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions of a group and of the groups in it."""
    found: list[BaseException] = []
    for problem in group.exceptions:
        found += leaves(problem) if isinstance(problem, BaseExceptionGroup) else [problem]
    return found


def first_causes(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Those that do not follow from another one of the group: several tasks may meet one fault."""
    found = leaves(group)
    return [problem for problem in found if problem.__cause__ not in found]


def tell_known(error: Known) -> ExitCode:
    """Write an error that was raised on purpose; returns its exit status."""
    tell(code_of(error), str(error), _fix_of(error))
    return exit_of(error)

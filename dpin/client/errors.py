"""What goes wrong between a program and a node: every error has a code, a sentence and a fix."""


class ClientError(Exception):
    """A node, or the way to it, said no. `code` is for programs, `fix` says what to do."""

    def __init__(self, code: str, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.fix = fix


class Unreachable(ClientError):
    """No node answers."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__("unreachable", message, fix)


class JobFailed(ClientError):
    """The job has ended, and not well; `reason` is its reason code."""

    def __init__(self, job: str, state: str, reason: str) -> None:
        super().__init__(
            "job-failed", f"{job} {state}: {reason or 'no reason given'}", f"dpin explain {job}"
        )
        self.state = state
        self.reason = reason

"""The error tree.

DpinError
├── PeerFault     the other side broke a rule: decoding raises it, a machine turns it into Blame
├── Unavailable   disk, network or device said no: only shells raise it
└── Misuse        the caller asked for what cannot be: shown to a person with its fix

A broken invariant is none of these: it is an AssertionError, and it stops the node.
"""


class DpinError(Exception):
    """Everything that dpin raises on purpose."""


class PeerFault(DpinError):
    """A peer sent what the protocol forbids."""


class Unavailable(DpinError):
    """A disk, a network or a device did not do its part."""


class Misuse(DpinError):
    """A request that cannot be met; `fix` says what to do instead."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class NotFound(Misuse):
    """Nothing goes by that name."""

"""Why an operation was refused: a closed set, the same number and word on every node."""

from enum import IntEnum
from typing import Final

from dpin.base.errors import DpinError


class Reason(IntEnum):
    """The code of a transaction's receipt; its word is the name in kebab-case.

    Codes below 100 are left to the states of units (`accounts.UnitState`).
    """

    OK = 0
    # An account's own.
    BAD_FIELD = 101  # a number out of its range, or an id that is not 32 bytes long
    NOT_ENOUGH_FREE = 102
    NOT_ENOUGH_STAKE = 103  # what bonds hold cannot be taken back
    # Jobs.
    UNKNOWN_JOB = 120
    NOT_THE_REQUESTER = 121
    JOB_CLOSED = 122  # ended, cancelled, or past its last round
    NO_OPEN_SEAT = 124
    NO_FITTING_BID = 125
    TOO_MANY_LEASES = 126
    # Leases.
    UNKNOWN_LEASE = 140
    NOT_THE_PROVIDER = 141
    LEASE_ENDED = 142
    NOT_AWARDED = 143
    TOO_LATE = 144
    # Rounds and units.
    UNKNOWN_UNIT = 160
    NOT_RUNNING = 161
    TOO_LITTLE_WORK = 162
    NOT_A_WINDOW_BOUND = 163
    BAD_LEAF = 164  # not a leaf, or its path leads elsewhere
    WRONG_BINDING = 165  # a leaf of another job, lease, round, window or step
    WRONG_OPTIMIZER = 166  # a lease starts with zero optimizer state
    NOT_EXCHANGING = 167
    NOT_IN_ROSTER = 168
    NOT_A_CANDIDATE = 169
    ALREADY_SAID = 170
    # Checks.
    NOT_SEATED = 180
    ALREADY_SEALED = 181
    NOT_SEALED = 182
    WRONG_SEAL = 183
    ALREADY_REVEALED = 184
    WRONG_STATE = 185
    # Validators.
    UNKNOWN_VALIDATOR = 200  # without a validator bond
    NOT_REGISTERED = 201  # or retired
    BOND_TOO_SMALL = 202
    SIGNER_TAKEN = 203
    WRONG_POSSESSION = 204  # the consensus key did not sign that it belongs to this account
    NOT_RETIRED = 205
    UNBONDING = 206  # evidence could still cost the bond
    WRONG_EPOCH = 207
    TOO_EARLY = 208
    NO_OFFENCE = 209  # what is shown breaks no rule, or somebody else did it
    NOT_IN_TIME = 210  # evidence of an epoch that no bond answers for any more
    ALREADY_SHOWN = 211

    @property
    def word(self) -> str:
        """The reason as people and programs read it."""
        return _WORDS[self]


_WORDS: Final = {reason: reason.name.lower().replace("_", "-") for reason in Reason}


class Refused(DpinError):
    """Raised inside `rules.py` before anything was changed, and caught there."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.word)
        self.reason = reason


def require(holds: bool, reason: Reason) -> None:  # noqa: FBT001  # It reads as a sentence.
    """Refuse the operation unless this holds."""
    if not holds:
        raise Refused(reason)

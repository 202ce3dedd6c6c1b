"""Where validators stand: their bonds, and how the present epoch has gone so far. Data only.

All of it is part of the state, so that who joins later counts on from the same place.
"""

from dataclasses import dataclass, field

from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round
from dpin.base.units import LedgerMillis, MicroTokens
from dpin.ledger import beacon
from dpin.ledger.checkpoint import CommitteeRecord
from dpin.ledger.offences import Offence

NO_SIGNER = NodeId(b"")


@dataclass(slots=True)
class Validator:
    """Whoever has a validator bond. The bond is no stake: units never touch it (H11)."""

    bond: MicroTokens = MicroTokens(0)
    signer: NodeId = NO_SIGNER  # consensus key from the next epoch on; NO_SIGNER: not registered
    anchor: Digest = NO_DIGEST  # of its chain of reveals
    anchor_round: Round = Round(0)  # the round that the anchor belongs to
    new_chain: bool = False  # registered since it was last seated
    ready_for: int = -1  # the newest epoch that it has said to be ready for
    retired: bool = False
    last_epoch: int = -1  # the last one in which it may have signed
    jailed_until: int = 0  # it is seated in no epoch before this one
    faults: int = 0
    offences: tuple[Offence, ...] = ()  # that evidence was shown for, within unbonding time

    @property
    def stands(self) -> bool:
        """Whether it has registered and not retired."""
        return self.signer != NO_SIGNER and not self.retired


@dataclass(slots=True)
class Seated:
    """A member of the present committee, by author index: its reveals, and what it has done.

    `reveal` is its newest one that was checked; its chain changes after `next_round`, if that is
    not negative.
    """

    round: Round
    reveal: Digest
    next_round: Round = Round(-1)
    next_reveal: Digest = NO_DIGEST
    cosigned: int = 0  # checkpoints of this epoch, of those that are no longer in `noted`
    faults: int = 0  # blocks with a transaction that could never be valid

    def accepts(self, round_: Round, value: Digest) -> bool:
        """Whether this is the reveal of that round; if so, it is the newest now."""
        if 0 <= self.next_round < round_:
            self.round, self.reveal, self.next_round = (
                self.next_round,
                self.next_reveal,
                Round(-1),
            )
        if not beacon.reveals(self.round, self.reveal, round_, value):
            return False
        self.round, self.reveal = round_, value
        return True


@dataclass(slots=True)
class Noted:
    """A checkpoint of this epoch, as its note names it, and who has signed that."""

    sequence: int
    checkpoint: Digest
    height: int
    size: int  # of the receipts log whose last leaf it is
    root: Digest
    cosigners: int = 0  # bit i: author i


@dataclass(slots=True)
class Epoch:
    """The present epoch."""

    committee: CommitteeRecord
    opened_ms: LedgerMillis = LedgerMillis(0)
    opened_height: int = 0  # the commit that closed the epoch before
    seated: list[Seated] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)  # the newest checkpoints
    counted: int = 0  # checkpoints of this epoch that are no longer in `noted`
    fees: int = 0  # of its transactions, that the treasury holds for its validators

    @property
    def number(self) -> int:
        """0, 1, 2, ..."""
        return self.committee.epoch


def opened(record: CommitteeRecord, time: LedgerMillis, height: int) -> Epoch:
    """An epoch at its opening: the commit of that height and ledger time closed the one before."""
    seated = [Seated(member.anchor_round, member.anchor) for member in record.members]
    return Epoch(record, time, height, seated)


def nobody() -> Epoch:
    """An epoch without a committee."""
    return Epoch(CommitteeRecord(0, NO_DIGEST, Round(0), ()))

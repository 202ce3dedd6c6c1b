"""Evidence: what a validator signed twice costs its bond; a block nobody could apply, its fees.

    slash = ceil(bond * min(10^6, max(slash_min_ppm, 3 * f)) / 10^6)

f is the weight, in ppm of their committees, of all whose offences evidence can still be shown for,
this one included: one fault costs little, a third of the weight at fault costs everything. Of what
is taken `reporter_ppm` goes to whoever showed it, the rest burns. Nobody can be framed: it takes
two signatures by the consensus key itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base import merkle
from dpin.base.codec import decode, encode
from dpin.base.crypto import verify, verify_note
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import MILLION, MicroTokens, ceil_div
from dpin.ledger import bonds, money
from dpin.ledger.accounts import State
from dpin.ledger.blocks import BLOCK_TAG, Block, Header, header_digest
from dpin.ledger.book import Book
from dpin.ledger.checkpoint import CommitteeRecord, Member, note_text
from dpin.ledger.offences import (
    CheckpointContradiction,
    CheckpointFork,
    Crime,
    Equivocation,
    Offence,
    SignedCheckpoint,
    SignedHeader,
)
from dpin.ledger.order import OrderedBlock
from dpin.ledger.reasons import Reason, Refused, require
from dpin.ledger.standing import Epoch
from dpin.ledger.watch import contradict

CORRELATION: Final = 3  # a third of the weight at fault costs all of the bond
Evidence = Equivocation | CheckpointFork | CheckpointContradiction


@dataclass(frozen=True, slots=True)
class _Shown:
    """What evidence shows: a member did something in an epoch."""

    node: NodeId
    offence: Offence


def evidence_of(first: Block, second: Block) -> Equivocation:
    """The evidence in two blocks of one author and round; the same whichever was seen first."""
    return Equivocation(*_pair(first, second))


def contradiction_of(first: Block, second: Block) -> CheckpointContradiction:
    """The evidence in two blocks of one author that sign a checkpoint's number differently."""
    return CheckpointContradiction(*_pair(first, second))


def _pair(first: Block, second: Block) -> tuple[SignedHeader, SignedHeader]:
    pair = sorted((first, second), key=lambda block: header_digest(block.header))
    one, other = (SignedHeader(encode(block.header), block.signature) for block in pair)
    return one, other


def show(book: Book, reporter: NodeId, evidence: Evidence) -> None:
    """Slash whom this evidence convicts, or refuse it."""
    shown = _judge(book, evidence)
    validator = bonds.change(book, shown.node)
    known = {(one.crime, one.epoch) for one in validator.offences}
    require((shown.offence.crime, shown.offence.epoch) not in known, Reason.ALREADY_SHOWN)
    validator.offences = (*_recent(book.state, shown.node), shown.offence)
    validator.faults += 1
    freed = book.state.epoch + 1 + book.params.jail_epochs
    validator.jailed_until = max(validator.jailed_until, freed)
    share = min(MILLION, max(book.params.slash_min_ppm, CORRELATION * faulted_ppm(book.state)))
    taken = ceil_div(validator.bond * share, MILLION)
    validator.bond = MicroTokens(validator.bond - taken)
    reward = money.share_ppm(taken, book.params.reporter_ppm) if reporter != shown.node else 0
    money.credit(book, reporter, reward)
    money.burn(book, taken - reward)


def _judge(book: Book, evidence: Evidence) -> _Shown:
    """Whom it convicts, and of what; refuses evidence that shows nothing."""
    match evidence:
        case Equivocation():
            return _equivocation(book, evidence)
        case CheckpointFork():
            return _fork(book, evidence)
        case CheckpointContradiction():
            return _contradiction(book, evidence)
        case _:
            assert_never(evidence)


def _equivocation(book: Book, evidence: Equivocation) -> _Shown:
    """E1. Whether the headers are valid is nothing: nobody signs two for one place."""
    first, second = (_header(one) for one in (evidence.first, evidence.second))
    require(first.round == second.round and first != second, Reason.NO_OFFENCE)
    return _both_signed(book, evidence, Crime.EQUIVOCATION)


def _contradiction(book: Book, evidence: CheckpointContradiction) -> _Shown:
    """E2 again, without the logs: the author put its name under both signatures."""
    first, second = (_header(one) for one in (evidence.first, evidence.second))
    require(contradict(first, second), Reason.NO_OFFENCE)
    return _both_signed(book, evidence, Crime.FORK)


def _both_signed(
    book: Book, evidence: Equivocation | CheckpointContradiction, crime: Crime
) -> _Shown:
    """Both headers are of one member and epoch, and it signed both."""
    shown = (evidence.first, evidence.second)
    first, second = (_header(one) for one in shown)
    same = (first.epoch, first.author) == (second.epoch, second.author)
    require(same, Reason.NO_OFFENCE)
    record = _committee(book, first.epoch)
    member = _member(record, first.author)
    for header, signed in zip((first, second), shown, strict=True):
        name = header_digest(header)
        good = verify(member.signer, BLOCK_TAG, book.chain, name, signed.signature)
        require(good, Reason.NO_OFFENCE)
    return _shown(record, member, crime)


def _header(signed: SignedHeader) -> Header:
    try:
        return decode(Header, signed.header)
    except PeerFault:
        raise Refused(Reason.NO_OFFENCE) from None


def _fork(book: Book, evidence: CheckpointFork) -> _Shown:
    """E2. The same checkpoint in two logs is a fork too: a note names the whole log."""
    first, second = evidence.first, evidence.second
    numbers = [(one.checkpoint.epoch, one.checkpoint.sequence) for one in (first, second)]
    require(numbers[0] == numbers[1], Reason.NO_OFFENCE)
    record = _committee(book, first.checkpoint.epoch)
    member = _member(record, evidence.author)
    notes = [_signed_note(book, member, one) for one in (first, second)]
    require(notes[0] != notes[1], Reason.NO_OFFENCE)
    return _shown(record, member, Crime.FORK)


def _signed_note(book: Book, member: Member, signed: SignedCheckpoint) -> str:
    """The note of the log whose last leaf is the checkpoint, as the member signed it."""
    leaf = merkle.leaf_hash(encode(signed.checkpoint))
    root = merkle.root_from_inclusion(leaf, signed.size - 1, signed.size, signed.path)
    if root is None:
        raise Refused(Reason.NO_OFFENCE)
    text = note_text(book.chain, signed.size, root)
    good = verify_note(member.signer, text, signed.signature)
    require(good, Reason.NO_OFFENCE)
    return text


def _committee(book: Book, epoch: int) -> CommitteeRecord:
    """Known as long as a bond answers for what was signed then."""
    record = book.state.committees.get(epoch)
    if record is None:
        raise Refused(Reason.NOT_IN_TIME)
    return record


def _member(record: CommitteeRecord, author: int) -> Member:
    require(0 <= author < len(record.members), Reason.NO_OFFENCE)
    return record.members[author]


def _shown(record: CommitteeRecord, member: Member, crime: Crime) -> _Shown:
    total = sum(one.weight for one in record.members)
    offence = Offence(int(crime), record.epoch, member.weight * MILLION // total)
    return _Shown(member.node, offence)


def faulted_ppm(state: State) -> int:
    """The weight, in ppm of their committees, of all that are at fault within unbonding time."""
    faulted = 0
    for node in sorted(state.validators):
        faulted += max((one.weight_ppm for one in _recent(state, node)), default=0)
    return faulted


def _recent(state: State, node: NodeId) -> tuple[Offence, ...]:
    """A validator's offences of epochs whose committees are still known."""
    offences = state.validators[node].offences
    return tuple(one for one in offences if one.epoch in state.committees)


def note_invalid(epoch: Epoch, blocks: Sequence[OrderedBlock], invalid: Sequence[int]) -> None:
    """E3: authors of the blocks that hold these of a commit's transactions have a fault each.

    What no state could apply, an honest author would not have put there.
    """
    first = 0
    for block in blocks:
        end = first + block.transactions
        if any(first <= place < end for place in invalid):
            epoch.seated[block.author].faults += 1
        first = end

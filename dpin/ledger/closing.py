"""The last act of an epoch: who validates the next one, and where its rounds begin.

An epoch closes with the first commit that has its ledger time and number of commits behind it. That
commit is executed under the old committee; the state after it is already the next epoch's.
"""

from collections.abc import Sequence

from dpin.base.crypto import digest
from dpin.base.ids import Digest, NodeId, Round
from dpin.ledger import bonds, cosigning, rewards
from dpin.ledger.beacon import GAP_MAX
from dpin.ledger.book import Book, Kind
from dpin.ledger.checkpoint import CommitteeRecord, Member
from dpin.ledger.committee import SEED_TAG
from dpin.ledger.order import OrderedCommit
from dpin.ledger.selection import Candidate, choose
from dpin.ledger.standing import Epoch, Seated, Validator, opened


def is_due(book: Book) -> bool:
    """Whether the present commit is the last of its epoch."""
    state, params = book.state, book.params
    long_enough = state.time >= state.term.opened_ms + params.epoch_ms
    return long_enough and state.height - state.term.opened_height >= params.epoch_commits_min


def close(book: Book, commit: OrderedCommit) -> CommitteeRecord:
    """Choose the next committee and open its epoch; `commit` is the last of the present one."""
    state = book.state
    old, number = state.term, state.term.number + 1
    base = Round(commit.leader_round + book.params.consensus.gc_depth)
    live = cosigning.live(old, book.params.cosigned_min_ppm)
    rewards.pay(book, old, live)
    _keep_faults(book, old)
    weights = _chosen(book, base, live)
    record = CommitteeRecord(
        number,
        digest(SEED_TAG, state.mix + number.to_bytes(8)),
        base,
        tuple(_seat(book, node, weights[node]) for node in sorted(weights)),
    )
    state.term = opened(record, state.time, state.height)
    state.committees[number] = record
    book.changed.add((Kind.COMMITTEE, b"", number))
    _forget(book, number - book.params.unbonding_epochs)
    return record


def _keep_faults(book: Book, epoch: Epoch) -> None:
    for member, seated in zip(epoch.committee.members, epoch.seated, strict=True):
        if seated.faults:
            bonds.change(book, member.node).faults += seated.faults


def _chosen(book: Book, base: Round, live: Sequence[bool]) -> dict[NodeId, int]:
    """Weights by member. Where too few stand, all of the present ones go on, whatever they did.

    A committee that shrank below four could bear no fault at all, and one that kept only some of
    its members would let the others' silence decide who goes on.
    """
    old = book.state.term.committee.members
    seated = {
        member.node: (one, is_live)
        for member, one, is_live in zip(old, book.state.term.seated, live, strict=True)
    }
    candidates = []
    for node in sorted(book.state.validators):
        validator = book.state.validators[node]
        one, is_live = seated.get(node, (None, validator.ready_for == book.state.epoch + 1))
        if is_live and _stands(book, validator) and _in_reach(validator, one, base):
            candidates.append(Candidate(node, validator.bond, one is not None))
    chosen = choose(candidates, len(old), book.params.validators_max)
    return {member.node: member.weight for member in old} if chosen is None else chosen


def _stands(book: Book, validator: Validator) -> bool:
    """Whether a validator may be seated in the next epoch, if it is there."""
    free = validator.jailed_until <= book.state.epoch + 1
    return validator.stands and free and validator.bond >= book.params.validator_bond_min


def _in_reach(validator: Validator, seated: Seated | None, base: Round) -> bool:
    """Whether the reveals of the next epoch can be checked cheaply; else it registers anew."""
    round_, _ = _newest(validator, seated)
    return 0 <= base - round_ <= GAP_MAX


def _newest(validator: Validator, seated: Seated | None) -> tuple[Round, Digest]:
    """Where a chain of reveals goes on: from the newest that was checked, or where a new begins."""
    if seated is None or validator.new_chain:
        return validator.anchor_round, validator.anchor
    if seated.next_round >= 0:
        return seated.next_round, seated.next_reveal
    return seated.round, seated.reveal


def _seat(book: Book, node: NodeId, weight: int) -> Member:
    """A member of the next epoch, which its bond answers for from now on."""
    term, validator = book.state.term, bonds.change(book, node)
    nodes = [member.node for member in term.committee.members]
    seated = term.seated[nodes.index(node)] if node in nodes else None
    round_, reveal = _newest(validator, seated)
    validator.new_chain = False
    validator.last_epoch = term.number + 1
    return Member(node, validator.signer, weight, reveal, round_)


def _forget(book: Book, oldest: int) -> None:
    """Committees of before `oldest` are needed no more: no bond is left from then."""
    for epoch in sorted(book.state.committees):
        if epoch < oldest:
            del book.state.committees[epoch]
            book.changed.add((Kind.COMMITTEE, b"", epoch))

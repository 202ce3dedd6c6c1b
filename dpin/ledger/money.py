"""Every way in which tokens move; each keeps the conserved sum, or does not happen.

A commit is audited by what it touched, the whole sum now and then: with a million accounts it
takes a tenth of a second.
"""

from typing import Final

from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.units import MILLION, MicroTokens, ceil_div
from dpin.ledger.accounts import Account, Job, Lease, State
from dpin.ledger.book import Book
from dpin.ledger.fees import Split
from dpin.ledger.params import Params
from dpin.ledger.reasons import Reason, Refused, require
from dpin.ledger.transactions import MEMO_BYTES_MAX, Credit, Propose, Stake, Transfer, Unstake

MAX_SUPPLY: Final = MicroTokens(10**15)  # 10^9 tokens: every sum stays below 2^53
CHECKS: Final = 2  # of a unit: one window, and the encoding of the update
AUDIT_EASE: Final = 1_000  # accounts a commit that a full audit may cost, spread over all commits


def verifier_fee(params: Params, propose: Propose, price: MicroTokens) -> MicroTokens:
    """What the requester sets aside to have one unit at this price checked, rounded up."""
    cost = params.verifier_cost_ppm * propose.verifiers * price * CHECKS
    return MicroTokens(ceil_div(cost, propose.windows * MILLION))


def share_ppm(amount: int, ppm: int) -> MicroTokens:
    """A share of an amount, rounded down."""
    return MicroTokens(amount * ppm // MILLION)


def unlocked(account: Account | None) -> MicroTokens:
    """Stake that no bond holds."""
    return MicroTokens(account.stake - account.locked) if account else MicroTokens(0)


def supply(state: State) -> int:
    """All tokens there are: MAX_SUPPLY, after every commit."""
    return _in_accounts(state) + _beside_accounts(state)


def _in_accounts(state: State) -> int:
    return sum(account.worth for account in state.accounts.values())


def _beside_accounts(state: State) -> int:
    escrow = sum(state.jobs[job].escrow for job in state.live_jobs)
    bonds = sum(validator.bond for validator in state.validators.values())
    return state.reserve + state.treasury + escrow + bonds


def check(book: Book) -> None:
    """Stop the node rather than go on with a commit that has not kept the sum.

    Looks at the pools and at what was handed out since the last check.
    """
    state = book.state
    pools = state.reserve + state.treasury
    gained = 0
    for account, before in book.touched.values():
        gained += account.worth - before
        assert 0 <= account.locked <= account.stake, "a bond holds more than there is"
        assert account.free >= 0 <= account.credit, "an account is overdrawn"
    moved = pools - book.pools + gained
    for identity, before in book.escrows.items():
        job = state.jobs[identity]
        moved += job.escrow - before
        assert 0 <= job.credit <= job.escrow, "a job gives back more credit than it holds"
    for node, before in book.bonds.items():
        validator = state.validators.get(node)
        bond = 0 if validator is None else validator.bond
        moved += bond - before
        assert bond >= 0, "a validator bond is overdrawn"
    assert moved == 0, "tokens came from nowhere or went there"
    assert min(state.reserve, state.treasury) >= 0, "a pool is overdrawn"
    book.pools = pools
    state.in_accounts += gained
    book.touched.clear()
    book.escrows.clear()
    book.bonds.clear()


def audit(book: Book) -> None:
    """Stop the node rather than go on with a sum that is not conserved; looks at everything."""
    held = _in_accounts(book.state)
    assert held + _beside_accounts(book.state) == MAX_SUPPLY, (
        "tokens came from nowhere or went there"
    )
    assert book.state.in_accounts in {0, held}, "what accounts hold was added up wrongly"
    book.state.in_accounts = held
    book.pools = book.state.reserve + book.state.treasury


def audit_is_due(state: State, since: int) -> bool:
    """Whether enough commits have gone by since the last full audit to bear another."""
    return since * AUDIT_EASE >= len(state.accounts)


# --- operations --------------------------------------------------------------------------------


def transfer(book: Book, sender: NodeId, operation: Transfer) -> None:
    """Move free tokens to another account, opening it where there was none."""
    _take_gift(book, sender, operation)
    credit(book, operation.to, operation.amount)


def buy_credit(book: Book, sender: NodeId, operation: Credit) -> None:
    """Move free tokens to an account's compute credit, opening the account if need be."""
    _take_gift(book, sender, operation)
    account = book.account(operation.to)
    account.credit = MicroTokens(account.credit + operation.amount)


def _take_gift(book: Book, sender: NodeId, gift: Transfer | Credit) -> None:
    """Take from its sender what somebody is about to be given."""
    amount = gift.amount
    if len(gift.to) != ID_BYTES or len(gift.memo) > MEMO_BYTES_MAX or amount <= 0:
        raise Refused(Reason.BAD_FIELD)
    account = book.account(sender)
    if amount > account.free:
        raise Refused(Reason.NOT_ENOUGH_FREE)
    account.free = MicroTokens(account.free - amount)


def stake(book: Book, sender: NodeId, operation: Stake) -> None:
    """Set free tokens aside."""
    account = book.account(sender)
    require(operation.amount > 0, Reason.BAD_FIELD)
    require(operation.amount <= account.free, Reason.NOT_ENOUGH_FREE)
    account.free = MicroTokens(account.free - operation.amount)
    account.stake = MicroTokens(account.stake + operation.amount)


def unstake(book: Book, sender: NodeId, operation: Unstake) -> None:
    """Take back stake that no bond holds."""
    account = book.account(sender)
    require(operation.amount > 0, Reason.BAD_FIELD)
    require(operation.amount <= unlocked(account), Reason.NOT_ENOUGH_STAKE)
    account.stake = MicroTokens(account.stake - operation.amount)
    account.free = MicroTokens(account.free + operation.amount)


# --- what the rules do -------------------------------------------------------------------------


def credit(book: Book, node: NodeId, amount: int) -> None:
    """Give tokens, just taken from elsewhere, to an account."""
    assert amount >= 0, "a credit is not a charge"
    account = book.account(node)
    account.free = MicroTokens(account.free + amount)


def burn(book: Book, amount: int) -> None:
    """Return tokens, just taken from elsewhere, to the reserve."""
    assert amount >= 0, "burning does not mint"
    book.state.reserve = MicroTokens(book.state.reserve + amount)


def pay_fee(book: Book, account: Account, fee: Split) -> None:
    """Take a transaction's fee from an account that has it."""
    account.free = MicroTokens(account.free - fee.burned - fee.pooled)
    burn(book, fee.burned)
    book.state.treasury = MicroTokens(book.state.treasury + fee.pooled)
    book.state.term.fees += fee.pooled


def fund(account: Account, amount: int) -> MicroTokens:
    """Take a job's escrow from an account, credit first; returns how much of it was credit."""
    drawn = MicroTokens(min(amount, account.credit))
    account.credit = MicroTokens(account.credit - drawn)
    account.free = MicroTokens(account.free - (amount - drawn))
    return drawn


def spend_escrow(job: Job, amount: int) -> None:
    """Take from a job's escrow what is about to be paid out, credit first."""
    assert 0 <= amount <= job.escrow, "a job pays only what it funded"
    job.escrow = MicroTokens(job.escrow - amount)
    job.credit = MicroTokens(max(0, job.credit - amount))


def refund(book: Book, job: Job, amount: int) -> None:
    """Give a part of a job's escrow back: to credit what is left of what came from there."""
    back = min(amount, job.credit)
    spend_escrow(job, amount)
    account = book.account(job.requester)
    account.credit = MicroTokens(account.credit + back)
    account.free = MicroTokens(account.free + amount - back)


def lock(account: Account, amount: int) -> None:
    """Let a bond hold this much of the stake."""
    assert 0 <= amount <= unlocked(account), "a bond needs unlocked stake"
    account.locked = MicroTokens(account.locked + amount)


def unlock(account: Account, amount: int) -> None:
    """Let go of what a bond held."""
    assert 0 <= amount <= account.locked, "a bond is released once"
    account.locked = MicroTokens(account.locked - amount)


def seize(account: Account, amount: int) -> None:
    """Take from locked stake what is about to be paid out or burned."""
    unlock(account, amount)
    account.stake = MicroTokens(account.stake - amount)


def seize_bond(book: Book, lease: Lease, amount: int) -> MicroTokens:
    """Take at most `amount` from what is left of a lease's bond; returns what was taken."""
    taken = MicroTokens(min(amount, lease.bond))
    seize(book.account(lease.provider), taken)
    lease.bond = MicroTokens(lease.bond - taken)
    return taken

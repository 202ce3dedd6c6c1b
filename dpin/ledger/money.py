"""Every way in which tokens move; each keeps the conserved sum, or does not happen."""

from typing import Final

from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.units import MILLION, MicroTokens, ceil_div
from dpin.ledger.accounts import Account, Job, Lease, State
from dpin.ledger.book import Book, Kind
from dpin.ledger.params import Params
from dpin.ledger.reasons import Reason, require
from dpin.ledger.transactions import MEMO_BYTES_MAX, Propose, Stake, Transfer, Unstake

MAX_SUPPLY: Final = MicroTokens(10**15)  # 10^9 tokens: every sum stays below 2^53
CHECKS: Final = 2  # of a unit: one window, and the encoding of the update


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
    held = sum(account.free + account.stake for account in state.accounts.values())
    escrow = sum(state.jobs[job].escrow for job in state.live_jobs)
    return state.reserve + state.treasury + held + escrow


def check(book: Book) -> None:
    """Stop the node rather than go on with a sum that is not conserved."""
    assert supply(book.state) == MAX_SUPPLY, "tokens came from nowhere or went there"
    assert min(book.state.reserve, book.state.treasury) >= 0, "a pool is overdrawn"
    for kind, identity, _ in book.changed:
        if kind == Kind.ACCOUNT and identity in book.state.accounts:
            account = book.state.accounts[NodeId(identity)]
            assert 0 <= account.locked <= account.stake, "a bond holds more than there is"
            assert account.free >= 0, "an account is overdrawn"


# --- operations --------------------------------------------------------------------------------


def transfer(book: Book, sender: NodeId, operation: Transfer) -> None:
    """Move free tokens to another account, opening it where there was none."""
    require(
        len(operation.to) == ID_BYTES
        and len(operation.memo) <= MEMO_BYTES_MAX
        and operation.amount > 0,
        Reason.BAD_FIELD,
    )
    require(operation.amount <= book.account(sender).free, Reason.NOT_ENOUGH_FREE)
    book.account(sender).free = MicroTokens(book.account(sender).free - operation.amount)
    credit(book, operation.to, operation.amount)


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


def spend_escrow(job: Job, amount: int) -> None:
    """Take from a job's escrow what is about to be paid out."""
    assert 0 <= amount <= job.escrow, "a job pays only what it funded"
    job.escrow = MicroTokens(job.escrow - amount)


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

"""From payments as they are asked for to operations as the ledger takes them."""

from collections.abc import Sequence

from dpin.base.codec import decode, encode
from dpin.base.crypto import is_public_key
from dpin.base.errors import Misuse, NotFound, OverBudget, PeerFault
from dpin.base.ids import NodeId, read_id
from dpin.base.units import MicroTokens, format_tokens, parse_tokens
from dpin.ledger import fees
from dpin.ledger.accounts import Account
from dpin.ledger.history import Movement
from dpin.ledger.transactions import (
    MEMO_BYTES_MAX,
    OPERATIONS_MAX,
    TRANSACTION_BYTES_MAX,
    VERSION,
    Credit,
    SignedTransaction,
    Transaction,
    Transfer,
)
from dpin.node.control import PayRequest, PrepareRequest, TransferRequest
from dpin.node.peer import Peer
from dpin.node.status import MovementView, PreparedView

Gift = Transfer | Credit


def gifts_of(request: PayRequest) -> tuple[Gift, ...]:
    """The operations of one transaction; raises Misuse for what no ledger would take."""
    if not 1 <= len(request.payments) <= OPERATIONS_MAX:
        raise Misuse(
            f"{len(request.payments)} payments do not go together",
            fix=f"one transaction makes 1 to {OPERATIONS_MAX}",
        )
    return tuple(_gift(payment, credit=request.credit) for payment in request.payments)


def _gift(payment: TransferRequest, *, credit: bool) -> Gift:
    memo = payment.memo.encode()
    if len(memo) > MEMO_BYTES_MAX:
        raise Misuse(
            f"the memo has {len(memo)} bytes, at most {MEMO_BYTES_MAX} are taken", fix="shorten it"
        )
    kind = Credit if credit else Transfer
    return kind(payee(payment.to), sum_of(payment.amount), memo)


def payee(text: str) -> NodeId:
    """Whom tokens are sent to; raises Misuse where nobody could ever spend them."""
    node = account_id(text)
    _check_payee(node)
    return node


def _check_payee(node: NodeId) -> None:
    if not is_public_key(node):
        raise Misuse(
            f"{node.hex()} is nobody's key: what is sent there is lost",
            fix="paste the 64 hexadecimal digits that dpin init prints there",
        )


def sum_of(text: str) -> MicroTokens:
    """An amount that moves; raises Misuse for none."""
    amount = parse_tokens(text)
    if not amount:
        raise Misuse("0 tokens are nothing to send", fix="write an amount, such as 12 or 0.25")
    return amount


def check_free(gifts: Sequence[Gift], payer: Account | None) -> None:
    """Raises OverBudget where the payer has less; the ledger would take a fee and say the same."""
    free = payer.free if payer else MicroTokens(0)
    wanted = sum(gift.amount for gift in gifts)
    if wanted > free:
        raise OverBudget(
            f"{format_tokens(wanted)} is more than the {format_tokens(free)} that are free",
            fix="send less: dpin wallet says what there is",
        )


def prepared(peer: Peer, request: PrepareRequest) -> PreparedView:
    """What the key of an account has to sign; raises NotFound, or Misuse as `gifts_of`."""
    gifts = gifts_of(PayRequest(payments=request.payments, credit=request.credit))
    sender, state = account_id(request.account), peer.state
    account = state.accounts.get(sender)
    if account is None:
        raise NotFound(f"no account {request.account}", fix="it exists as soon as it is paid")
    check_free(gifts, account)  # Before anybody has walked to where the key is.
    terms = fees.terms(state, peer.params, gifts)
    number = account.sequence_high + 1
    transaction = Transaction(VERSION, peer.chain, sender, number, *terms, gifts)
    return PreparedView(
        transaction=encode(transaction).hex(),
        account=sender.hex(),
        sequence=number,
        valid_until_epoch=terms.valid_until_epoch,
        epoch=state.epoch,
        max_fee=terms.max_fee,
        free=account.free,
    )


def signed_of(text: str) -> SignedTransaction:
    """A signed transaction from its hexadecimal digits; raises Misuse."""
    try:
        signed = decode(SignedTransaction, bytes.fromhex(text), TRANSACTION_BYTES_MAX)
    except (ValueError, PeerFault):
        raise Misuse("this is no signed transaction", fix="dpin wallet sign FILE") from None
    check_payees(signed.transaction)
    return signed


def check_payees(transaction: Transaction) -> None:
    """Raises Misuse where one of its payments goes to nobody."""
    for operation in transaction.operations:
        if isinstance(operation, Transfer | Credit):
            _check_payee(operation.to)


def account_id(text: str) -> NodeId:
    """An account from its hexadecimal digits; raises Misuse."""
    node = read_id(text)
    if node is None:
        raise Misuse(
            f"{text[:80]!r} is not a node id",
            fix="paste the 64 hexadecimal digits that dpin init prints",
        )
    return NodeId(node)


def more_tokens(account: Account | None) -> str:
    """What helps a node that has too few for a job."""
    if account is None or not account.stake:
        return "lower limits.cost, or have tokens sent to this node: dpin wallet"
    return (
        f'{format_tokens(account.stake)} are set aside for providing; with jobs.stake = "0" what '
        "is sent to this node from now on stays free; or lower limits.cost"
    )


def movement_view(movement: Movement) -> MovementView:
    """One movement of an account, as people are shown it."""
    return MovementView(
        number=movement.number,
        height=movement.height,
        time_ms=movement.timestamp_ms,
        transaction=movement.transaction.hex() if movement.transaction else None,
        what=movement.what,
        other=movement.other.hex() if movement.other else None,
        memo=movement.memo.decode(errors="replace"),
        detail=movement.detail,
        fee=movement.fee,
        change=movement.change,
        free=movement.free,
        credit=movement.credit,
    )

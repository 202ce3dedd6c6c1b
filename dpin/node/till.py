"""From payments as they are asked for to operations as the ledger takes them."""

from dpin.base.errors import Misuse
from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.units import parse_tokens
from dpin.ledger.transactions import MEMO_BYTES_MAX, OPERATIONS_MAX, Credit, Transfer
from dpin.node.control import PayRequest, TransferRequest

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
        raise Misuse(f"the memo has {len(memo)} bytes, at most {MEMO_BYTES_MAX} are taken")
    kind = Credit if credit else Transfer
    return kind(account_id(payment.to), parse_tokens(payment.amount), memo)


def account_id(text: str) -> NodeId:
    """An account from its hexadecimal digits; raises Misuse."""
    try:
        node = bytes.fromhex(text)
    except ValueError:
        node = b""
    if len(node) != ID_BYTES:
        raise Misuse(
            f"{text!r} is not a node id",
            fix="paste the 64 hexadecimal digits that dpin init prints",
        )
    return NodeId(node)

"""Transactions as text that can be carried between machines: two lines, what it is and hex."""

from pathlib import Path
from typing import Final

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, PeerFault, unreadable
from dpin.base.units import format_tokens
from dpin.cli.keys import named_key
from dpin.cli.options import show
from dpin.cli.passphrase import ask
from dpin.ledger.transactions import (
    TRANSACTION_BYTES_MAX,
    TRANSACTION_TAG,
    Credit,
    SignedTransaction,
    Transaction,
    Transfer,
    transaction_id,
)
from dpin.node.keyfile import decode_key
from dpin.node.till import check_payees

UNSIGNED: Final = "dpin transaction 1: to be signed"
SIGNED: Final = "dpin transaction 1: signed"
_CHARS_MAX: Final = 3 * TRANSACTION_BYTES_MAX


def write_paper(head: str, data: bytes, out: Path | None) -> None:
    """Print a transaction, or write it to a new file."""
    if out is None:
        show(_paper(head, data))
    write_paper_quietly(head, data, out)


def _paper(head: str, data: bytes) -> str:
    return f"{head}\n{data.hex()}"


def write_paper_quietly(head: str, data: bytes, out: Path | None) -> None:
    """Write a transaction to a new file, if one is named."""
    if out is None:
        return
    try:
        with out.open("x", encoding="ascii") as file:
            file.write(f"{_paper(head, data)}\n")
    except OSError as problem:
        raise Misuse(f"{out}: {problem.strerror}", fix="name a new file") from None


def check_new_paper(out: Path | None) -> None:
    """Raises Misuse where the file to be written is there already."""
    if out is not None and out.exists():
        raise Misuse(f"{out}: File exists", fix="name a new file")


def read_paper(path: Path, head: str) -> bytes:
    """The bytes of a transaction in a file; raises Misuse for any other file."""
    try:
        with path.open(encoding="ascii") as file:
            first, _, code = file.read(_CHARS_MAX).strip().partition("\n")
    except OSError as problem:
        raise unreadable(path, problem) from None
    except UnicodeDecodeError:
        first, code = "", ""
    if first.strip() != head:
        raise Misuse(
            f"{path} does not begin with {head!r}", fix="dpin wallet prepare, sign, submit"
        )
    try:
        return bytes.fromhex(code)
    except ValueError:
        raise Misuse(
            f"{path} is cut short, or was changed", fix="copy it again, or write it again"
        ) from None


def unsigned(data: bytes) -> Transaction:
    """What is to be signed; raises Misuse."""
    try:
        transaction = decode(Transaction, data, TRANSACTION_BYTES_MAX)
    except PeerFault as fault:
        raise Misuse(f"this is no transaction: {fault}", fix="dpin wallet prepare") from None
    check_payees(transaction)
    return transaction


def transaction_text(transaction: Transaction) -> str:
    """All that a signature would consent to."""
    lines = [
        f"network   {transaction.chain.hex()}",
        f"account   {transaction.sender.hex()}, transaction {transaction.sequence}",
        f"fee       at most {format_tokens(transaction.max_fee)}",
        f"until     epoch {transaction.valid_until_epoch}",
    ]
    for operation in transaction.operations:
        if isinstance(operation, Transfer | Credit):
            what = "credit to" if isinstance(operation, Credit) else "to"
            memo = operation.memo.decode(errors="replace")
            words = f"{format_tokens(operation.amount)} {what} {operation.to.hex()} {memo!r}"
            lines.append(f"pays      {words}")
        else:
            lines.append(f"and does  {operation}")
    return "\n".join(lines)


def signed_by(path: Path, transaction: Transaction) -> bytes:
    """The transaction with the signature of a key file; raises Misuse for another account's."""
    text = named_key(path)
    key = SigningKey(decode_key(text, lambda: ask(str(path))))
    if key.node_id != transaction.sender:
        raise Misuse(
            f"{path} is the key of {key.node_id.hex()}, not of the account that pays",
            fix="dpin wallet account FILE prints whose key a file is",
        )
    signature = key.sign(TRANSACTION_TAG, transaction.chain, transaction_id(transaction))
    return encode(SignedTransaction(transaction, signature))

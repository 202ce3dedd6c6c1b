"""What an audit of a ledger has to say, to people and to programs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Final

import msgspec

from dpin.base.codec import decode
from dpin.base.errors import NotFound, PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import format_tokens
from dpin.cli.archives import Run
from dpin.cli.link import show_values
from dpin.cli.options import show, table, whole_id
from dpin.ledger.archive import Summary, differing
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.order import Receipt
from dpin.ledger.reexecution import Difference, Reexecution, Step
from dpin.ledger.transactions import SignedTransaction, transaction_id
from dpin.node.till import account_id

_SHOWN: Final = 16  # hexadecimal digits of an id in a table


def finished(run: Run) -> Summary:
    """What a ledger came to; raises Difference for one that is not as it tells."""
    for _ in run.steps():
        pass
    return run.finish()


def check_chain(again: Reexecution, chain: str) -> None:
    """Raises Difference for a ledger of another network than this one, Misuse for none."""
    found = again.executor.chain.hex()
    if chain and found != whole_id(chain.strip(), "64 hex digits: dpin net show"):
        raise Difference(f"this is the ledger of another network: {found}")


def summary_values(summary: Summary) -> dict[str, object]:
    """A summary as JSON has it: digests in hex."""
    return {name: _value(value) for name, value in asdict(summary).items()}


def summary_text(summary: Summary) -> str:
    """A summary as people read it."""
    certified = f"up to commit {summary.certified}" if summary.certified else "nothing yet"
    rows = [
        ("network", f"{summary.network}  epoch {summary.epoch}"),
        ("chain", summary.chain.hex()),
        ("height", f"{summary.height}  {summary.commit.hex()}"),
        ("blocks", f"{summary.blocks} with {summary.transactions} transactions"),
        ("receipts", f"{summary.receipts}  {summary.log_root.hex()}"),
        ("state", f"{summary.root_height}:{summary.state_root.hex()}"),
        ("certified", f"{certified} by more than two thirds of the validators"),
        ("accounts", f"{summary.accounts} and all pools hold {format_tokens(summary.supply)}"),
    ]
    return _rows(rows)


def show_summary(run: Run, *, json: bool) -> None:
    """What it came to."""
    summary = finished(run)
    if json:
        show_values("ledger", summary_values(summary))
    else:
        show(summary_text(summary))


def show_checkpoints(run: Run, *, json: bool) -> None:
    """Every checkpoint, oldest first."""
    found = [step.applied.checkpoint for step in run.steps()]
    points = [point for point in found if point is not None]
    if json:
        show_values("checkpoints", {"checkpoints": [_plain(point) for point in points]})
        return
    heads = ("CHECKPOINT", "EPOCH", "HEIGHT", "COMMIT", "STATE ROOT", "CLOSES")
    show(table(heads, [_checkpoint_row(point) for point in points]))


def _checkpoint_row(point: Checkpoint) -> tuple[str, ...]:
    numbers = (str(point.sequence), str(point.epoch), str(point.height))
    closes = "epoch" if any(point.next_committee) else ""
    return (*numbers, point.commit.hex()[:_SHOWN], point.state_root.hex(), closes)


def show_commit(run: Run, height: int, *, json: bool) -> None:
    """One commit; raises NotFound."""
    step = next((step for step in run.steps() if step.commit.height == height), None)
    if step is None:
        raise NotFound(f"there is no commit {height}", fix=f"a number from 1 to {run.again.height}")
    if json:
        show_values("commit", _commit_values(step))
        return
    commit, told = step.commit, step.told
    rows = [
        ("commit", f"{height}  {commit.digest.hex()}"),
        ("leader", f"member {commit.leader} of epoch {commit.epoch}, round {commit.leader_round}"),
        ("time", f"{commit.timestamp_ms} ms"),
        ("blocks", f"{len(commit.blocks)} with {len(commit.transactions)} transactions"),
        ("receipts", f"{told.receipts}  {told.log_root.hex()}"),
        ("state", step.applied.state_root.hex() if step.applied.state_root else "no root here"),
    ]
    receipts = [(one.subject.hex(), one.detail) for one in step.applied.receipts]
    show(_rows([*rows, *receipts]))


def _commit_values(step: Step) -> dict[str, object]:
    commit = step.commit
    return {
        **{name: _value(value) for name, value in msgspec.structs.asdict(step.told).items()},
        "leader": commit.leader,
        "leader_round": commit.leader_round,
        "blocks": [{"author": one.author, "round": one.round} for one in commit.blocks],
        "transactions": [_transaction_values(one) for one in commit.transactions],
        "receipts_of_it": [_plain(one) for one in step.applied.receipts],
    }


def show_transaction(run: Run, identity: str, *, json: bool) -> None:
    """One transaction, by the beginning of its id; raises NotFound."""
    wanted = identity.lower()
    for step, data, name in _transactions(run):
        if not name.startswith(wanted):
            continue
        receipt = _receipt_of(step, name)
        if receipt is None:
            continue  # This time it could not be applied.
        values = {"receipt": _plain(receipt), **_transaction_values(data)}
        if json:
            show_values("transaction", values)
        else:
            show(_transaction_text(values, receipt))
        return
    raise NotFound(
        f"no commit has applied a transaction {identity}",
        fix="name it by its 64 hex digits: dpin wallet history --json",
    )


def _transactions(run: Run) -> Iterator[tuple[Step, bytes, str]]:
    for step in run.steps():
        for data in step.commit.transactions:
            signed = _signed(data)
            if signed is not None:
                yield step, data, transaction_id(signed.transaction).hex()


def _receipt_of(step: Step, name: str) -> Receipt | None:
    subject = bytes.fromhex(name)
    return next((one for one in step.applied.receipts if one.subject == subject), None)


def _transaction_text(values: Mapping[str, object], receipt: Receipt) -> str:
    rows = [("transaction", str(values["id"])), ("commit", str(receipt.height))]
    rows += [("result", receipt.detail), ("sender", str(values["sender"]))]
    rows += [(name, str(values[name])) for name in ("sequence", "valid_until_epoch", "max_fee")]
    operations = values["operations"]
    assert isinstance(operations, list), "they were listed above"
    rows += [("operation", ", ".join(_words(one))) for one in operations]
    return _rows(rows)


def _words(operation: Mapping[str, object]) -> Iterator[str]:
    """What an operation says, its kind first."""
    for name, value in operation.items():
        yield str(value) if name == "operation" else f"{name} {value}"


def show_account(run: Run, text: str, *, json: bool) -> None:
    """One account as of the last commit; raises NotFound."""
    node = account_id(text)
    finished(run)
    account = run.again.executor.state.accounts.get(NodeId(node))
    if account is None:
        raise NotFound(f"no account {text} at commit {run.again.height}")
    money = {
        "free": account.free,
        "stake": account.stake,
        "locked": account.locked,
        "credit": account.credit,
    }
    if json:
        values = {"account": text, "height": run.again.height, **money}
        show_values("account", {**values, "sequence": account.sequence_high})
        return
    rows = [(name, format_tokens(amount)) for name, amount in money.items()]
    show(_rows([("account", text), ("height", str(run.again.height)), *rows]))


@dataclass(frozen=True, slots=True)
class Compared:
    """Two ledgers that are one: up to which commit, and which of them goes on for how long."""

    height: int
    ahead: int  # commits that A has more; less than 0: that B has more


def compare(one: Run, other: Run) -> Compared:
    """How far two ledgers are the same; raises Difference that names the first that is not."""
    ours, theirs = one.again.executor.chain, other.again.executor.chain
    if ours != theirs:
        raise Difference(f"they are of two networks: {ours.hex()} and {theirs.hex()}")
    same = ahead = 0
    for left, right in zip_longest(one.steps(), other.steps()):
        if left is None or right is None:
            ahead += 1 if right is None else -1
        elif left.told != right.told:
            raise Difference(_first_difference(left, right))
        else:
            same = left.told.height
    one.finish()
    other.finish()
    return Compared(same, ahead)


def _first_difference(left: Step, right: Step) -> str:
    """What is not the same in the first commit that is not."""
    words = differing(left.told, right.told, ("by A", "by B"))
    pairs = zip_longest(left.applied.receipts, right.applied.receipts)
    for mine, yours in pairs:
        if mine != yours:
            return f"commit {left.told.height}: {words}; receipts {_said(mine)} and {_said(yours)}"
    return f"commit {left.told.height}: {words}"


def _said(receipt: Receipt | None) -> str:
    return "none" if receipt is None else f"{receipt.subject.hex()[:_SHOWN]} {receipt.detail}"


def compared_text(compared: Compared, one: str, other: str) -> str:
    """The same, for people."""
    if compared.ahead == 0:
        return f"the same up to commit {compared.height}, the last of both"
    longer = one if compared.ahead > 0 else other
    return (
        f"the same up to commit {compared.height}; {longer} goes on for {abs(compared.ahead)} more"
    )


# --- values --------------------------------------------------------------------------------------


def _signed(data: bytes) -> SignedTransaction | None:
    try:
        return decode(SignedTransaction, data)
    except PeerFault:
        return None


def _transaction_values(data: bytes) -> dict[str, object]:
    signed = _signed(data)
    if signed is None:
        return {"id": None, "bytes": len(data)}
    transaction = signed.transaction
    return {
        "id": transaction_id(transaction).hex(),
        "bytes": len(data),
        "sender": transaction.sender.hex(),
        "sequence": transaction.sequence,
        "valid_until_epoch": transaction.valid_until_epoch,
        "max_fee": transaction.max_fee,
        "operations": [
            {"operation": type(one).__name__.lower(), **_fields(one)}
            for one in transaction.operations
        ],
    }


def _fields(struct: msgspec.Struct) -> dict[str, object]:
    return {name: _value(value) for name, value in msgspec.structs.asdict(struct).items()}


def _plain(struct: msgspec.Struct) -> dict[str, object]:
    return _fields(struct)


def _value(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, msgspec.Struct):
        return _fields(value)
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    return value


def _rows(rows: "list[tuple[str, str]]") -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

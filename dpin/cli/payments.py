"""Payments as they are typed, or listed in a file."""

import csv
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from dpin.base.errors import Misuse, unreadable
from dpin.base.units import format_tokens, parse_tokens
from dpin.cli.link import show_values, show_view
from dpin.cli.options import say, show
from dpin.cli.pictures import movement_text
from dpin.client.client import Client
from dpin.ledger.transactions import OPERATIONS_MAX
from dpin.ledger.wages import CHECK, WORK
from dpin.node.control import PayRequest, TransferRequest
from dpin.node.status import MovementView, TransferView
from dpin.node.till import payee, sum_of

BATCH_BYTES_MAX: Final = 1 << 20
POLL_SECONDS: Final = 0.5
FOLLOWED_MAX: Final = 1_000  # movements between two looks
DAY_MS: Final = 86_400_000
_BATCH_FIX: Final = "name a text file of NODE,TOKENS[,MEMO]"
_PAIR: Final = 2
_FIELDS: Final = (2, 3)


def payments_of(words: Sequence[str], memo: str) -> list[TransferRequest]:
    """NODE TOKENS NODE TOKENS ... as payments; raises Misuse."""
    if not words or len(words) % _PAIR:
        raise Misuse(
            "every payment is a node and an amount",
            fix="dpin wallet send NODE 1.5 NODE 2, or: dpin wallet send --batch FILE",
        )
    pairs = zip(words[::_PAIR], words[1::_PAIR], strict=True)
    return [_payment(to, amount, memo) for to, amount in pairs]


def read_batch(path: Path, words: Sequence[str], memo: str) -> list[TransferRequest]:
    """Payments from lines of NODE,TOKENS[,MEMO]; raises Misuse that names the line."""
    if words or memo:
        raise Misuse("a batch is a file alone", fix="put all payments into it, and their memos")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(BATCH_BYTES_MAX + 1)
    except OSError as problem:
        raise unreadable(path, problem, fix=_BATCH_FIX) from None
    except UnicodeDecodeError as problem:
        raise Misuse(f"{path}: {problem}", fix=_BATCH_FIX) from None
    if len(text) > BATCH_BYTES_MAX:
        raise Misuse(f"{path} has more than {BATCH_BYTES_MAX} characters", fix="cut it in two")
    payments = [
        _read(row, f"{path}, line {number}")
        for number, row in enumerate(csv.reader(text.splitlines()), start=1)
        if row and not row[0].startswith("#")
    ]
    if not payments:
        raise Misuse(f"{path} has no payments", fix="write lines of NODE,TOKENS[,MEMO]")
    return payments


def _read(row: Sequence[str], place: str) -> TransferRequest:
    if len(row) not in _FIELDS:
        raise Misuse(f"{place}: {len(row)} fields", fix="NODE,TOKENS[,MEMO]")
    try:
        return _payment(*(field.strip() for field in row))
    except Misuse as problem:
        raise Misuse(f"{place}: {problem}", fix=problem.fix) from None


def _payment(to: str, amount: str, memo: str = "") -> TransferRequest:
    """Read here too, so that a wrong line is found before the first payment is made."""
    payee(to)
    sum_of(amount)
    return TransferRequest(to=to, amount=amount, memo=memo)


def pay(node: Client, payments: list[TransferRequest], *, credit: bool, json: bool) -> None:
    """Have them made, 16 at a time, and say so after each time; as JSON at the end, all at once."""
    views: list[TransferView] = []
    try:
        for start in range(0, len(payments), OPERATIONS_MAX):
            portion = payments[start : start + OPERATIONS_MAX]
            views.append(node.pay(PayRequest(payments=portion, credit=credit)))
            if not json:
                _say_paid(views[-1], portion, credit=credit)
    finally:
        if json and len(payments) > OPERATIONS_MAX:
            show_values("transfers", {"transfers": views})
        elif json and views:
            show_view("transfer", views[0])


def _say_paid(view: TransferView, portion: list[TransferRequest], *, credit: bool) -> None:
    what = " of credit" if credit else ""
    whom = f" in {len(portion)} payments" if portion[1:] else ""
    amount = format_tokens(sum(parse_tokens(one.amount) for one in portion))
    say(f"sent {amount}{what}{whom} in commit {view.height}: {view.detail}")
    say(f"{format_tokens(view.free)} left")


def moved(node: Client, before: int, count: int, *, every: bool) -> list[MovementView]:
    """The newest movements older than `before` that changed something, or all; newest first."""
    found: list[MovementView] = []
    while len(found) < count:
        page = node.history(before=before, count=FOLLOWED_MAX)
        found += [one for one in page if every or one.change or one.detail != "ok"]
        if len(page) < FOLLOWED_MAX:
            break
        before = page[-1].number
    return found[:count]


def earned(node: Client, since_ms: int) -> tuple[int, int]:
    """What work and checks have brought since then, less what was lost by them; and since when.

    A node remembers so many movements: one that does much may have forgotten some of that time.
    """
    found, before, oldest_ms = 0, 0, since_ms
    while page := node.history(before=before, count=FOLLOWED_MAX):
        recent = [one for one in page if one.time_ms >= since_ms]
        found += sum(one.change for one in recent if one.what in {WORK, CHECK})
        if len(recent) < len(page) or page[-1].number == 1:
            return found, since_ms
        before, oldest_ms = page[-1].number, page[-1].time_ms
    return found, oldest_ms


def follow(node: Client, *, json: bool) -> None:
    """Print every new movement of the node's account, until Ctrl-C: that is how it ends well."""
    last = max((one.number for one in node.history(count=1)), default=0)
    if not json:
        say(f"{format_tokens(node.node().money.free)} free; what changes is shown, until Ctrl-C")
    with suppress(KeyboardInterrupt):
        while True:
            for movement in reversed(node.history(after=last, count=FOLLOWED_MAX)):
                last = movement.number
                line = msgspec.json.encode(movement).decode()
                show(line if json else movement_text(movement))
            time.sleep(POLL_SECONDS)

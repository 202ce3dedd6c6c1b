"""A bank's books against what its customers saw: payments, acknowledgements, balances read.

`Books` are what one node's log says, executed again. `faults` is pure: it looks for money made or
lost, an acknowledged payment that is missing or stands elsewhere, one that was made twice, one that
nobody asked for, an order that contradicts the clock on the wall, and a balance that never was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One transaction that was applied."""

    height: int
    sender: str
    sequence: int
    receiver: str
    amount: int
    memo: str
    done: bool  # or refused, which moves nothing


@dataclass(frozen=True)
class Payment:
    """What a customer asked for. `memo` is its own; times are seconds by one clock."""

    memo: str
    sender: str
    receiver: str
    amount: int
    begun: float
    ended: float | None = None  # None: it never heard
    height: int | None = None  # as acknowledged


@dataclass(frozen=True)
class Look:
    """A balance that a customer read at its own node, and the commit that it was of."""

    account: str
    at: float  # when it asked
    height: int
    free: int


@dataclass
class History:
    """What the customers saw, and what each node's log says."""

    opening: Mapping[str, int]  # balances before the first payment
    payments: list[Payment] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    books: dict[str, Sequence[Entry]] = field(default_factory=dict)  # by node
    closing: dict[str, Mapping[str, int]] = field(default_factory=dict)  # balances, by node

    @property
    def longest(self) -> Sequence[Entry]:
        """The log that goes furthest."""
        return max(self.books.values(), key=len, default=())


def faults(history: History) -> list[str]:
    """Everything that is wrong; nothing, if all is well."""
    return [
        *_disagreements(history),
        *_numbers(history),
        *_payments(history),
        *_order(history),
        *_balances(history),
    ]


def _disagreements(history: History) -> Iterator[str]:
    longest = list(history.longest)
    for node, entries in sorted(history.books.items()):
        if list(entries) != longest[: len(entries)]:
            yield f"the log of {node} is another one"


def _numbers(history: History) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for entry in history.longest:
        if (entry.sender, entry.sequence) in seen:
            yield f"{entry.sender} used number {entry.sequence} twice"
        seen.add((entry.sender, entry.sequence))


def _payments(history: History) -> Iterator[str]:
    asked = {payment.memo: payment for payment in history.payments}
    made: dict[str, Entry] = {}
    for entry in history.longest:
        payment = asked.get(entry.memo)
        if not entry.done:
            continue
        if entry.memo in made:
            yield f"payment {entry.memo} was made twice"
        made[entry.memo] = entry
        wanted = payment and (payment.sender, payment.receiver, payment.amount)
        if wanted != (entry.sender, entry.receiver, entry.amount):
            yield f"nobody asked for payment {entry.memo} as it was made"
    for payment in history.payments:
        found = made.get(payment.memo)
        if payment.height is not None and found is None:
            yield f"payment {payment.memo} was acknowledged and is lost"
        elif found is not None and payment.height not in {None, found.height}:
            yield f"payment {payment.memo} stands in commit {found.height}, not {payment.height}"


def _order(history: History) -> Iterator[str]:
    """Whoever asks after an acknowledgement comes after it."""
    made = {entry.memo: place for place, entry in enumerate(history.longest) if entry.done}
    known = [one for one in history.payments if one.ended is not None and one.memo in made]
    ended = sorted(known, key=lambda one: one.ended or 0.0)
    latest = -1
    name = ""
    waiting = iter(ended)
    following = next(waiting, None)
    for payment in sorted((it for it in history.payments if it.memo in made), key=_begun):
        while following is not None and (following.ended or 0.0) < payment.begun:
            if made[following.memo] > latest:
                latest, name = made[following.memo], following.memo
            following = next(waiting, None)
        if made[payment.memo] < latest:
            yield f"payment {payment.memo} was asked after {name} was acknowledged, and precedes it"


def _begun(payment: Payment) -> float:
    return payment.begun


def _balances(history: History) -> Iterator[str]:
    now = dict(history.opening)
    after = {account: [(0, free)] for account, free in now.items()}  # height and balance
    for entry in history.longest:
        if not entry.done:
            continue
        for account, change in ((entry.sender, -entry.amount), (entry.receiver, entry.amount)):
            now[account] = now.get(account, 0) + change
            after.setdefault(account, [(0, 0)]).append((entry.height, now[account]))
        if now[entry.sender] < 0:
            yield f"{entry.sender} spent what it did not have, in payment {entry.memo}"
    for node, balances in sorted(history.closing.items()):
        if dict(balances) != now:
            yield f"the balances at {node} are not what its log leads to"
        if sum(balances.values()) != sum(history.opening.values()):
            yield f"money was made or lost at {node}"
    yield from _looks(history, after)


def _looks(history: History, after: Mapping[str, Sequence[tuple[int, int]]]) -> Iterator[str]:
    for look in history.looks:
        free = [free for height, free in after[look.account] if height <= look.height][-1]
        if look.free != free:
            yield f"{look.account} read {look.free} at commit {look.height}, where it had {free}"
        heard = [
            payment.height or 0
            for payment in history.payments
            if payment.sender == look.account and (payment.ended or look.at) < look.at
        ]
        if max(heard, default=0) > look.height:
            yield f"{look.account} read what was before its own acknowledged payment"

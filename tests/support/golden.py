"""A log of 100,000 transactions, drawn from a seed, and the roots to which it leads.

The roots are in the repository (`tests/ledger/golden.txt`): a change of any rule, codec or root
shows there. `python -m scripts.golden --write` writes them anew, for a change that is meant.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens
from dpin.ledger.params import DEVELOPMENT, Params
from dpin.ledger.transactions import (
    Credit,
    Operation,
    Stake,
    Terms,
    Transfer,
    Unstake,
    sign,
)
from tests.support.ledgers import JOB, Ledger, registration

FILE: Final = Path(__file__).parents[1] / "ledger" / "golden.txt"
TRANSACTIONS: Final = 100_000
PER_COMMIT: Final = 50
COMMIT_MS: Final = 100
PEOPLE: Final = 300  # beside the founders
FOUNDERS: Final = ("ann", "bob", "cat", "dan")
RULES: Final[Params] = msgspec.structs.replace(
    DEVELOPMENT,
    fee_base=MicroTokens(100),
    fee_byte=MicroTokens(1),
    fee_operation=MicroTokens(50),
)
GENEROUS: Final = MicroTokens(10**9)  # what everybody offers for a transaction


@dataclass(frozen=True)
class Roots:
    """What a log leads to."""

    transactions: int
    receipts: int  # leaves of the receipts log
    log_root: str
    state_root: str
    epochs: int

    @property
    def text(self) -> str:
        """As it stands in the file."""
        names = self.__dataclass_fields__
        return "".join(f"{name} {getattr(self, name)}\n" for name in names)


class Writer:
    """Draws transactions; now and then one that cannot be applied."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._chance = Chance(b"golden")
        keys = [digest("test/golden", number.to_bytes(4)) for number in range(PEOPLE)]
        self._keys = [*ledger.keys.values(), *(SigningKey(key) for key in keys)]
        self._sequences = dict.fromkeys((key.node_id for key in self._keys), 0)
        self._old: list[bytes] = []

    def gift(self, number: int) -> bytes:
        """A founder gives something to start with to one of the people."""
        receiver = self._keys[len(FOUNDERS) + number].node_id
        amount = MicroTokens(20_000_000)
        return self._signed(self._keys[number % len(FOUNDERS)], (Transfer(receiver, amount, b""),))

    def next(self) -> bytes:
        """One more transaction."""
        [key] = self._chance.chosen(self._keys, 1)
        kind = self._chance.below(100)
        if kind == 0 and self._old:
            return self._chance.chosen(self._old, 1)[0]
        count = 1 if kind < 95 else 2 + self._chance.below(15)
        data = self._signed(key, tuple(self._operation() for _ in range(count)))
        if kind == 1:
            return data[:-1] + bytes([data[-1] ^ 1])
        if self._chance.below(50) == 0:
            self._old.append(data)
        return data

    def _signed(self, key: SigningKey, operations: tuple[Operation, ...]) -> bytes:
        self._sequences[key.node_id] += 1
        terms = Terms(self._ledger.state.epoch + 2, GENEROUS)
        number = self._sequences[key.node_id]
        return encode(sign(key, self._ledger.executor.chain, number, operations, terms))

    def _operation(self) -> Operation:
        kind = self._chance.below(100)
        amount = MicroTokens(1 + self._chance.below(2_000_000))
        if kind < 75:
            return Transfer(self._somebody(), amount, b"golden"[: self._chance.below(7)])
        if kind < 85:
            return Stake(amount)
        if kind < 91:
            return Unstake(amount)
        if kind < 97:
            return Credit(self._somebody(), amount, b"")
        if kind < 99:
            return registration(provides=bool(self._chance.below(2)))
        return msgspec.structs.replace(JOB, rounds=1 + self._chance.below(3))

    def _somebody(self) -> NodeId:
        return self._chance.chosen(self._keys, 1)[0].node_id


def play(transactions: int = TRANSACTIONS) -> Roots:
    """Draw, sign and execute so many transactions: a multiple of 500, so that there is a root."""
    ledger = Ledger(*FOUNDERS, params=RULES)
    writer = Writer(ledger)
    for first in range(0, transactions, PER_COMMIT):
        numbers = range(first, first + PER_COMMIT)
        batch = [writer.gift(number) if number < PEOPLE else writer.next() for number in numbers]
        ledger.commit(*batch, after_ms=COMMIT_MS)
    root = ledger.applied[-1].state_root
    assert root is not None, "a checkpoint every ten commits"
    receipts = ledger.executor.receipts
    return Roots(transactions, len(receipts), receipts.root.hex(), root.hex(), ledger.state.epoch)

"""Quantities as integers, so that every node computes the same number."""

from decimal import Decimal, InvalidOperation
from typing import Final, NewType

from dpin.base.errors import Misuse

Micros = NewType("Micros", int)  # a length of time, in microseconds
Instant = NewType("Instant", int)  # microseconds since the Unix epoch
LedgerMillis = NewType("LedgerMillis", int)  # agreed ledger time, in milliseconds
Tick = NewType("Tick", int)  # agreed ledger time, in ticks of Params.tick_ms
MicroTokens = NewType("MicroTokens", int)  # 10^-6 token
Ppm = NewType("Ppm", int)  # parts per million
Bytes = NewType("Bytes", int)

NEVER: Final = Instant(2**63 - 1)
MICROS_PER_SECOND: Final = 1_000_000
MICROS_PER_MILLI: Final = 1_000
TOKEN: Final = MicroTokens(1_000_000)
MILLION: Final = 1_000_000


def after(now: Instant, wait: Micros) -> Instant:
    """The instant that lies `wait` after `now`."""
    return Instant(now + wait)


def seconds(value: float) -> Micros:
    """A length of time given in seconds."""
    return Micros(round(value * MICROS_PER_SECOND))


def ceil_div(dividend: int, divisor: int) -> int:
    """Division rounded up: what is charged. Plain `//` rounds down: what is paid."""
    return -(-dividend // divisor)


def parse_tokens(text: str) -> MicroTokens:
    """Read an amount such as "1.50"; raises Misuse where it is no amount of whole micro-tokens."""
    try:
        amount = Decimal(text) * TOKEN
    except InvalidOperation:
        raise Misuse(f"{text!r} is not an amount of tokens") from None
    if not amount.is_finite() or amount < 0 or amount != int(amount):
        raise Misuse(f"{text!r} is not an amount of tokens with at most six decimals")
    return MicroTokens(int(amount))


def format_tokens(amount: int) -> str:
    """An amount for people: no trailing zeros, never an exponent."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, part = divmod(amount, TOKEN)
    fraction = f".{part:06d}".rstrip("0").rstrip(".")
    return f"{sign}{whole:,}{fraction}"

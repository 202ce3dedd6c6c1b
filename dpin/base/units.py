"""Quantities as integers, so that every node computes the same number."""

import re
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
TOKENS_MAX: Final = MicroTokens(2**63 - 1)
MILLION: Final = 1_000_000

_DECIMALS: Final = 6
# At most 20 digits: the amount is compared after it is read, so reading must stay cheap.
_AMOUNT: Final = re.compile(r"([0-9]{1,20}|[0-9]{1,3}(?:,[0-9]{3}){1,6})(?:\.([0-9]{1,6}))?")

_AMOUNT_FIX: Final = "write digits, such as 12 or 0.25"


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
    """Read an amount such as "1,200.50"; raises Misuse for all but digits and six decimals."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        said = f"{text[:40]!r} is not an amount of tokens with at most six decimals"
        raise Misuse(said, fix=_AMOUNT_FIX)
    whole, part = found[1].replace(",", ""), found[2] or ""
    amount = int(whole) * TOKEN + int(part.ljust(_DECIMALS, "0"))
    if amount > TOKENS_MAX:
        said = f"{text[:40]!r} is not an amount of tokens: there are not that many"
        raise Misuse(said, fix=_AMOUNT_FIX)
    return MicroTokens(amount)


def format_tokens(amount: int) -> str:
    """An amount for people: no trailing zeros, never an exponent."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, part = divmod(amount, TOKEN)
    fraction = f".{part:06d}".rstrip("0").rstrip(".")
    return f"{sign}{whole:,}{fraction}"


def format_millionths(amount: int, digits: int) -> str:
    """A number given in millionths, cut to `digits` decimals: 2345678 and 3 give "2.345"."""
    whole, part = divmod(amount, MILLION)
    return f"{whole}.{part:06d}"[: len(str(whole)) + 1 + digits]

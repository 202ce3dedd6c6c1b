"""Reading what people write: quantities with units, and names with a hint when they are wrong."""

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Final

from dpin.base.errors import Misuse
from dpin.base.units import MICROS_PER_SECOND, MILLION, Bytes, Micros, Ppm

NUMBER_CHARS_MAX: Final = 32
SIZE_MAX: Final = 1 << 50
SECONDS_MAX: Final = 366 * 86_400

_SIZES: Final = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_RATES: Final = {"kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}  # bits a second
_TIMES: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_QUANTITY: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]+)")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean "x"?` for the nearest known name, else all that are known."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known: {', '.join(names)}"


def parse_size(text: str) -> Bytes:
    """Read "12GB" or "512MiB"; raises Misuse without a unit, so that no number is mistaken."""
    value, unit = _quantity(text, "a size", "12GB")
    if unit.upper() not in _SIZES:
        raise Misuse(f"{unit!r} is not a unit of size", fix="use B, kB, MB, GB, TB, MiB or GiB")
    size = int(value * _SIZES[unit.upper()])
    if size > SIZE_MAX:
        raise Misuse(f"{text!r} is more than anybody has", fix="name a smaller size")
    return Bytes(size)


def parse_link(text: str) -> Bytes:
    """A rate, or 0 for `auto`: as it is measured; raises Misuse."""
    return Bytes(0) if text == "auto" else parse_rate(text)


def parse_rate(text: str) -> Bytes:
    """Read "20Mbit" or "1Gbit" a second as bytes a second; raises Misuse without a unit."""
    value, unit = _quantity(text, "a rate", "20Mbit")
    if unit not in _RATES:
        raise Misuse(f"{unit!r} is not a unit of rate", fix="use kbit, Mbit or Gbit (a second)")
    rate = int(value * _RATES[unit]) // 8
    if not 0 < rate <= SIZE_MAX:
        raise Misuse(f"{text!r} is no rate of a link", fix="name one such as 20Mbit")
    return Bytes(rate)


def parse_time(text: str) -> Micros:
    """Read "90s", "30m", "2h" or "1d"; raises Misuse without a unit."""
    value, unit = _quantity(text, "a time", "2h")
    if unit not in _TIMES:
        raise Misuse(f"{unit!r} is not a unit of time", fix="use s, m, h or d, as in 2h")
    length = value * _TIMES[unit]
    if length > SECONDS_MAX:
        raise Misuse(f"{text!r} is more than a year", fix="name a shorter time")
    return Micros(int(length * MICROS_PER_SECOND))


def parse_ppm(value: str | float, name: str) -> Ppm:
    """Read 0.05, "2e-4" or "5%" as parts per million; raises Misuse for anything finer."""
    text = str(value).strip()
    percent = text.endswith("%")
    try:
        number = Decimal(text.removesuffix("%") if len(text) <= NUMBER_CHARS_MAX else "none")
    except InvalidOperation:
        raise Misuse(f"{name} is {text[:NUMBER_CHARS_MAX]!r}, not a number") from None
    if not number.is_finite() or abs(number.adjusted()) > NUMBER_CHARS_MAX:
        raise Misuse(f"{name} is {text!r}, not a number that can be used")
    parts = number * MILLION / (100 if percent else 1)
    if parts != int(parts):
        raise Misuse(f"{name} is {text!r}, finer than a millionth", fix="round it to 0.000001")
    return Ppm(int(parts))


def _quantity(text: str, what: str, example: str) -> tuple[Decimal, str]:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise Misuse(f"{text[:40]!r} is not {what}", fix=f"write a number and a unit, as {example}")
    return Decimal(found[1]), found[2]

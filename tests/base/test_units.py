"""Quantities: exact, and the same typed and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import Misuse
from dpin.base.units import (
    TOKEN,
    TOKENS_MAX,
    Instant,
    Micros,
    MicroTokens,
    after,
    ceil_div,
    format_tokens,
    parse_tokens,
    seconds,
)


@given(st.integers(0, TOKENS_MAX))
def test_an_amount_shown_can_be_typed_again(amount: int) -> None:
    assert parse_tokens(format_tokens(amount)) == amount


@given(st.integers(-(10**24), -1))
def test_a_debt_is_shown_as_the_amount_with_a_minus(amount: int) -> None:
    assert format_tokens(amount) == "-" + format_tokens(-amount)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("1", TOKEN),
        ("1.50", 1_500_000),
        ("0.000001", 1),
        (" 12 ", 12 * TOKEN),
        ("1,234.5", 1_234_500_000),
        ("1234.5", 1_234_500_000),
        ("9223372036854.775807", TOKENS_MAX),
    ],
)
def test_amounts_are_read_exactly(text: str, amount: int) -> None:
    assert parse_tokens(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "many",
        "-1",
        "+1",
        "1e6",
        "1e999999999",
        "nan",
        "inf",
        "0.0000001",
        "1.",
        ".5",
        "1_000",
        "12,34",
        "1,2345",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "9223372036854.775808",
        "9" * 5000,
        "1." + "0" * 5000,
    ],
)
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(Misuse, match="is not an amount of tokens"):
        parse_tokens(text)


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        amount = parse_tokens(text)
    except Misuse:
        return
    assert 0 <= amount <= TOKENS_MAX


def test_amounts_are_shown_without_trailing_zeros_or_exponents() -> None:
    assert format_tokens(MicroTokens(1_234_500_000)) == "1,234.5"
    assert format_tokens(MicroTokens(1)) == "0.000001"
    assert format_tokens(MicroTokens(10 * TOKEN)) == "10"


@given(st.integers(0, 10**30), st.integers(1, 10**15))
def test_what_is_charged_is_rounded_up(dividend: int, divisor: int) -> None:
    assert (ceil_div(dividend, divisor) - 1) * divisor < dividend
    assert ceil_div(dividend, divisor) * divisor >= dividend


def test_lengths_of_time_are_whole_microseconds() -> None:
    assert seconds(0.2) == Micros(200_000)
    assert after(Instant(5), Micros(7)) == Instant(12)

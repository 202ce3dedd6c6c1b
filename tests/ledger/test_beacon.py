"""Hash chains: anchored, revealed from a small table, checked within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.ids import ID_BYTES, NO_DIGEST, Digest, Round
from dpin.ledger.beacon import (
    CHAIN_LENGTH,
    GAP_MAX,
    TABLE_ENTRIES,
    Chain,
    OwnChain,
    reveals,
)

SECRET = bytes(range(32))
LONG = Chain(1 << 13)
TABLE = LONG.build(SECRET)


def test_the_last_reveal_is_the_secret_and_each_leads_to_the_one_before() -> None:
    chain = Chain(64)
    table = chain.build(SECRET)
    assert chain.reveal(table, 64) == SECRET
    for number in range(64):
        known, value = chain.reveal(table, number), chain.reveal(table, number + 1)
        assert reveals(Round(number), known, Round(number + 1), value)


def test_a_table_is_64_kib_at_most() -> None:
    assert len(TABLE) == TABLE_ENTRIES * ID_BYTES == 64 * 1024
    assert CHAIN_LENGTH // TABLE_ENTRIES == 2_048


@given(st.integers(1, 1 << 13))
def test_any_reveal_is_checked_from_the_anchor(number: int) -> None:
    value = LONG.reveal(TABLE, number)
    assert reveals(Round(0), LONG.anchor(TABLE), Round(number), value)
    assert not reveals(Round(0), LONG.anchor(TABLE), Round(number - 1), value)


def test_an_own_chain_gives_the_reveals_of_its_rounds_in_any_order() -> None:
    own = OwnChain(LONG, TABLE, Round(100))
    for number in (0, 1, 5, 4, 8_191, 8_192, 17, 3):
        assert own.at(Round(100 + number)) == LONG.reveal(TABLE, number)
    assert own.at(Round(99)) == own.at(Round(100 + (1 << 13) + 1)) == NO_DIGEST


@pytest.mark.parametrize("value", [b"", b"short", bytes(32), SECRET[::-1]])
def test_a_wrong_reveal_is_refused(value: bytes) -> None:
    assert not reveals(Round(0), LONG.anchor(TABLE), Round(1), Digest(value))


def test_a_gap_too_wide_to_check_is_refused() -> None:
    known = LONG.anchor(TABLE)
    assert not reveals(Round(0), known, Round(GAP_MAX + 1), known)
    assert not reveals(Round(5), known, Round(5), known)
    assert not reveals(Round(5), known, Round(4), known)


def test_building_tells_how_far_it_is() -> None:
    told: list[int] = []
    LONG.build(SECRET, told.append)
    assert told == sorted(told)
    assert told[-1] == LONG.length - LONG.stride

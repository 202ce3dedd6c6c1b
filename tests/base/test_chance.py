"""Dice: pinned, uniform, the same in every process."""

import os
import sys
from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.chance import Chance

# A change of one of these is a change of the protocol: nodes of both kinds would fork.
GOLDEN_WORDS = [
    14296331208974139536,
    13388666973862941006,
    18261657597349752901,
    3750966821441959063,
]
GOLDEN_BELOW_SIX = [4, 1, 4, 1, 0, 5, 0, 1, 3, 5, 0, 4, 0, 2, 0, 2]
GOLDEN_CHOSEN = ["g", "c", "d", "h", "a"]

PRINTED = """
from dpin.base.chance import Chance
dice = Chance(b"seed")
print([dice.below(10**9) for _ in range(50)], dice.chosen(sorted({"a", "b", "c", "d"}), 3))
"""


def test_the_stream_is_the_one_the_protocol_names() -> None:
    dice = Chance(b"golden")
    assert [dice.below(1 << 64) for _ in range(4)] == GOLDEN_WORDS
    assert [dice.below(6) for _ in range(16)] == GOLDEN_BELOW_SIX
    assert dice.chosen("abcdefgh", 5) == GOLDEN_CHOSEN


async def test_the_stream_does_not_depend_on_the_hash_seed_of_the_process() -> None:
    printed: set[bytes] = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", PRINTED]
        ended = await trio.run_process(command, env=environment, capture_stdout=True)
        printed.add(ended.stdout)
    assert len(printed) == 1


@given(st.binary(), st.integers(1, 1 << 64))
def test_every_throw_lies_below_its_limit(seed: bytes, limit: int) -> None:
    assert 0 <= Chance(seed).below(limit) < limit


def test_throws_are_uniform_even_where_the_limit_does_not_divide_the_word() -> None:
    dice = Chance(b"uniform")
    counts = Counter(dice.below(7) for _ in range(7_000))
    # Chi-square with 6 degrees of freedom: 22.5 is passed once in a thousand seeds.
    assert sum((counts[face] - 1_000) ** 2 / 1_000 for face in range(7)) < 22.5


def test_a_limit_just_above_half_a_word_is_unbiased() -> None:
    limit = (1 << 63) + (1 << 62)  # by remainder alone the first third would come twice as often
    dice = Chance(b"half")
    low = sum(dice.below(limit) < limit // 3 for _ in range(3_000))
    assert 900 < low < 1_100


@pytest.mark.parametrize("limit", [0, -1, (1 << 64) + 1])
def test_a_limit_that_no_word_can_serve_is_our_own_mistake(limit: int) -> None:
    with pytest.raises(AssertionError):
        Chance(b"").below(limit)


@given(st.binary(), st.lists(st.integers(), unique=True), st.integers(0, 12))
def test_chosen_items_are_different_and_as_many_as_there_are(
    seed: bytes, items: list[int], count: int
) -> None:
    drawn = Chance(seed).chosen(items, count)
    assert len(drawn) == len(set(drawn)) == min(count, len(items))
    assert set(drawn) <= set(items)


def test_every_item_is_drawn_first_about_as_often() -> None:
    counts = Counter(Chance(n.to_bytes(4)).chosen("abcd", 2)[0] for n in range(2_000))
    assert all(400 < count < 600 for count in counts.values())

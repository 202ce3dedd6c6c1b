"""Dice that everybody can roll again: SHA-256 over a public seed and a counter."""

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")

_WORD_BITS = 64


class Chance:
    """A stream of integers fixed by its seed, the same on every machine and Python."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counter = 0

    def _word(self) -> int:
        block = sha256(b"dpin/chance/v1\0" + self._seed + self._counter.to_bytes(8)).digest()
        self._counter += 1
        return int.from_bytes(block[: _WORD_BITS // 8])

    def below(self, limit: int) -> int:
        """A uniform integer in [0, limit); unbiased by rejection."""
        assert 0 < limit <= 1 << _WORD_BITS
        ceiling = (1 << _WORD_BITS) - (1 << _WORD_BITS) % limit
        while (word := self._word()) >= ceiling:
            pass
        return word % limit

    def chosen(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items (fewer where there are fewer), in drawn order.

        The caller sorts `items` first: an order that differs between nodes would fork them.
        """
        pool = list(items)
        drawn: list[T] = []
        while pool and len(drawn) < count:
            drawn.append(pool.pop(self.below(len(pool))))
        return drawn

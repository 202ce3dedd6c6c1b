"""Hash chains: each validator fixes, before its first block, what it will reveal in every round.

A chain of length N from secret s has x_N = s and x_(r-1) = H(x_r); x_0 is the public anchor. The
value x_r belongs to round r (counted from the chain's start), so nobody chooses what it reveals,
and who knows x_k of an earlier round checks x_r with r - k hashes.

A table keeps 2^11 values evenly apart; any other one is at most N / 2^11 hashes away from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from dpin.base.ids import ID_BYTES, NO_DIGEST, Digest, Round

CHAIN_LENGTH: Final = 1 << 22  # rounds that a validator's chain lasts
TABLE_ENTRIES: Final = 1 << 11
GAP_MAX: Final = 1 << 16  # rounds between two checked reveals of one validator
_PREFIX: Final = b"dpin/reveal/v1\0"


def _hashed(value: bytes, times: int) -> Digest:
    for _ in range(times):
        value = sha256(_PREFIX + value).digest()
    return Digest(value)


@dataclass(frozen=True, slots=True)
class Chain:
    """A hash chain of so many rounds, a power of two."""

    length: int = CHAIN_LENGTH

    def __post_init__(self) -> None:
        assert self.length > 0, "a chain lasts at least a round"
        assert self.length & (self.length - 1) == 0, "a chain's length is a power of two"

    @property
    def stride(self) -> int:
        """Rounds between two values of a table."""
        return max(1, self.length // TABLE_ENTRIES)

    def build(self, seed: bytes, progress: Callable[[int], None] | None = None) -> bytes:
        """The table of the chain that ends in `seed`; takes seconds at full length.

        `progress` is told, from time to time, how many rounds are done.
        """
        values: list[bytes] = []
        for value in self.strides(seed):
            values.append(value)
            if progress is not None:
                progress((len(values) - 1) * self.stride)
        return b"".join(reversed(values))

    def strides(self, seed: bytes) -> Iterator[bytes]:
        """The values of the table, the last one first; each takes a stride of hashes."""
        assert len(seed) == ID_BYTES, "the secret end of a chain is 32 bytes long"
        value = Digest(seed)
        yield value
        for _ in range(self.length - self.stride, 0, -self.stride):
            value = _hashed(value, self.stride)
            yield value

    def anchor(self, table: bytes) -> Digest:
        """x_0: what the network is told."""
        return self.reveal(table, 0)

    def reveal(self, table: bytes, place: int) -> Digest:
        """x_place for a place in 0..length."""
        assert 0 <= place <= self.length, "a chain has no value there"
        assert len(table) * self.stride == self.length * ID_BYTES, "the table of another chain"
        entry = max(0, -(-place // self.stride) - 1)
        value = table[entry * ID_BYTES : (entry + 1) * ID_BYTES]
        return _hashed(value, (entry + 1) * self.stride - place)


class OwnChain:
    """A validator's own chain from round `start` on (its anchor belongs to `start`)."""

    def __init__(self, chain: Chain, table: bytes, start: Round = Round(0)) -> None:
        self._chain = chain
        self._table = table
        self._start = start
        self._run: list[Digest] = []  # the values of one stride, first place `_first`
        self._first = 0

    def at(self, round_: Round) -> Digest:
        """The reveal of `round_`; zeros where the chain has none."""
        place = round_ - self._start
        if not 0 <= place <= self._chain.length:
            return NO_DIGEST
        if not self._first <= place < self._first + len(self._run):
            self._fill(place)
        return self._run[place - self._first]

    def _fill(self, place: int) -> None:
        """Remember the stride around `place`: the next rounds ask for its neighbours."""
        stride = self._chain.stride
        last = max(stride, -(-place // stride) * stride)
        value = self._chain.reveal(self._table, last)
        values = [value]
        for _ in range(stride):
            value = _hashed(value, 1)
            values.append(value)
        self._run, self._first = values[::-1], last - stride


def reveals(known_round: Round, known: Digest, round_: Round, value: Digest) -> bool:
    """Whether `value` is the reveal of `round_`, given the reveal of an earlier round.

    False beyond GAP_MAX rounds: checking must stay cheap, and who was away longer registers anew.
    """
    if not 0 < round_ - known_round <= GAP_MAX or len(value) != ID_BYTES:
        return False
    return _hashed(value, round_ - known_round) == known

"""Shamir's shares of 32 bytes over the prime 2^521 - 1 (Shamir 1979)."""

from collections.abc import Mapping, Sequence
from itertools import combinations, islice
from typing import Final

PRIME: Final = (1 << 521) - 1
SHARE_BYTES: Final = 66
SECRET_BYTES: Final = 32
COEFFICIENT_BYTES: Final = 80  # so that the remainder is uniform to within 2^-119
TRIES_MAX: Final = 512  # sets of shares that are tried where some are lies


def coefficients(noise: bytes) -> list[int]:
    """The polynomial above its constant, from COEFFICIENT_BYTES of noise each."""
    return [
        int.from_bytes(noise[at : at + COEFFICIENT_BYTES], "big") % PRIME
        for at in range(0, len(noise), COEFFICIENT_BYTES)
    ]


def share(secret: bytes, above: Sequence[int], place: int) -> bytes:
    """The share at `place` (from 1) of a secret of 32 bytes; len(above) + 1 of them restore it."""
    assert place > 0, "place 0 is the secret"
    assert len(secret) == SECRET_BYTES, "secrets are seeds and keys"
    value = 0
    for part in reversed([int.from_bytes(secret, "big"), *above]):
        value = (value * place + part) % PRIME
    return value.to_bytes(SHARE_BYTES, "big")


def restored(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret that these shares lie on, by place; None where it is none of 32 bytes."""
    total = 0
    for place, data in shares.items():
        above = below = 1
        for other in shares:
            if other != place:
                above = above * other % PRIME
                below = below * (other - place) % PRIME
        total += int.from_bytes(data, "big") * above * pow(below, -1, PRIME)
    secret = total % PRIME
    fits = secret.bit_length() <= 8 * SECRET_BYTES
    return secret.to_bytes(SECRET_BYTES, "big") if fits else None


def candidates(shares: Mapping[int, bytes], threshold: int) -> list[Mapping[int, bytes]]:
    """Sets of `threshold` shares to try, at most TRIES_MAX: some of the shares may be lies."""
    picks = islice(combinations(sorted(shares), threshold), TRIES_MAX)
    return [{place: shares[place] for place in pick} for pick in picks]

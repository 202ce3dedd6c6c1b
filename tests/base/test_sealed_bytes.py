"""Sealed files whole, in memory."""

import pytest

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, PeerFault
from dpin.base.sealed import PIECE_BYTES, RANDOM_BYTES, opened_bytes, sealed_bytes

SEED, OTHER = bytes(range(32)), bytes(32)
READER = SigningKey(SEED).node_id


@pytest.mark.parametrize("length", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
def test_what_is_sealed_in_memory_is_opened_by_its_reader_alone(length: int) -> None:
    data = bytes(length)
    sealed = sealed_bytes([READER], bytes(RANDOM_BYTES), data)
    assert opened_bytes(SEED, sealed) == data
    with pytest.raises(Misuse, match="sealed for others"):
        opened_bytes(OTHER, sealed)
    with pytest.raises(PeerFault):
        opened_bytes(SEED, sealed[:-1])

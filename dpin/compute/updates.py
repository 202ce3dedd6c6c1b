"""What a provider uploads after a unit: how far its parameters moved, in one of five encodings.

All on integers, so that everybody decodes the same and a verifier encodes the same. A movement is
an integer of units of 2^-30; every encoding can say multiples of 2^-24 only, below 32 either way,
so merges stay inside 64 bits. The job's manifest fixes the encoding. P is the number of parameters.
"""

from struct import Struct
from typing import Final, Protocol

from torch import Tensor

from dpin.base.errors import PeerFault
from dpin.compute.blocks import (
    BYTE,
    NIBBLE,
    TRIT,
    Blocks,
    blocks_bytes,
    decode_blocks,
    quantise,
)
from dpin.compute.halves import Halves, decode_halves, halve, halves_bytes
from dpin.compute.sparse import Sparse, decode_sparse, sparse_bytes, sparsify
from dpin.compute.task import FP16, INT4, INT8, SPARSE, TERNARY, EncodingSpec

MAGIC: Final = b"dpup"
VERSION: Final = 2
HEADER: Final = Struct("<4sHHQ")  # magic, version, encoding, parameter count
NUMBERS: Final = {FP16: 1, INT8: 2, INT4: 3, SPARSE: 4, TERNARY: 5}
VALUE_MAX: Final = {INT8: BYTE, INT4: NIBBLE, TERNARY: TRIT}  # of encodings in blocks


class Update(Protocol):
    """A movement as it was written: what all receivers see."""

    @property
    def count(self) -> int:
        """P."""
        ...

    def dense(self) -> Tensor:
        """The movement: (P,) int64 in units of 2^-30, multiples of 64, below 2^35 either way."""
        ...


def written(spec: EncodingSpec, movement: Tensor) -> Update:
    """The nearest update to a movement, (P,) int64; what lies beyond the range saturates."""
    if spec.name == SPARSE:
        return sparsify(movement, spec.kept)
    return halve(movement) if spec.name == FP16 else quantise(movement, VALUE_MAX[spec.name])


def encode_update(update: Update) -> bytes:
    """The bytes of an update: the header, then the encoding's own."""
    match update:
        case Blocks():
            name, body = {BYTE: INT8, NIBBLE: INT4, TRIT: TERNARY}[update.most], update.encoded()
        case Halves():
            name, body = FP16, update.encoded()
        case Sparse():
            name, body = SPARSE, update.encoded()
        case _:
            raise TypeError(f"no encoding writes a {type(update).__name__}")
    return HEADER.pack(MAGIC, VERSION, NUMBERS[name], update.count) + body


def update_bytes(spec: EncodingSpec, count: int) -> int:
    """Length of the encoded update of a model of `count` parameters."""
    if spec.name == SPARSE:
        return HEADER.size + sparse_bytes(count, spec.kept)
    if spec.name == FP16:
        return HEADER.size + halves_bytes(count)
    return HEADER.size + blocks_bytes(count, VALUE_MAX[spec.name])


def decode_update(data: bytes, spec: EncodingSpec, count: int) -> Update:
    """Read an update of `count` parameters; raises PeerFault for anything malformed."""
    due = update_bytes(spec, count)
    if len(data) != due:
        raise PeerFault(f"an update of {len(data)} bytes where {due} are due")
    if HEADER.unpack_from(data) != (MAGIC, VERSION, NUMBERS[spec.name], count):
        raise PeerFault("an update of another format, version, encoding or model")
    body = memoryview(data)[HEADER.size :]
    if spec.name == SPARSE:
        return decode_sparse(body, count, spec.kept)
    if spec.name == FP16:
        return decode_halves(body)
    return decode_blocks(body, count, VALUE_MAX[spec.name])

"""One canonical encoding: equal values, equal bytes; other bytes are refused.

The bytes are MessagePack arrays, as msgspec writes them. A decoder checks types and field counts,
then encodes what it read and compares: a value has exactly one encoding, so a digest of the bytes
is a digest of the value. Maps and sets have no order of their own and are banned from wire values.
"""

from types import UnionType
from typing import Final, TypeVar

import msgspec

from dpin.base.errors import PeerFault

MESSAGE_BYTES_MAX: Final = 1 << 20
_REASON_CHARS_MAX: Final = 200  # msgspec quotes the sender's own words in some of its errors

T = TypeVar("T")


class Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every value that is sent, stored, hashed or signed."""


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[object, msgspec.msgpack.Decoder[object]] = {}


def encode(value: object) -> bytes:
    """The only bytes of `value`."""
    return _encoder.encode(value)


def decode(kind: type[T] | UnionType, data: bytes, limit: int = MESSAGE_BYTES_MAX) -> T:
    """Read one value; raises PeerFault for anything but the canonical bytes of a `kind`."""
    if len(data) > limit:
        raise PeerFault(f"message of {len(data)} bytes, at most {limit} are taken")
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        value = decoder.decode(data)
        again = _encoder.encode(value)
    # ValueError: msgspec's own errors, and UnicodeDecodeError, which it lets through.
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        reason = repr(str(error)[:_REASON_CHARS_MAX])
        raise PeerFault(f"not a {getattr(kind, '__name__', kind)}: {reason}") from None
    if again != data:
        raise PeerFault(f"not the canonical bytes of a {getattr(kind, '__name__', kind)}")
    return value  # type: ignore[return-value]  # The decoder was made for `kind`.

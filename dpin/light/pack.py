"""The ledger's encoding, as far as a light client needs it: MessagePack arrays of plain values.

Every value has one form, its shortest; a decoder encodes what it read again and compares. Source:
docs/protocol/base.md and the MessagePack specification.
"""

from typing import Final

Value = int | bool | str | bytes | None | list["Value"]

DEPTH_MAX: Final = 32
_INT_WIDTHS: Final = (1, 2, 4, 8)
_NIL, _FALSE, _TRUE = 0xC0, 0xC2, 0xC3
# First byte of each kind: up to how much the byte itself says, then heads with 1, 2, 4 more bytes.
_TEXT: Final = (0xA0, 31, (0xD9, 0xDA, 0xDB))
_BYTES: Final = (0, -1, (0xC4, 0xC5, 0xC6))
_ARRAY: Final = (0x90, 15, (None, 0xDC, 0xDD))
_SHORT: Final = [bytes([_BYTES[2][0], size]) for size in range(256)]
_Head = tuple[int, int, tuple[int | None, int, int]]


class BadPack(ValueError):
    """Not the bytes of one value in its one form."""


def pack(value: object) -> bytes:
    """The only bytes of a value: integers, booleans, text, bytes, None, and lists of these."""
    if type(value) is bytes and len(value) < len(_SHORT):  # most of what is packed
        return _SHORT[len(value)] + value
    match value:
        case None:
            return bytes([_NIL])
        case bool():
            return bytes([_TRUE if value else _FALSE])
        case int():
            return _pack_int(value)
        case str() | bytes():
            kind, data = (_TEXT, value.encode()) if isinstance(value, str) else (_BYTES, value)
            return _head(kind, len(data)) + data
        case list() | tuple():
            return _head(_ARRAY, len(value)) + b"".join(map(pack, value))
        case _:
            raise BadPack(f"a {type(value).__name__} has no encoding")


def _pack_int(value: int) -> bytes:
    if -32 <= value < 128:  # noqa: PLR2004 (what one byte holds)
        return (value & 0xFF).to_bytes()
    first = 0xCC if value >= 0 else 0xD0
    for step, width in enumerate(_INT_WIDTHS):
        low, high = (0, 1 << 8 * width) if value >= 0 else (-1 << 8 * width - 1, 0)
        if low <= value < high:
            return bytes([first + step]) + value.to_bytes(width, signed=value < 0)
    raise BadPack("an integer has at most 64 bits")


def _head(kind: "_Head", size: int) -> bytes:
    small, limit, heads = kind
    if size <= limit:
        return bytes([small | size])
    for head, width in zip(heads, _INT_WIDTHS, strict=False):
        if head is not None and size < 1 << 8 * width:
            return bytes([head]) + size.to_bytes(width)
    raise BadPack("too long")


def unpack(data: bytes) -> Value:
    """Read one value; raises BadPack for anything but its only bytes."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data) or pack(value) != data:
        raise BadPack("these are not the only bytes of a value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def value(self, depth: int) -> Value:
        """The next value, so deep inside of others."""
        if depth > DEPTH_MAX:
            raise BadPack("values in values in values")
        first = self._number(1)
        if first in {_NIL, _FALSE, _TRUE}:
            return None if first == _NIL else first == _TRUE
        for kind in (_TEXT, _BYTES, _ARRAY):
            size = self._size(kind, first)
            if size is not None:
                return self._sized(kind, size, depth)
        return self._int(first)

    def _int(self, first: int) -> int:
        if first < 0x80 or first >= 0xE0:  # noqa: PLR2004 (what one byte holds)
            return first if first < 0x80 else first - 0x100  # noqa: PLR2004
        step = first - 0xCC
        if not 0 <= step < 2 * len(_INT_WIDTHS):
            raise BadPack("a kind of value that does not occur")
        width, signed = _INT_WIDTHS[step % len(_INT_WIDTHS)], step >= len(_INT_WIDTHS)
        return int.from_bytes(self._bytes(width), signed=signed)

    def _size(self, kind: "_Head", first: int) -> int | None:
        small, limit, heads = kind
        if small <= first <= small + limit:
            return first - small
        if first not in heads:
            return None
        return self._number(_INT_WIDTHS[heads.index(first)])

    def _sized(self, kind: "_Head", size: int, depth: int) -> Value:
        if kind is _ARRAY:
            if size > len(self._data) - self.at:
                raise BadPack("an array longer than its bytes")
            return [self.value(depth + 1) for _ in range(size)]
        data = self._bytes(size)
        if kind is _BYTES:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise BadPack("text that is not UTF-8") from None

    def _number(self, width: int) -> int:
        return int.from_bytes(self._bytes(width))

    def _bytes(self, size: int) -> bytes:
        data = self._data[self.at : self.at + size]
        if len(data) != size:
            raise BadPack("cut short")
        self.at += size
        return data

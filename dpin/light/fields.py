"""JSON read strictly: every name once and known, every value of its kind and in its one form."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Final, TypeVar

INT_MAX: Final = (1 << 63) - 1
DIGEST_BYTES: Final = 32

T = TypeVar("T")


class BadFile(ValueError):
    """Not a file of the kind that it should be."""


class Fields:
    """One object of a JSON text; each field is taken once, and `end` refuses what is left."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BadFile(f"{where} is not an object")
        self._left: dict[str, object] = dict(value)
        self._where = where

    def end(self) -> None:
        """Raises BadFile if there is more than was asked for."""
        if self._left:
            raise BadFile(f"{self._where} has a field that is not known: {min(self._left)[:40]!r}")

    def number(self, name: str) -> int:
        """A whole number that is not negative."""
        value = self._take(name)
        if type(value) is not int or not 0 <= value <= INT_MAX:
            raise self._bad(name, "a whole number")
        return value

    def text(self, name: str) -> str:
        """Text."""
        value = self._take(name)
        if not isinstance(value, str):
            raise self._bad(name, "text")
        return value

    def digest(self, name: str) -> bytes:
        """32 bytes in hexadecimal."""
        return self._digest(self._take(name), name)

    def digests(self, name: str) -> tuple[bytes, ...]:
        """A list of such."""
        return tuple(self._digest(one, name) for one in self._list(name))

    def data(self, name: str) -> bytes:
        """Bytes in base 64."""
        text = self.text(name)
        try:
            data = b64decode(text, validate=True)
        except ValueError:
            data = b""
        if b64encode(data).decode() != text:
            raise self._bad(name, "base 64")
        return data

    def inner(self, name: str, read: Callable[["Fields"], T]) -> T:
        """What another object says."""
        return read_object(self._take(name), f"{self._where}.{name}", read)

    def many(self, name: str, read: Callable[["Fields"], T]) -> tuple[T, ...]:
        """What a list of objects says."""
        where = f"{self._where}.{name}"
        return tuple(read_object(one, where, read) for one in self._list(name))

    def maybe(self, name: str, take: Callable[[str], T]) -> T | None:
        """What `take` finds at a name, or None for null."""
        if self._left.get(name, "") is None:
            del self._left[name]
            return None
        return take(name)

    def _take(self, name: str) -> object:
        if name not in self._left:
            raise self._bad(name, "there")
        return self._left.pop(name)

    def _list(self, name: str) -> list[object]:
        value = self._take(name)
        if not isinstance(value, list):
            raise self._bad(name, "a list")
        return value

    def _digest(self, value: object, name: str) -> bytes:
        text = value if isinstance(value, str) else ""
        try:
            data = bytes.fromhex(text)
        except ValueError:
            data = b""
        if len(data) != DIGEST_BYTES or data.hex() != text:
            raise self._bad(name, f"{DIGEST_BYTES} bytes in hexadecimal")
        return data

    def _bad(self, name: str, what: str) -> BadFile:
        return BadFile(f"{self._where}.{name} is not {what}")


def read_object(value: object, where: str, read: Callable[[Fields], T]) -> T:
    """What an object says; raises BadFile for more or less than `read` takes."""
    fields = Fields(value, where)
    result = read(fields)
    fields.end()
    return result


def read_json(text: str, where: str, read: Callable[[Fields], T]) -> T:
    """What a JSON text says; raises BadFile."""
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_never)
    except (ValueError, RecursionError) as problem:
        raise BadFile(f"this is not JSON: {problem}") from None
    return read_object(value, where, read)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadFile("a name stands twice in one object")
    return found


def _never(name: str) -> object:
    raise BadFile(f"{name} is no number here")


def shown(data: bytes) -> str:
    """Bytes in base 64."""
    return b64encode(data).decode()

"""Signed notes: text with one line for each signature, as transparency logs and witnesses use them.

Sources: C2SP signed-note (the format, Ed25519 as type 0x01), tlog-checkpoint (the text: origin,
size, root) and tlog-cosignature (a witness's statement with its time, type 0x04).
"""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
NOTE_BYTES_MAX: Final = 64 * 1024
SIGNATURES_MAX: Final = 100
KEY_BYTES: Final = 32
ID_BYTES: Final = 4
ED25519_BYTES: Final = 64
TIME_BYTES: Final = 8
_TIME_MAX: Final = (1 << 63) - 1
_DASH: Final = "\u2014 "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME: Final = re.compile(r"[^\s+]+")
_HEAD: Final = ("an origin", "a size", "a root")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class BadNote(ValueError):
    """Not a note, or one that its known signers did not sign."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One line: whose, and what; `value` is a bare signature or has a time before it."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and who signed it."""

    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key that one believes: its name, the kind of its signatures, the public half."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """What a line shows of the key."""
        return key_id(self.name, self.kind, self.public)

    @property
    def text(self) -> str:
        """The form in which such keys are passed around: NAME+ID+KEY."""
        packed = b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{packed}"


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a checkpoint's text says of a log; extension lines are not read."""

    origin: str
    size: int
    root: bytes


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The first four bytes of SHA-256(name, newline, kind, public key)."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:ID_BYTES]


def read_verifier(text: str) -> Verifier:
    """Read NAME+ID+KEY; raises BadNote."""
    name, _, rest = text.partition("+")
    shown, _, packed = rest.partition("+")
    key = _unpacked(packed)
    if len(key) != 1 + KEY_BYTES or key[0] not in {ED25519, COSIGNATURE} or not _is_name(name):
        raise BadNote("not a verifier key of a kind that is known")
    verifier = Verifier(name, key[0], key[1:])
    if verifier.key_id.hex() != shown:
        raise BadNote("the verifier key does not have the id that it shows")
    return verifier


def write_note(note: Note) -> str:
    """The text with its lines."""
    assert note.text.endswith("\n"), "a note's text ends in a newline"
    lines = "".join(
        f"{_DASH}{one.name} {b64encode(one.key_id + one.value).decode()}\n"
        for one in note.signatures
    )
    return f"{note.text}\n{lines}"


def read_note(data: str | bytes) -> Note:
    """Take a note apart; nothing is checked yet. Raises BadNote."""
    try:
        text = data if isinstance(data, str) else data[: NOTE_BYTES_MAX + 1].decode()
        size = len(text.encode())
    except UnicodeError:
        raise BadNote("a note is text in UTF-8") from None
    if size > NOTE_BYTES_MAX:
        raise BadNote(f"a note has at most {NOTE_BYTES_MAX} bytes")
    body, gap, rest = text.rpartition("\n\n")
    if _CONTROL.search(text) or not gap or not rest.endswith("\n"):
        raise BadNote("a note is text, an empty line, and lines of signatures")
    lines = rest.removesuffix("\n").split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise BadNote(f"a note has at most {SIGNATURES_MAX} signatures")
    return Note(f"{body}\n", tuple(map(_signature, lines)))


def _signature(line: str) -> Signature:
    name, space, packed = line.removeprefix(_DASH).partition(" ")
    value = _unpacked(packed)
    if not line.startswith(_DASH) or not space or not _is_name(name) or len(value) <= ID_BYTES:
        raise BadNote("a signature's line is a dash, a name and base 64")
    return Signature(name, value[:ID_BYTES], value[ID_BYTES:])


def signed_by(note: Note, verifier: Verifier) -> bool:
    """Whether this key's line is there and right; raises BadNote for one that is there and wrong.

    Lines of other keys are not looked at. Of two lines of the same key the first counts.
    """
    return _value(note, verifier, ED25519) is not None


def cosigned_at(note: Note, witness: Verifier) -> int | None:
    """When a witness saw this as the log's newest consistent state, in seconds since 1970.

    None if it did not say so; raises BadNote for a line of its key that is wrong.
    """
    value = _value(note, witness, COSIGNATURE)
    return None if value is None else int.from_bytes(value[:TIME_BYTES])


def cosigned_text(text: str, seconds: int) -> str:
    """What a witness signs."""
    return f"cosignature/v1\ntime {seconds}\n{text}"


def _value(note: Note, verifier: Verifier, kind: int) -> bytes | None:
    if verifier.kind != kind:
        raise BadNote(f"{verifier.name}'s key is of another kind")
    name, identity = verifier.name, verifier.key_id
    lines = (line for line in note.signatures if (line.name, line.key_id) == (name, identity))
    line = next(lines, None)
    if line is None:
        return None
    text, signature = note.text, line.value
    if kind == COSIGNATURE:
        seconds = int.from_bytes(signature[:TIME_BYTES])
        if seconds > _TIME_MAX:
            raise BadNote(f"{name} cosigned at no time")
        text, signature = cosigned_text(text, seconds), signature[TIME_BYTES:]
    if not is_signature(verifier.public, text.encode(), signature):
        raise BadNote(f"the signature of {name} is wrong")
    return line.value


def is_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Plain Ed25519 (RFC 8032) as libsodium checks it."""
    if len(signature) != ED25519_BYTES or len(public) != KEY_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def read_head(text: str) -> TreeHead:
    """Read the text of a checkpoint; raises BadNote."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < len(_HEAD) or not text.endswith("\n") or not all(lines):
        raise BadNote(f"a checkpoint has {', '.join(_HEAD)}, a line each")
    origin, size, packed = lines[: len(_HEAD)]
    root = _unpacked(packed)
    if not _SIZE.fullmatch(size) or len(root) != KEY_BYTES:
        raise BadNote("a checkpoint's size is a number and its root 32 bytes in base 64")
    return TreeHead(origin, int(size), root)


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _unpacked(text: str) -> bytes:
    """Base 64 in its one form; empty for anything else."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if b64encode(data).decode() == text else b""

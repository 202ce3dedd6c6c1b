"""Contents for named readers only: whoever stores or carries them learns their length, no more.

A sealed file is `MAGIC`, the length of a header (u32, big-endian), the header, and pieces. A fresh
key seals the pieces; the header holds that key once for each reader, wrapped with X25519 of a fresh
key and the reader's own (an Ed25519 id mapped to its X25519 twin, as libsodium does), so only the
owners of the ids in it can open. All is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha). Pieces follow
the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, 2015): the nonce is the piece's number
and whether it is the last, and the key depends on the whole header; so pieces cannot be swapped,
repeated, cut off or given to other readers.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_scalarmult,
    crypto_scalarmult_base,
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_ed25519_sk_to_curve25519,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import ID_BYTES, NodeId

MAGIC: Final = b"dpin-sealed/1\n"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
PIECE_BYTES: Final = (1 << 20) - TAG_BYTES  # of the contents; sealed, 1 MiB
SEALED_PIECE_BYTES: Final = PIECE_BYTES + TAG_BYTES
READERS_MAX: Final = 64
HEADER_BYTES_MAX: Final = 16 << 10
LENGTH_BYTES: Final = 4
RANDOM_BYTES: Final = 2 * KEY_BYTES  # that a seal needs
_DOMAIN: Final = "dpin/sealed/v1"


class Wrapped(Wire, frozen=True):
    """The key for one reader."""

    reader: bytes  # a node's id
    key: bytes


class Header(Wire, frozen=True):
    """Who may read, and how each of them gets the key."""

    version: int
    fresh: bytes  # the public half of the X25519 key made for this file
    readers: tuple[Wrapped, ...]  # sorted by id


def _derived(secret: bytes, purpose: str, about: bytes) -> bytes:
    info = f"{_DOMAIN}/{purpose}".encode() + b"\0" + about
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def _shared(secret: bytes, public: bytes) -> bytes:
    try:
        return crypto_scalarmult(secret, public)
    except (CryptoError, RuntimeError):  # A point of small order: everybody knows the result.
        raise PeerFault("a key that no honest reader or writer has") from None


def _twin(reader: NodeId) -> bytes:
    """The X25519 key of a node's id; raises Misuse where that is no key."""
    try:
        return crypto_sign_ed25519_pk_to_curve25519(reader)
    except (CryptoError, RuntimeError, ValueError, TypeError):
        raise Misuse(f"{reader.hex()} is not a node's id", fix="dpin peers shows them") from None


class _Pieces:
    """The cipher of the pieces of one file."""

    def __init__(self, key: bytes, head: bytes) -> None:
        self._key = _derived(key, "pieces", digest(_DOMAIN, head))
        self._number = 0

    def nonce(self, *, last: bool) -> bytes:
        """Of the next piece."""
        self._number += 1
        return (2 * (self._number - 1) + last).to_bytes(NONCE_BYTES)


class Seal(_Pieces):
    """Seals one file; `head` comes first, then each piece in order."""

    def __init__(self, readers: Sequence[NodeId], randomness: bytes) -> None:
        """For these readers; `randomness` is RANDOM_BYTES that nobody else has, used once."""
        assert len(randomness) == RANDOM_BYTES, "a fresh key and a fresh secret"
        if not 0 < len(set(readers)) <= READERS_MAX:
            raise Misuse(f"a sealed file has 1 to {READERS_MAX} readers, not {len(set(readers))}")
        secret, key = randomness[:KEY_BYTES], randomness[KEY_BYTES:]
        fresh = crypto_scalarmult_base(secret)
        wrapped = []
        for reader in sorted(set(readers)):
            shared = _shared(secret, _twin(reader))
            wrap = _derived(shared, "wrap", fresh + reader)
            sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(key, b"", bytes(NONCE_BYTES), wrap)
            wrapped.append(Wrapped(reader, sealed))
        header = encode(Header(1, fresh, tuple(wrapped)))
        self.head = MAGIC + len(header).to_bytes(LENGTH_BYTES) + header
        super().__init__(key, self.head)

    def piece(self, data: bytes, *, last: bool) -> bytes:
        """One piece sealed: PIECE_BYTES, the last one perhaps shorter."""
        assert len(data) == PIECE_BYTES or (last and len(data) < PIECE_BYTES)
        nonce = self.nonce(last=last)
        return crypto_aead_xchacha20poly1305_ietf_encrypt(data, b"", nonce, self._key)


class Unseal(_Pieces):
    """Opens one file for one reader."""

    def __init__(self, seed: bytes, head: bytes) -> None:
        """With the seed of the reader's key. PeerFault for no header, Misuse for another's file."""
        header = _header_of(head)
        public, secret = crypto_sign_seed_keypair(seed)
        own = next((one for one in header.readers if one.reader == public), None)
        if own is None:
            raise Misuse("it is sealed for others", fix="ask its sender to name this node's id")
        shared = _shared(crypto_sign_ed25519_sk_to_curve25519(secret), header.fresh)
        wrap = _derived(shared, "wrap", header.fresh + public)
        super().__init__(_opened(own.key, bytes(NONCE_BYTES), wrap), head)

    def piece(self, sealed: bytes, *, last: bool) -> bytes:
        """One piece opened; raises PeerFault where it is not the one that comes here."""
        return _opened(sealed, self.nonce(last=last), self._key)


def _opened(sealed: bytes, nonce: bytes, key: bytes) -> bytes:
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, b"", nonce, key)
    except (CryptoError, ValueError):
        raise PeerFault("a sealed file that was changed, cut or put together anew") from None


def _header_of(head: bytes) -> Header:
    if not is_sealed(head):
        raise PeerFault("not a sealed file")
    header = decode(Header, head[len(MAGIC) + LENGTH_BYTES :], HEADER_BYTES_MAX)
    ids = [one.reader for one in header.readers]
    if header.version != 1 or len(header.fresh) != KEY_BYTES or len(ids) > READERS_MAX:
        raise PeerFault("a sealed file of another version, or for too many")
    if any(len(reader) != ID_BYTES for reader in ids) or ids != sorted(set(ids)):
        raise PeerFault("a sealed file whose readers are not in order")
    return header


def is_sealed(start: bytes) -> bool:
    """Whether a file that begins so is a sealed one."""
    return start[: len(MAGIC)] == MAGIC


def head_length(start: bytes) -> int:
    """Bytes of the head of a sealed file, from its first HEAD_START_BYTES; raises PeerFault."""
    length = int.from_bytes(start[len(MAGIC) : HEAD_START_BYTES])
    if not is_sealed(start) or length > HEADER_BYTES_MAX:
        raise PeerFault("not a sealed file")
    return HEAD_START_BYTES + length


def sealed_bytes_max(length: int) -> int:
    """Of a sealed file with so many bytes in it, whoever its readers are."""
    return HEAD_START_BYTES + HEADER_BYTES_MAX + length + TAG_BYTES * (length // PIECE_BYTES + 1)


HEAD_START_BYTES: Final = len(MAGIC) + LENGTH_BYTES


def marked(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each piece, and whether it is the last; no pieces are one empty one."""
    before = b""
    first = True
    for piece in pieces:
        if not first:
            yield before, False
        before, first = piece, False
    yield before, True


def sealed_bytes(readers: Sequence[NodeId], randomness: bytes, data: bytes) -> bytes:
    """A whole sealed file in memory; see `Seal`."""
    seal = Seal(readers, randomness)
    pieces = (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
    return seal.head + b"".join(seal.piece(piece, last=last) for piece, last in marked(pieces))


def opened_bytes(seed: bytes, sealed: bytes) -> bytes:
    """The contents of a whole sealed file; raises PeerFault, or Misuse for another's."""
    start = head_length(sealed[:HEAD_START_BYTES])
    opened = Unseal(seed, sealed[:start])
    bounds = range(start, len(sealed), SEALED_PIECE_BYTES)
    pieces = (sealed[at : at + SEALED_PIECE_BYTES] for at in bounds)
    return b"".join(opened.piece(piece, last=last) for piece, last in marked(pieces))

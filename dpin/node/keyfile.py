"""A key as text: plain, or encrypted under a passphrase. Whoever reads a plain one is its account.

An encrypted key file names its account, so that it can be told from others without the passphrase.
The passphrase becomes a key by Argon2id (RFC 9106) with a salt of its own; the seed is encrypted
by XChaCha20-Poly1305, which also covers the lines above it: nobody can make the work cheaper or put
another account's name on it.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final, NamedTuple

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import Aead

from dpin.base.crypto import SEED_BYTES, SigningKey
from dpin.base.errors import Misuse
from dpin.base.ids import ID_BYTES, NodeId

HEADER: Final = "dpin key 1: keep secret, keep a copy"
SEALED_HEADER: Final = "dpin key 2: encrypted; keep a copy, and the passphrase"
KEY_CHARS_MAX: Final = 1_024
PASSPHRASE_CHARS_MAX: Final = 1_024
SALT_BYTES: Final = argon2id.SALTBYTES
NONCE_BYTES: Final = Aead.NONCE_SIZE
OPERATIONS_MAX: Final = 64
MEMORY_BYTES_MAX: Final = 1 << 30  # a file must not make a node allocate more

Unlock = Callable[[], str]  # asks for the passphrase

_SEED: Final = re.compile(rf"[0-9a-f]{{{2 * SEED_BYTES}}}")
_ACCOUNT: Final = re.compile(rf"account ([0-9a-f]{{{2 * ID_BYTES}}})")
_COST: Final = re.compile(
    rf"argon2id ([0-9]{{1,3}}) ([0-9]{{1,10}}) ([0-9a-f]{{{2 * SALT_BYTES}}})"
)
_BOX: Final = re.compile(rf"[0-9a-f]{{{2 * (NONCE_BYTES + SEED_BYTES + Aead.MACBYTES)}}}")


class Cost(NamedTuple):
    """What one guess at a passphrase costs: passes over so much memory."""

    operations: int
    memory_bytes: int


# libsodium's "moderate": 3 passes over 256 MiB, half a second of one core.
COST: Final = Cost(argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE)


class Salts(NamedTuple):
    """Randomness for one encryption, drawn by a shell; never used twice."""

    salt: bytes
    nonce: bytes


def encode_key(seed: bytes) -> str:
    """The text of a plain key file."""
    assert len(seed) == SEED_BYTES
    return f"{HEADER}\n{seed.hex()}\n"


def seal_key(seed: bytes, passphrase: str, salts: Salts, cost: Cost = COST) -> str:
    """The text of an encrypted key file; raises Misuse for a passphrase that cannot be used."""
    if not passphrase or len(passphrase) > PASSPHRASE_CHARS_MAX:
        raise Misuse(
            f"a passphrase has 1 to {PASSPHRASE_CHARS_MAX} characters",
            fix="take five or more words that nobody would put together",
        )
    head = (
        f"{SEALED_HEADER}\naccount {SigningKey(seed).node_id.hex()}\n"
        f"argon2id {cost.operations} {cost.memory_bytes} {salts.salt.hex()}\n"
    )
    box = Aead(_stretch(passphrase, salts.salt, cost)).encrypt(seed, head.encode(), salts.nonce)
    return f"{head}{bytes(box).hex()}\n"


def is_sealed(text: str) -> bool:
    """Whether a key file is encrypted."""
    return text.startswith(SEALED_HEADER)


def account_of(text: str) -> NodeId:
    """The account of a key file, without its passphrase; raises Misuse for no key file."""
    if not is_sealed(text):
        return SigningKey(decode_key(text)).node_id
    found = _ACCOUNT.fullmatch(_lines(text)[1])
    if found is None:
        raise _damaged()
    return NodeId(bytes.fromhex(found[1]))


def decode_key(text: str, unlock: Unlock | None = None) -> bytes:
    """The seed in a key file; `unlock` is asked for the passphrase of an encrypted one.

    Raises Misuse for a wrong passphrase and for anything else, and never quotes the file.
    """
    if is_sealed(text):
        return _unseal(text, unlock)
    header, _, seed = text[:KEY_CHARS_MAX].strip().partition("\n")
    if header.rstrip() != HEADER or not _SEED.fullmatch(seed):
        raise _damaged()
    return bytes.fromhex(seed)


def _unseal(text: str, unlock: Unlock | None) -> bytes:
    head, account, work, coded = _lines(text)
    cost, box = _COST.fullmatch(work), _BOX.fullmatch(coded)
    if cost is None or box is None:
        raise _damaged()
    limits = Cost(int(cost[1]), int(cost[2]))
    if not _affordable(limits):
        raise Misuse(
            "the key file asks for more work than dpin ever does", fix="put back your copy"
        )
    if unlock is None:
        raise Misuse(
            "the key is encrypted and nobody is there to give its passphrase",
            fix="set DPIN_PASSPHRASE_FILE or DPIN_PASSPHRASE, or use a terminal",
        )
    key = _stretch(unlock(), bytes.fromhex(cost[3]), limits)
    above = "".join(f"{line}\n" for line in (head, account, work)).encode()
    try:
        seed = Aead(key).decrypt(bytes.fromhex(coded), above)
    except CryptoError:
        raise Misuse(
            "that is not the passphrase of this key",
            fix="try again; nobody can recover a forgotten one",
        ) from None
    if SigningKey(seed).node_id != account_of(text):
        raise _damaged()
    return bytes(seed)


def _stretch(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    """A key from a passphrase, however the keyboard composes its letters (NFKC)."""
    data = unicodedata.normalize("NFKC", passphrase).encode()
    return argon2id.kdf(Aead.KEY_SIZE, data, salt, cost.operations, cost.memory_bytes)


def _affordable(cost: Cost) -> bool:
    return (
        argon2id.OPSLIMIT_MIN <= cost.operations <= OPERATIONS_MAX
        and argon2id.MEMLIMIT_MIN <= cost.memory_bytes <= MEMORY_BYTES_MAX
    )


def _lines(text: str) -> tuple[str, str, str, str]:
    lines = text[:KEY_CHARS_MAX].strip().splitlines()
    if len(lines) != 4:  # noqa: PLR2004  # header, account, work, box
        raise _damaged()
    return lines[0], lines[1], lines[2], lines[3]


def _damaged() -> Misuse:
    return Misuse(
        "the key file is damaged",
        fix="put back your copy of it; without one its tokens and its name are lost",
    )


def never_over(path: object) -> Misuse:
    """There is a file where a key was to go."""
    return Misuse(
        f"{path} exists: a key is never written over",
        fix="use it as it is, or name another file or another --home",
    )


def no_folder(path: object) -> Misuse:
    """There is nowhere to put a key."""
    return Misuse(f"there is no folder {path}", fix="make it first")

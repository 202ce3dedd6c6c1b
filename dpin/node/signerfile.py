"""A validator's consensus keys as text, encrypted under the node's key: who has that has these.

XChaCha20-Poly1305 under H("dpin/signers/v1", seed), so an encrypted node key covers them with its
passphrase, and a running node can add to them without it. A copy of the node's key alone, as an
old back-up has it, opens the file but does not have the file: that is what these keys are for.
"""

import re
from collections.abc import Sequence
from typing import Final

from nacl.exceptions import CryptoError
from nacl.secret import Aead

from dpin.base.crypto import SEED_BYTES, digest
from dpin.base.errors import Misuse
from dpin.ledger.identity import SIGNERS_MAX

HEADER: Final = "dpin signers 1: this node's consensus keys; on no other machine, in no back-up"
NONCE_BYTES: Final = Aead.NONCE_SIZE
SIGNERS_CHARS_MAX: Final = 2_048
_TAG: Final = "dpin/signers/v1"
_BOX: Final = re.compile(r"[0-9a-f]+")


def encode_signers(node: bytes, seeds: Sequence[bytes], nonce: bytes) -> str:
    """The file's text: these seeds, the newest last, under the seed of the node's key."""
    assert all(len(seed) == SEED_BYTES for seed in seeds)
    kept = b"".join(seeds[-SIGNERS_MAX:])
    box = Aead(digest(_TAG, node)).encrypt(kept, HEADER.encode(), nonce)
    return f"{HEADER}\n{bytes(box).hex()}\n"


def decode_signers(node: bytes, text: str) -> tuple[bytes, ...]:
    """The seeds in such a file; raises Misuse for anything else, and never quotes it."""
    header, _, coded = text[:SIGNERS_CHARS_MAX].strip().partition("\n")
    if header != HEADER or not _BOX.fullmatch(coded) or len(coded) % 2:
        raise _damaged()
    try:
        kept = Aead(digest(_TAG, node)).decrypt(bytes.fromhex(coded), HEADER.encode())
    except (CryptoError, ValueError):
        raise _damaged() from None
    if len(kept) % SEED_BYTES:
        raise _damaged()
    return tuple(kept[at : at + SEED_BYTES] for at in range(0, len(kept), SEED_BYTES))


def _damaged() -> Misuse:
    return Misuse(
        "the file of consensus keys is damaged, or of another node",
        fix="remove it, start the node, and once it runs: dpin validator rotate-key",
    )

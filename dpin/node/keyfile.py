"""A node's key as text: one header line, then the 32-byte seed in hex. Whoever reads it is it."""

import re
from typing import Final

from dpin.base.crypto import SEED_BYTES
from dpin.base.errors import Misuse

HEADER: Final = "dpin key 1: keep secret, keep a copy"
KEY_CHARS_MAX: Final = 1_024
_SEED: Final = re.compile(rf"[0-9a-f]{{{2 * SEED_BYTES}}}")


def encode_key(seed: bytes) -> str:
    """The text of a key file."""
    assert len(seed) == SEED_BYTES
    return f"{HEADER}\n{seed.hex()}\n"


def decode_key(text: str) -> bytes:
    """The seed in a key file; raises Misuse for anything else, and never quotes it."""
    header, _, seed = text[:KEY_CHARS_MAX].strip().partition("\n")
    if header.rstrip() != HEADER or not _SEED.fullmatch(seed):
        raise Misuse(
            "the key file is damaged",
            fix="put back your copy of it; without one its tokens and its name are lost",
        )
    return bytes.fromhex(seed)

"""Names for things. An id is the thing's public key or its digest, never a counter."""

from typing import Final, NewType

NodeId = NewType("NodeId", bytes)  # Ed25519 public key, 32 bytes; also the account that it owns
Digest = NewType("Digest", bytes)  # SHA-256 under a domain tag, 32 bytes
ChainId = NewType("ChainId", bytes)  # digest of the genesis, 32 bytes
BlobId = NewType("BlobId", bytes)  # BLAKE3 over [length, chunk digests], 32 bytes
JobId = NewType("JobId", bytes)  # digest of the propose transaction, 32 bytes
Round = NewType("Round", int)

ID_BYTES: Final = 32
NO_DIGEST: Final = Digest(bytes(ID_BYTES))
NO_BLOB: Final = BlobId(bytes(ID_BYTES))


def short(identity: bytes) -> str:
    """Enough of an id for a person to tell it from its neighbours."""
    return identity.hex()[:8]


def read_id(text: str) -> bytes | None:
    """An id from its hexadecimal digits; None where it is none."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if len(found) == ID_BYTES else None

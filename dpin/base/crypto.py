"""Hash, sign, verify. Every digest and signature says what it is for.

Validity of a signature is, by definition, that libsodium's `crypto_sign_verify_detached` accepts
it (`docs/protocol/base.md`); `check_edge_cases` pins the cases on which libraries differ.
"""

from hashlib import sha256
from typing import Final

from blake3 import blake3
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from dpin.base.ids import ID_BYTES, ChainId, Digest, NodeId

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def digest(tag: str, data: bytes) -> Digest:
    """SHA-256 of `data` in the domain `tag`: H(tag, x) = SHA256(tag || 0x00 || x)."""
    return Digest(sha256(tag.encode() + b"\0" + data).digest())


def blake3_digest(data: bytes | memoryview) -> bytes:
    """BLAKE3, 32 bytes: names bulk data, never ledger things."""
    return blake3(data).digest()


def _statement(tag: str, chain: ChainId, what: Digest) -> bytes:
    return tag.encode() + b"\0" + chain + what


class SigningKey:
    """A node's Ed25519 key. Its public half is the node's id and its account."""

    def __init__(self, seed: bytes) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.node_id = NodeId(public)

    def sign(self, tag: str, chain: ChainId, what: Digest) -> bytes:
        """Sign `what` as a statement of kind `tag` on `chain`; 64 bytes."""
        return crypto_sign(_statement(tag, chain, what), self._secret)[:SIGNATURE_BYTES]


def verify(signer: NodeId, tag: str, chain: ChainId, what: Digest, signature: bytes) -> bool:
    """Whether `signer` signed `what` as a statement of kind `tag` on `chain`."""
    return verify_bytes(signer, _statement(tag, chain, what), signature)


def verify_bytes(signer: bytes, message: bytes, signature: bytes) -> bool:
    """Plain Ed25519 (RFC 8032) as libsodium checks it."""
    if len(signature) != SIGNATURE_BYTES or len(signer) != ID_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, signer)
    except BadSignatureError:
        return False
    return True

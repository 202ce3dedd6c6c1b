"""Hash, sign, verify. Every digest and signature says what it is for.

Validity of a signature is, by definition, that libsodium's `crypto_sign_verify_detached` accepts
it (`docs/protocol/base.md`); `check_edge_cases` pins the cases on which libraries differ.
"""

from functools import lru_cache
from hashlib import sha256, shake_256
from typing import Final, NamedTuple

from blake3 import blake3
from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_scalarmult,
    crypto_sign,
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_ed25519_sk_to_curve25519,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError, CryptoError

from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, ChainId, Digest, NodeId

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
REMEMBERED_MAX: Final = 1 << 12  # signatures that were checked, 0.4 KB each


def digest(tag: str, data: bytes) -> Digest:
    """SHA-256 of `data` in the domain `tag`: H(tag, x) = SHA256(tag || 0x00 || x)."""
    return Digest(sha256(tag.encode() + b"\0" + data).digest())


def blake3_digest(data: bytes | memoryview) -> bytes:
    """BLAKE3, 32 bytes: names bulk data, never ledger things."""
    return blake3(data).digest()


def _statement(tag: str, chain: ChainId, what: Digest) -> bytes:
    assert len(chain) == len(what) == ID_BYTES, "a statement names a chain and a digest"
    return tag.encode() + b"\0" + chain + what


def is_public_key(node: bytes) -> bool:
    """Whether a key can exist for this id: a point of the curve's main group.

    So is all that `SigningKey` makes, and about one in sixteen of any other 32 bytes.
    """
    return len(node) == ID_BYTES and crypto_core_ed25519_is_valid_point(node)


class SigningKey:
    """A node's Ed25519 key. Its public half is the node's id and its account."""

    def __init__(self, seed: bytes) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.node_id = NodeId(public)
        self._seed = seed

    def sign(self, tag: str, chain: ChainId, what: Digest) -> bytes:
        """Sign `what` as a statement of kind `tag` on `chain`; 64 bytes."""
        return crypto_sign(_statement(tag, chain, what), self._secret)[:SIGNATURE_BYTES]

    def sign_note(self, text: str) -> bytes:
        """Sign a note's text as it stands (C2SP signed-note); 64 bytes.

        It begins with an origin, `dpin/` and hex digits, so it can pass for no statement.
        """
        assert text.startswith("dpin/"), "a note begins with its origin"
        return crypto_sign(text.encode(), self._secret)[:SIGNATURE_BYTES]

    def derived(self, tag: str, what: bytes, count: int) -> bytes:
        """`count` secret bytes that only this key finds, the same each time: SHAKE-256."""
        return shake_256(tag.encode() + b"\0" + self._seed + what).digest(count)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes that the key is made of, to open what was sealed for it."""
        return self._seed

    def agreed(self, peer: NodeId) -> bytes:
        """X25519 between this key and a peer's, both carried over from Ed25519; hash it before use.

        Raises PeerFault where the peer's id is no point to agree with.
        """
        try:
            theirs = crypto_sign_ed25519_pk_to_curve25519(peer)
            return crypto_scalarmult(crypto_sign_ed25519_sk_to_curve25519(self._secret), theirs)
        except (CryptoError, RuntimeError, ValueError):
            raise PeerFault("a node id that nobody can agree on a key with") from None


def verify(signer: NodeId, tag: str, chain: ChainId, what: Digest, signature: bytes) -> bool:
    """Whether `signer` signed `what` as a statement of kind `tag` on `chain`."""
    if not len(chain) == len(what) == ID_BYTES:
        return False
    return _verified_once(signer, _statement(tag, chain, what), signature)


def verify_note(signer: bytes, text: str, signature: bytes) -> bool:
    """Whether `signer` signed a note's text; see `SigningKey.sign_note`."""
    return _verified_once(signer, text.encode(), signature)


def _verified_once(signer: bytes, statement: bytes, signature: bytes) -> bool:
    if len(signature) != SIGNATURE_BYTES or len(signer) != ID_BYTES:
        return False  # Of any size, and not worth remembering.
    return _verified(bytes(signer), statement, bytes(signature))


@lru_cache(maxsize=REMEMBERED_MAX)
def _verified(signer: bytes, statement: bytes, signature: bytes) -> bool:
    """What was found is remembered for a while: certificates bring signatures again and again."""
    return verify_bytes(signer, statement, signature)


def verify_bytes(signer: bytes, message: bytes, signature: bytes) -> bool:
    """Plain Ed25519 (RFC 8032) as libsodium checks it."""
    if len(signature) != SIGNATURE_BYTES or len(signer) != ID_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, signer)
    except BadSignatureError:
        return False
    return True


class EdgeCase(NamedTuple):
    """One signature on which Ed25519 libraries are known to differ; hexadecimal."""

    why: str
    signer: str
    message: str
    signature: str
    accepted: bool = False


_SMALL = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"  # a point of order 8
_SMALL_NEGATED = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
_MIXED = "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"  # order 8L
_MIXED_TOO = "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d"
_PRIME = "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623"  # order L
_BAD_SIGN = "ec" + "ff" * 31  # y = -1 has x = 0 only, yet the sign bit says that x is odd
_IDENTITY = "01" + "00" * 31
_IDENTITY_TOO = "ee" + "ff" * 30 + "7f"  # y = p + 1, the identity written another way
_MIXED_S = "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04"

# The first twelve are those published with "Taming the many EdDSAs" (Chalkias, Garillot and
# Nikolaenko, 2020), in its order; the last three are made here, as each says.
EDGE_CASES: Final = (
    EdgeCase(
        "small A and R, S = 0",
        _SMALL,
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        _SMALL_NEGATED + "00" * 32,
    ),
    EdgeCase(
        "small A, mixed R",
        _SMALL,
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        _MIXED + _MIXED_S,
    ),
    EdgeCase(
        "mixed A, small R",
        _MIXED,
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        _SMALL + "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
    ),
    EdgeCase(
        "mixed A and R, valid without the cofactor",
        _MIXED_TOO,
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f"
        "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        accepted=True,
    ),
    EdgeCase(
        "mixed A and R, valid only with the cofactor",
        _MIXED_TOO,
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512"
        "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
    ),
    EdgeCase(
        "mixed A, prime R, valid only with the cofactor",
        _MIXED_TOO,
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7"
        "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
    ),
    EdgeCase(
        "S above L",
        _PRIME,
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e"
        "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
    ),
    EdgeCase(
        "S far above L, so that a check of its top bits is not enough",
        _PRIME,
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942"
        "7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
    ),
    EdgeCase(
        "non-canonical small R, hashed as it came",
        _MIXED,
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        _BAD_SIGN + "03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
    ),
    EdgeCase(
        "non-canonical small R, hashed in canonical form",
        _MIXED,
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        _BAD_SIGN + "ca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
    ),
    EdgeCase(
        "non-canonical small A, hashed as it came",
        _BAD_SIGN,
        "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc" + _MIXED_S,
    ),
    EdgeCase(
        "non-canonical small A, hashed in canonical form",
        _BAD_SIGN,
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc" + _MIXED_S,
    ),
    # With A the identity, S·B = R + h·A holds for R the identity and S = 0, whatever was said.
    EdgeCase("A the identity", _IDENTITY, "", _IDENTITY + "00" * 32),
    EdgeCase("A the identity, non-canonical", _IDENTITY_TOO, "", _IDENTITY + "00" * 32),
    # The signature of RFC 8032 TEST 2 with L added to S: the same equation, other bytes.
    EdgeCase(
        "S + L of a good signature",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "f52db7415978abc61b2c2eb6aeebfca0387b2eaeb4302aeeb00d291612bb0c10",
    ),
)


def check_edge_cases() -> None:
    """Assert that this libsodium judges as the network does; a node calls it when it starts."""
    for case in EDGE_CASES:
        message, signature = bytes.fromhex(case.message), bytes.fromhex(case.signature)
        assert verify_bytes(bytes.fromhex(case.signer), message, signature) == case.accepted, (
            f"this libsodium would {'refuse' if case.accepted else 'accept'} a signature on which "
            f"the network decides otherwise ({case.why}): install the locked version of pynacl"
        )

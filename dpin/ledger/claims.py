"""What a process that checks signatures is asked, and how it answers.

A request is the number of claims (4 bytes, big-endian) and the claims, 128 bytes each: signer,
signature, transaction id. The answer is one bit each, the lowest bit of a byte first.
"""

from typing import Final

from dpin.base.crypto import SIGNATURE_BYTES, verify
from dpin.base.ids import ID_BYTES, ChainId, Digest, NodeId
from dpin.ledger.transactions import TRANSACTION_TAG

COUNT_BYTES: Final = 4
CLAIM_BYTES: Final = 2 * ID_BYTES + SIGNATURE_BYTES


def request(claims: bytes) -> bytes:
    """What is written to a worker."""
    assert len(claims) % CLAIM_BYTES == 0, "claims have one size"
    return (len(claims) // CLAIM_BYTES).to_bytes(COUNT_BYTES) + claims


def answer_bytes(claims: bytes) -> int:
    """How long its answer is."""
    return -(-(len(claims) // CLAIM_BYTES) // 8)


def verdicts(chain: ChainId, claims: bytes) -> bytes:
    """One bit for each claim."""
    bits = bytearray(answer_bytes(claims))
    for place, start in enumerate(range(0, len(claims), CLAIM_BYTES)):
        middle, end = start + ID_BYTES + SIGNATURE_BYTES, start + CLAIM_BYTES
        signer, signature = (
            NodeId(claims[start : start + ID_BYTES]),
            claims[start + ID_BYTES : middle],
        )
        if verify(signer, TRANSACTION_TAG, chain, Digest(claims[middle:end]), signature):
            bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)

"""A checkpoint that more than two thirds of a committee have signed: what a stranger can check.

What is signed is the note of the receipts log, whose last leaf is the checkpoint; so whoever knows
the committee needs no node, and any witness of transparency logs can sign the same note.
"""

from collections.abc import Mapping, Sequence

from dpin.base import merkle
from dpin.base.codec import Wire, encode
from dpin.base.crypto import SigningKey, verify_note
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, Digest
from dpin.ledger.checkpoint import Checkpoint, note_text
from dpin.ledger.committee import Committee


class AuthorSignature(Wire, frozen=True):
    """A member's signature over the note, by its author index."""

    author: int
    signature: bytes


class Certificate(Wire, frozen=True):
    """A checkpoint, its place as the last leaf of the receipts log, and who signed the log."""

    checkpoint: Checkpoint
    size: int
    root: Digest
    path: tuple[Digest, ...]
    signatures: tuple[AuthorSignature, ...]  # ascending by author, with the weight of a quorum


def sign_checkpoint(key: SigningKey, chain: ChainId, size: int, root: Digest) -> bytes:
    """A member's signature over the note of the log of that size and root; 64 bytes."""
    return key.sign_note(note_text(chain, size, root))


def is_signed(chain: ChainId, signer: bytes, size: int, root: Digest, signature: bytes) -> bool:
    """Whether the holder of this consensus key signed that note."""
    return verify_note(signer, note_text(chain, size, root), signature)


def stands_last(checkpoint: Checkpoint, size: int, root: Digest, path: Sequence[Digest]) -> bool:
    """Whether the checkpoint is the last leaf of the log of that size and root."""
    leaf = merkle.leaf_hash(encode(checkpoint))
    return merkle.root_from_inclusion(leaf, size - 1, size, path) == root


def chosen(signatures: Mapping[int, bytes], committee: Committee) -> tuple[AuthorSignature, ...]:
    """The fewest of these with the weight of a quorum, ascending by author; empty: too light.

    The signatures are taken to be right: check each as it comes, with `is_signed`.
    """
    taken: list[int] = []
    weight = 0
    for author in sorted(signatures, key=lambda one: (-committee.weights[one], one)):
        if weight >= committee.quorum:
            break
        taken.append(author)
        weight += committee.weights[author]
    if weight < committee.quorum:
        return ()
    return tuple(AuthorSignature(author, signatures[author]) for author in sorted(taken))


def check(certificate: Certificate, chain: ChainId, committee: Committee) -> None:
    """Raises PeerFault unless a quorum of this committee signed that log and that checkpoint."""
    checkpoint, size, root = certificate.checkpoint, certificate.size, certificate.root
    if checkpoint.epoch != committee.epoch:
        raise PeerFault("the certificate is of another epoch")
    if not stands_last(checkpoint, size, root, certificate.path):
        raise PeerFault("the checkpoint is not the last leaf of the log")
    authors = [one.author for one in certificate.signatures]
    if authors != sorted(set(authors)) or not all(0 <= one < len(committee) for one in authors):
        raise PeerFault("a certificate names members, each once, in order")
    if committee.weigh(authors) < committee.quorum:
        raise PeerFault("the certificate has less than a quorum")
    for one in certificate.signatures:
        if not is_signed(chain, committee.signer(one.author), size, root, one.signature):
            raise PeerFault(f"the signature of member {one.author} is wrong")

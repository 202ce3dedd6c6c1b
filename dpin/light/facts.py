"""What the ledger says and who says it, in a verifier's own words: plain data with its hashes.

Fields stand in the order in which they are hashed. Source: docs/protocol/proofs.md.
"""

from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from dpin.light import trees
from dpin.light.notes import ED25519, Note, Signature, Verifier, read_head, write_note
from dpin.light.pack import pack

NO_DIGEST: Final = bytes(trees.HASH_BYTES)
ACCOUNT: Final = 1  # the kind of a part of the state
SHORT_BYTES: Final = 4  # of a node's key stand in the name of its line in a note


class NotProven(ValueError):
    """What was handed over does not show what it says, or not to whom it was handed."""


def fields(fact: "Member | Checkpoint | Receipt") -> list[object]:
    """In the order in which they are hashed."""
    return [getattr(fact, name) for name in fact.__slots__]


def digest(tag: str, data: bytes) -> bytes:
    """SHA-256 in the domain of a tag."""
    return sha256(tag.encode() + b"\0" + data).digest()


@dataclass(frozen=True, slots=True)
class Member:
    """A validator for one epoch."""

    node: bytes
    signer: bytes
    weight: int
    anchor: bytes
    anchor_round: int


@dataclass(frozen=True)
class Committee:
    """Who signs the checkpoints of an epoch."""

    epoch: int
    seed: bytes
    base: int
    members: tuple[Member, ...]

    @cached_property
    def digest(self) -> bytes:
        """Its name."""
        members = [fields(member) for member in self.members]
        return digest("dpin/committee/v1", pack([self.epoch, self.seed, self.base, members]))

    @cached_property
    def total(self) -> int:
        """The weight of all."""
        return sum(member.weight for member in self.members)

    @property
    def quorum(self) -> int:
        """More than two thirds of it."""
        return 2 * self.total // 3 + 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The ledger after one commit; the last leaf of the receipts log when it is made."""

    sequence: int
    epoch: int
    height: int
    commit: bytes
    state_root: bytes
    time_ms: int
    params: bytes
    committee: bytes
    next_committee: bytes

    @property
    def leaf(self) -> bytes:
        """Its hash in the log."""
        return trees.leaf_hash(pack(fields(self)))

    @property
    def closes(self) -> bool:
        """Whether it is the last of its epoch."""
        return self.next_committee != NO_DIGEST


@dataclass(frozen=True, slots=True)
class Certificate:
    """A checkpoint, the log that ends in it, and who signed that log, by author index."""

    checkpoint: Checkpoint
    size: int
    root: bytes
    path: tuple[bytes, ...]
    signatures: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one transaction or unit: a leaf of the log."""

    height: int
    subject: bytes
    code: int
    detail: str

    @property
    def leaf(self) -> bytes:
        """Its hash in the log."""
        return trees.leaf_hash(pack(fields(self)))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state: what stands at a key, or nothing (None)."""

    kind: int
    identity: bytes
    number: int
    value: bytes | None

    @property
    def key(self) -> bytes:
        """Where it stands in the tree."""
        return digest("dpin/state-key/v1", pack([self.kind, self.identity, self.number]))

    @property
    def entry(self) -> bytes | None:
        """What stands there."""
        return None if self.value is None else digest("dpin/state-value/v1", self.value)


def note_text(chain: bytes, size: int, root: bytes) -> str:
    """What is signed: the text of a C2SP checkpoint."""
    return f"dpin/{chain.hex()}\n{size}\n{b64encode(root).decode()}\n"


def verifier_of(chain: bytes, member: Member) -> Verifier:
    """A member's key as readers of notes know keys."""
    name = f"dpin/{chain.hex()}/{member.node[:SHORT_BYTES].hex()}"
    return Verifier(name, ED25519, member.signer)


def note_of(chain: bytes, certificate: Certificate, committee: Committee) -> str:
    """The signatures of a certificate as a signed note."""
    lines = []
    for author, value in certificate.signatures:
        verifier = verifier_of(chain, committee.members[author])
        lines.append(Signature(verifier.name, verifier.key_id, value))
    text = note_text(chain, certificate.size, certificate.root)
    return write_note(Note(text, tuple(lines)))


def certified(
    chain: bytes, checkpoint: Checkpoint, path: tuple[bytes, ...], note: Note, committee: Committee
) -> Certificate:
    """A certificate from a signed note: the lines of this committee's keys, by author index.

    Lines of other keys, such as witnesses', are left aside; nothing is checked but that the note
    is of this chain's log. Raises BadNote, NotProven.
    """
    head = read_head(note.text)
    if note.text != note_text(chain, head.size, head.root):
        raise NotProven("the note is not of this network's log")
    lines = {(one.name, one.key_id): one.value for one in reversed(note.signatures)}
    signatures = []
    for author, member in enumerate(committee.members):
        verifier = verifier_of(chain, member)
        value = lines.get((verifier.name, verifier.key_id))
        if value is not None:
            signatures.append((author, value))
    return Certificate(checkpoint, head.size, head.root, path, tuple(signatures))

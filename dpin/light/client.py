"""The light client: from one thing that is trusted to whatever the ledger has committed.

It holds the newest checkpoint that it believes and the committee that signs the next ones. Within
an epoch it moves on by a certificate and a consistency proof; from epoch to epoch by closing
certificates, each of which names the next committee. Everything else is proven against those.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Final

from dpin.light import trees
from dpin.light.notes import is_signature
from dpin.light.pack import pack, unpack

NO_DIGEST: Final = bytes(trees.HASH_BYTES)
EMPTY_ROOT: Final = sha256(b"").digest()
ACCOUNT: Final = 1  # the kind of a part of the state


class NotProven(ValueError):
    """What was handed over does not show what it says, or not to whom it was handed."""


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
        members = [list(astuple(member)) for member in self.members]
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
        return trees.leaf_hash(pack(astuple(self)))


@dataclass(frozen=True, slots=True)
class Certificate:
    """A checkpoint, the log that ends in it, and who signed that log."""

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


@dataclass(frozen=True, slots=True)
class Trust:
    """What is believed without proof, and since when (milliseconds of the wall clock)."""

    chain: bytes
    committee: Committee
    seen_ms: int
    size: int = 0
    root: bytes = EMPTY_ROOT
    sequence: int = 0
    time_ms: int = 0


def note_text(chain: bytes, size: int, root: bytes) -> str:
    """What is signed: the text of a C2SP checkpoint."""
    return f"dpin/{chain.hex()}\n{size}\n{b64encode(root).decode()}\n"


def trust_genesis(data: bytes) -> Trust:
    """Trust in a network's founders, from the bytes of its genesis; raises NotProven."""
    chain = digest("dpin/genesis/v1", data)
    try:
        _name, created_ms, founders, *_ = _list(unpack(data))
        members = tuple(_founder(one) for one in _list(founders))
        if not isinstance(created_ms, int) or not members:
            raise NotProven("this genesis names nobody")
    except ValueError as problem:
        raise NotProven(f"this is no genesis: {problem}") from None
    committee = Committee(0, digest("dpin/leader-seed/v1", chain), 0, members)
    return Trust(chain, committee, created_ms)


def _founder(value: object) -> Member:
    node, weight, anchor, *_ = _list(value)
    if not isinstance(node, bytes) or not isinstance(anchor, bytes) or not isinstance(weight, int):
        raise NotProven("a founder has a key, a weight and an anchor")
    return Member(node, node, weight, anchor, 0)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise NotProven("a list is missing")
    return list(value)


class LightClient:
    """Checks what is handed over; `trust` is what it has come to believe."""

    def __init__(self, trust: Trust, now_ms: int, period_ms: int) -> None:
        """Raises NotProven for a trust that is older than its holder wants to rely on.

        Validators whose bonds are no longer held may sign anything: the period should end well
        before the time for which a bond is held after its owner has left.
        """
        if now_ms - trust.seen_ms > period_ms:
            days = (now_ms - trust.seen_ms) // 86_400_000
            raise NotProven(f"what is trusted is {days} days old, older than the trusting period")
        self.trust = trust

    def check(self, certificate: Certificate) -> int:
        """The weight that signed; raises NotProven unless a quorum of the trusted committee did."""
        committee, checkpoint = self.trust.committee, certificate.checkpoint
        if checkpoint.epoch != committee.epoch:
            raise NotProven(
                f"the certificate is of epoch {checkpoint.epoch}, the trusted committee of epoch "
                f"{committee.epoch}"
            )
        if checkpoint.committee != committee.digest:
            raise NotProven("the checkpoint was made under another committee")
        place = (certificate.size - 1, certificate.size)
        if not trees.is_included(checkpoint.leaf, place, certificate.path, certificate.root):
            raise NotProven("the checkpoint is not the last leaf of the log")
        return self._weigh(certificate)

    def _weigh(self, certificate: Certificate) -> int:
        committee = self.trust.committee
        authors = [author for author, _ in certificate.signatures]
        if authors != sorted(set(authors)) or not all(
            0 <= author < len(committee.members) for author in authors
        ):
            raise NotProven("a certificate names members, each once, in order")
        weight = sum(committee.members[author].weight for author in authors)
        if weight < committee.quorum:
            raise NotProven(
                f"signed by a weight of {weight} of {committee.total}, needed: {committee.quorum}"
            )
        text = note_text(self.trust.chain, certificate.size, certificate.root).encode()
        for author, signature in certificate.signatures:
            if not is_signature(committee.members[author].signer, text, signature):
                raise NotProven(f"the signature of member {author} is wrong, or of another network")
        return weight

    def follow(self, certificate: Certificate, proof: Sequence[bytes]) -> None:
        """Move on within the epoch; raises NotProven for what is old or not a continuation."""
        trust = self.trust
        self.check(certificate)
        if (certificate.checkpoint.sequence, certificate.size) <= (trust.sequence, trust.size):
            raise NotProven("the certificate is not newer than what is trusted")
        new = (certificate.size, certificate.root)
        if trust.size and not trees.is_prefix((trust.size, trust.root), new, proof):
            raise NotProven("the log is not a continuation of the trusted one")
        self._believe(certificate, trust.committee)

    def cross(self, closing: Certificate, committee: Committee) -> None:
        """Move on to the next epoch; raises NotProven unless the old committee named the new."""
        checkpoint = closing.checkpoint
        self.check(closing)
        if checkpoint.sequence < self.trust.sequence or closing.size < self.trust.size:
            raise NotProven("the certificate is older than what is trusted")
        if checkpoint.next_committee in {NO_DIGEST, b""}:
            raise NotProven("this checkpoint does not close its epoch")
        named = checkpoint.next_committee == committee.digest
        if not named or committee.epoch != checkpoint.epoch + 1 or not committee.members:
            raise NotProven("the old committee named another committee")
        self._believe(closing, committee)

    def _believe(self, certificate: Certificate, committee: Committee) -> None:
        """Ledger time stops while the network does, so a trust is never younger than it seems."""
        checkpoint, trust = certificate.checkpoint, self.trust
        passed = max(0, checkpoint.time_ms - trust.time_ms)
        self.trust = replace(
            trust,
            committee=committee,
            seen_ms=trust.seen_ms + passed,
            size=certificate.size,
            root=certificate.root,
            sequence=checkpoint.sequence,
            time_ms=checkpoint.time_ms,
        )

    def receipt(
        self, receipt: Receipt, index: int, path: Sequence[bytes], certificate: Certificate
    ) -> None:
        """Raises NotProven unless the ledger says this, below a certificate of the committee."""
        self.check(certificate)
        leaf = trees.leaf_hash(pack(astuple(receipt)))
        if not trees.is_included(leaf, (index, certificate.size), path, certificate.root):
            raise NotProven("the receipt is not in the log that was signed")

    def account(
        self,
        node: bytes,
        value: bytes | None,
        where: tuple[bytes, Sequence[bytes]],
        certificate: Certificate,
    ) -> None:
        """Raises NotProven unless the account holds just this, or is not there (None).

        `where` is its bucket and the path from there to the state root of the checkpoint.
        """
        self.check(certificate)
        bucket, path = where
        key = digest("dpin/state-key/v1", pack([ACCOUNT, node, 0]))
        if not trees.leads_to(bucket, path, key, certificate.checkpoint.state_root):
            raise NotProven("the bucket is not part of the state that was signed")
        expected = None if value is None else digest("dpin/state-value/v1", value)
        if trees.entry_of(bucket, key) != expected:
            raise NotProven("the account does not hold this")

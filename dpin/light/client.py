"""The light client: from one thing that is trusted to whatever the ledger has committed.

It holds the newest checkpoint that it believes and the committee that signs the next ones. Within
an epoch it moves on by a certificate and a consistency proof; from epoch to epoch by closing
certificates, each of which names the next committee. Everything else is proven against those.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from dpin.light import trees
from dpin.light.facts import (
    Certificate,
    Committee,
    Member,
    NotProven,
    Part,
    Receipt,
    digest,
    note_text,
)
from dpin.light.notes import is_signature
from dpin.light.pack import unpack

EMPTY_ROOT: Final = sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Trust:
    """What is believed without proof, and when it was so (milliseconds of the wall clock)."""

    chain: bytes
    committee: Committee
    seen_ms: int
    size: int = 0
    root: bytes = EMPTY_ROOT
    sequence: int = 0
    time_ms: int = 0


def trust_genesis(data: bytes) -> Trust:
    """Trust in a network's founders, from the bytes of its genesis; raises NotProven."""
    chain = digest("dpin/genesis/v1", data)
    try:
        _name, created_ms, founders, *_ = _list(unpack(data))
        members = tuple(_founder(one) for one in _list(founders))
        if not isinstance(created_ms, int) or not members:
            raise NotProven("it names nobody")
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
    """Checks what is handed over; `trust` is what it has come to believe.

    Validators whose bonds are no longer held may sign anything: whoever relies on a trust looks at
    its age first.
    """

    def __init__(self, trust: Trust) -> None:
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
        self.check(certificate)
        self.continues(certificate, proof)
        if not self.is_newer(certificate):
            raise NotProven("the certificate is not newer than what is trusted")
        self._believe(certificate, self.trust.committee)

    def advance(self, certificate: Certificate) -> None:
        """Move on within the epoch because a quorum signed, if that is newer; raises NotProven.

        Whether the log goes on from the trusted one is not looked at: see `continues`.
        """
        self.check(certificate)
        if self.is_newer(certificate):
            self._believe(certificate, self.trust.committee)

    def is_newer(self, certificate: Certificate) -> bool:
        """Whether it goes beyond what is trusted."""
        trust = self.trust
        return certificate.checkpoint.sequence > trust.sequence and certificate.size > trust.size

    def continues(self, certificate: Certificate, proof: Sequence[bytes]) -> None:
        """Raises NotProven unless its log begins with the trusted one; every log does with none."""
        trust = self.trust
        old, new = (trust.size, trust.root), (certificate.size, certificate.root)
        if trust.size and not trees.is_prefix(old, new, proof):
            raise NotProven("the log is not a continuation of the trusted one")

    def cross(self, closing: Certificate, committee: Committee) -> None:
        """Move on to the next epoch; raises NotProven unless the old committee named the new."""
        checkpoint = closing.checkpoint
        self.check(closing)
        if checkpoint.sequence < self.trust.sequence or closing.size < self.trust.size:
            raise NotProven("the certificate is older than what is trusted")
        if not checkpoint.closes:
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


def check_receipt(
    receipt: Receipt, index: int, path: Sequence[bytes], certificate: Certificate
) -> None:
    """Raises NotProven unless it stands in the log of a certificate, which was checked before."""
    if not trees.is_included(receipt.leaf, (index, certificate.size), path, certificate.root):
        raise NotProven("the receipt is not in the log that was signed")


def check_part(part: Part, bucket: bytes, path: Sequence[bytes], certificate: Certificate) -> None:
    """Raises NotProven unless just this stands in the state of a certificate, checked before.

    `bucket` is where the part's key would stand, `path` leads from there to the state root.
    """
    if not trees.leads_to(bucket, path, part.key, certificate.checkpoint.state_root):
        raise NotProven("the bucket is not part of the state that was signed")
    if trees.entry_of(bucket, part.key) != part.entry:
        raise NotProven("the state does not hold this")

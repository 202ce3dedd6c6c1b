"""A log whose checkpoints a committee signs: a small history to prove things from."""

from functools import cache

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, ChainId, Digest, NodeId
from dpin.base.logtree import LogTree
from dpin.ledger.certificates import Certificate, chosen, sign_checkpoint
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.committee import Committee
from dpin.ledger.order import Receipt
from dpin.light import facts

CHAIN = ChainId(digest("test/chain", b""))


@cache
def key_of(name: str) -> SigningKey:
    """Somebody's key."""
    return SigningKey(digest("test/key", name.encode()))


def keys_of(count: int, epoch: int = 0) -> list[SigningKey]:
    """A committee's keys, in the order of their nodes."""
    return sorted(
        (key_of(f"{epoch}/{number}") for number in range(count)), key=lambda key: key.node_id
    )


def committee_of(weights: tuple[int, ...], epoch: int = 0) -> Committee:
    """The members of an epoch, who sign with their own keys."""
    members = tuple(key.node_id for key in keys_of(len(weights), epoch))
    return Committee(members, weights, NO_DIGEST, epoch)


def receipt_of(number: int) -> Receipt:
    """A leaf that says nothing of importance."""
    return Receipt(1 + number // 10, digest("test/subject", encode(number)), 0, "ok")


class History:
    """Receipts and checkpoints of one epoch, in the order of the log."""

    def __init__(self, weights: tuple[int, ...] = (1, 1, 1, 1)) -> None:
        self.committee = committee_of(weights)
        self.keys = keys_of(len(weights))
        self.stranger = key_of("stranger")
        self.leaves: list[Digest] = []
        self.sequence = 0
        self.made_under = NO_DIGEST  # digest of the committee, as checkpoints name it

    def grow(self, count: int) -> None:
        """Receipts."""
        for _ in range(count):
            self.leaves.append(merkle.leaf_hash(encode(receipt_of(len(self.leaves)))))

    @property
    def known(self) -> facts.Committee:
        """The committee, as a verifier knows it."""
        members = tuple(
            facts.Member(node, node, weight, bytes(32), 0)
            for node, weight in zip(self.committee.members, self.committee.weights, strict=True)
        )
        return facts.Committee(0, bytes(32), 0, members)

    @property
    def tree(self) -> LogTree:
        """The log, as its keeper has it."""
        log = LogTree()
        for leaf in self.leaves:
            log.append(leaf)
        return log

    def certify(self, state_root: Digest = NO_DIGEST) -> Certificate:
        """A checkpoint as the next leaf, signed by all."""
        self.sequence += 1
        time_ms = 1_000 * self.sequence
        checkpoint = Checkpoint(
            sequence=self.sequence,
            epoch=0,
            height=10,
            commit=NO_DIGEST,
            state_root=state_root,
            time_ms=time_ms,
            params=NO_DIGEST,
            committee=self.made_under,
            next_committee=NO_DIGEST,
        )
        self.leaves.append(merkle.leaf_hash(encode(checkpoint)))
        size, root = len(self.leaves), merkle.root(self.leaves)
        path = tuple(merkle.inclusion_proof(self.leaves, size - 1))
        signed = {
            author: sign_checkpoint(key, CHAIN, size, root) for author, key in enumerate(self.keys)
        }
        return Certificate(checkpoint, size, root, path, chosen(signed, self.committee))

    def member(self, author: int) -> NodeId:
        """Whose index that is."""
        return self.committee.members[author]

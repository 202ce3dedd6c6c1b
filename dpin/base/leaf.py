"""Leaves of a unit: the state of a computation at a window's end, bound to its job (H1).

The leaves of a unit are the leaves of a Merkle tree whose root its commit carries. A leaf's digest
is what verifiers commit to and reveal; the tree hashes digests, so that a leaf can be proven by its
digest alone.
"""

from collections.abc import Sequence
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, JobId, Round
from dpin.base.merkle import inclusion_proof, leaf_hash, root, root_from_inclusion

LEAF_TAG: Final = "dpin/leaf/v1"


class Leaf(Wire, frozen=True):
    """The state at the end of window `window` of a unit; window 0 is its start (H1).

    `parameters` is the state hash (root over int64 tensors) at window 0, else the root over the
    float32 tensors; `optimizer` is the root over both AdamW moments, NO_DIGEST when all are zero.
    Of a unit that nobody can do again both are NO_DIGEST after window 0.
    """

    job: JobId
    lease: Digest
    round: Round
    window: int
    step: int  # inner steps of this unit done so far
    parameters: Digest
    optimizer: Digest
    error_buffer: Digest
    cursor: int  # global step number: round * steps + step


def leaf_digest(leaf: Leaf) -> Digest:
    """What a verifier commits to when it has found this leaf."""
    return digest(LEAF_TAG, encode(leaf))


def leaves_root(leaves: Sequence[Leaf]) -> Digest:
    """The root that a commit carries."""
    return root([leaf_hash(leaf_digest(leaf)) for leaf in leaves])


def leaf_path(leaves: Sequence[Leaf], window: int) -> tuple[Digest, ...]:
    """The inclusion path of leaf `window`."""
    return tuple(inclusion_proof([leaf_hash(leaf_digest(leaf)) for leaf in leaves], window))


def opens(root_: Digest, leaf: Leaf, leaves: int, path: Sequence[Digest]) -> bool:
    """Whether `leaf` stands at its window among `leaves` leaves under the root."""
    found = root_from_inclusion(leaf_hash(leaf_digest(leaf)), leaf.window, leaves, path)
    return found == root_


def opened(data: bytes, path: Sequence[Digest], leaves: int, root_: Digest) -> Leaf:
    """The leaf that `data` encodes, shown to stand under the root; raises PeerFault otherwise."""
    leaf = decode(Leaf, data)
    if not opens(root_, leaf, leaves, path):
        raise PeerFault("the path does not lead from this leaf to the root")
    return leaf


def window_bounds(steps: int, windows: int) -> list[int]:
    """Step counts at which the windows of a unit end: [0, ..., steps], equal to within one."""
    return [steps * index // windows for index in range(windows + 1)]

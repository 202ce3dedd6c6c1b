"""What a unit's work is bound to: its leaves on the ledger."""

from collections.abc import Sequence

from dpin.base.codec import encode
from dpin.base.ids import NO_DIGEST, BlobId, Digest, JobId, Round
from dpin.base.leaf import Leaf, leaf_path, leaves_root
from dpin.ledger.transactions import Commit, LeafPath, OpenLeaf


def opened(leaves: Sequence[Leaf], window: int) -> LeafPath:
    """Leaf `window` as the ledger takes it."""
    return LeafPath(encode(leaves[window]), leaf_path(leaves, window))


def commit_of(leaves: Sequence[Leaf], update: BlobId, error_buffer: Digest = NO_DIGEST) -> Commit:
    """The commit of a finished unit."""
    first, last = leaves[0], leaves[-1]
    return Commit(
        lease=first.lease,
        round=first.round,
        root=leaves_root(leaves),
        leaves=len(leaves),
        steps=last.step,
        first=opened(leaves, 0),
        update=update,
        error_buffer=error_buffer,
    )


def open_leaf_of(leaves: Sequence[Leaf], window: int) -> OpenLeaf:
    """The opening of the leaf that ends checked window `window`, and of the last."""
    first = leaves[0]
    return OpenLeaf(
        first.lease, first.round, opened(leaves, window), opened(leaves, len(leaves) - 1)
    )


def generation_leaves(
    job: JobId, lease: Digest, model: Digest, output: Digest, steps: int
) -> tuple[Leaf, Leaf]:
    """The two leaves of a generation: the model it starts from, the output it ends in."""
    start = Leaf(job, lease, Round(0), 0, 0, model, NO_DIGEST, NO_DIGEST, 0)
    return start, Leaf(job, lease, Round(0), 1, steps, output, NO_DIGEST, NO_DIGEST, steps)

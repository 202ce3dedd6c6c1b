"""What a node says of the signatures in somebody else's proof."""

from dpin.node.status import View


class CheckpointView(View):
    """A checkpoint that a quorum has signed, by what was signed: the log that ends in it."""

    epoch: int
    sequence: int
    log_size: int
    log_root: str


class ComparisonView(View):
    """`verdict`: "same", "other", "unknown" or "unsigned", of the checkpoint that decided it.

    That is the oldest one which contradicts, or was not signed, else the newest of the proof.
    `own` is what it contradicts, `signed_both` the ids of the validators who are known to have
    signed one and the other.
    """

    verdict: str
    compared: int
    known: int  # of those: the same here
    checkpoint: CheckpointView
    own: CheckpointView | None
    signed_both: list[str]

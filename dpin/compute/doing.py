"""What a worker was doing when it failed, in the words of people."""

from typing import Final

from dpin.base.errors import helping
from dpin.compute.tallies import Total
from dpin.compute.task import (
    Evaluate,
    Export,
    Failed,
    MergeRound,
    OpenJob,
    Prepare,
    TrainUnit,
)

REFUSED: Final = "the disk refused: "  # begins what the system says of a file or folder
_DOING: Final = {
    Prepare.__name__: "preparing the job",
    OpenJob.__name__: "loading the job",
    TrainUnit.__name__: "training",
    MergeRound.__name__: "merging a round",
    Evaluate.__name__: "measuring the loss",
    Export.__name__: "writing the result",
    Total.__name__: "writing the result",
}


def refused(error: OSError) -> str:
    """What the system says, which place it is about, and what helps, in words of people."""
    where = f" ({error.filename})" if error.filename else ""
    fix = helping(error)
    return f"{REFUSED}{error.strerror}{where}" + (f"; {fix}" if fix else "")


def unwritten(failed: Failed) -> bool:
    """Whether a result is there, and its folder does not take it: that can be mended."""
    results = {Export.__name__, Total.__name__}
    return failed.command in results and failed.reason.startswith(REFUSED)


def told(failed: Failed) -> str:
    """One sentence; a command without words of its own goes by its name."""
    words = f"{_DOING.get(failed.command, failed.command)}: {failed.reason}"
    return f"{words}; {failed.fix}" if failed.fix else words

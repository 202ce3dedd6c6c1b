"""What a worker was doing when it failed, in the words of people."""

from typing import Final

from dpin.compute.task import (
    Evaluate,
    Export,
    Failed,
    MergeRound,
    OpenJob,
    Prepare,
    TrainUnit,
)

_DOING: Final = {
    Prepare.__name__: "preparing the job",
    OpenJob.__name__: "loading the job",
    TrainUnit.__name__: "training",
    MergeRound.__name__: "merging a round",
    Evaluate.__name__: "measuring the loss",
    Export.__name__: "writing the result",
}


def told(failed: Failed) -> str:
    """One sentence; a command without words of its own goes by its name."""
    return f"{_DOING.get(failed.command, failed.command)}: {failed.reason}"

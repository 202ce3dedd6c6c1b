"""What a node and its forkserver say to each other, one message a packet."""

from typing import Final

from dpin.base.codec import Wire
from dpin.compute.engine import Engine

PIPES: Final = 3  # descriptors that come with a Fork: stdin, stdout and stderr of the worker
ASKED_BYTES_MAX: Final = 1 << 16


class Fork(Wire, frozen=True, tag=1):
    """Make worker `number`, in `folder`, with these additions to the environment."""

    number: int
    folder: str
    nice: int
    memory_bytes: int
    engine: Engine
    environment: tuple[tuple[str, str], ...]


class Known(Wire, frozen=True, tag=2):
    """The node knows that worker `number` has ended and will not name its process id again."""

    number: int


class Born(Wire, frozen=True, tag=3):
    """Worker `number` runs; `pid` is its process id and its group's."""

    number: int
    pid: int


class Gone(Wire, frozen=True, tag=4):
    """Worker `number` has ended with this exit code (negative: the signal)."""

    number: int
    code: int


Asked = Fork | Known
Answer = Born | Gone

"""Blocking work on the disk, done in a thread."""

from collections.abc import Callable
from typing import TypeVar

import trio

from dpin.base.errors import Unavailable

T = TypeVar("T")


async def on_disk(work: Callable[[], T]) -> T:
    """Do blocking work in a thread; what the disk refuses becomes Unavailable."""
    try:
        return await trio.to_thread.run_sync(work)
    except OSError as error:
        raise refusal(error) from error


def refusal(error: OSError) -> Unavailable:
    """What the disk said, as what a caller can be told."""
    where = f" ({error.filename})" if error.filename else ""
    return Unavailable(f"the disk refused: {error.strerror or error}{where}")

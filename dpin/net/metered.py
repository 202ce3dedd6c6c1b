"""What one coroutine costs in processor time: its own steps, not what happens while it waits."""

from collections.abc import Awaitable, Callable, Generator
from time import thread_time_ns
from types import coroutine
from typing import Final, TypeVar

T = TypeVar("T")
NANOS_PER_MICRO: Final = 1_000


@coroutine
def metered(awaitable: Awaitable[T], spend: Callable[[int], None]) -> Generator[object, object, T]:
    """Await, and tell `spend` the microseconds of each step; what it raises passes through.

    Work that is given to a thread is not counted.
    """
    steps = awaitable.__await__()
    sent: object = None
    raised: BaseException | None = None
    while True:
        began = thread_time_ns()
        try:
            waiting = steps.send(sent) if raised is None else steps.throw(raised)
        except StopIteration as stop:
            found: T = stop.value
            return found
        finally:
            spend((thread_time_ns() - began) // NANOS_PER_MICRO)
        try:
            sent, raised = (yield waiting), None
        except BaseException as error:  # noqa: BLE001  It goes to whoever waits, Cancelled too.
            sent, raised = None, error

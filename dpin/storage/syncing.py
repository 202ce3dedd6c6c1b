"""One thread that waits for the disk and for nothing else.

trio's own threads are for work of any kind: each job takes a limiter, a copied context and two
turns of the loop. A node syncs in every round; here a job is put into a queue and told when done.
"""

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Final

import trio

Job = Callable[[], None]
_Handed = tuple[Job, Callable[[BaseException | None], None]]  # what to do, and whom to tell
_NAME: Final = "dpin-disk"


class DiskThread:
    """Runs jobs one after the other; started with the first, ended by `close`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Handed | None] = SimpleQueue()
        self._thread: Thread | None = None

    async def run(self, job: Job) -> None:
        """Return when the job is done; raises what it raised. It is not cancelled midway."""
        if self._thread is None:
            # Whoever runs a job waits for it, so the process may leave the thread behind.
            self._thread = Thread(target=_work, args=(self._jobs,), name=_NAME, daemon=True)
            self._thread.start()
        task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        errors: list[BaseException] = []

        def tell(error: BaseException | None) -> None:
            errors.extend([error] if error is not None else [])
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(trio.lowlevel.reschedule, task)

        self._jobs.put((job, tell))
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Let the thread end behind the jobs that it has."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None


def _work(jobs: "SimpleQueue[_Handed | None]") -> None:
    while (handed := jobs.get()) is not None:
        job, tell = handed
        try:
            job()
        except BaseException as error:  # noqa: BLE001  Whoever waits for it gets it.
            tell(error)
        else:
            tell(None)

"""A process that has loaded torch once and forks a worker off for each that is asked for.

`python -m dpin.compute.forker`, with a socket as stdin on which whole messages come (Unix,
sequential packets). A message asks for a worker and brings the three pipes that will be its stdin,
stdout and stderr; the answers name its process id and, when it has ended, its exit code. A child
that has ended stays a zombie until the node has said that it knows: until then nobody else can have
its process id, so the node may kill by it.

Nothing is computed here, so that no thread and no device exists when a worker is forked. The
process ends when the socket closes; workers end by themselves when their own stdin closes.
"""

import gc
import os
import select
import socket
import sys
import traceback
from dataclasses import dataclass, field
from typing import Final, NoReturn, assert_never

from dpin.base.codec import decode, encode
from dpin.compute import executor
from dpin.compute.forks import ASKED_BYTES_MAX, PIPES, Answer, Asked, Born, Fork, Gone, Known

LINK: Final = 0


@dataclass(slots=True)
class Forker:
    """The children there are, by the descriptors that tell of their ends."""

    link: socket.socket
    poll: select.poll = field(default_factory=select.poll)
    children: dict[int, tuple[int, int]] = field(default_factory=dict)  # pidfd: number, pid
    ended: dict[int, int] = field(default_factory=dict)  # number: pid, not yet reaped

    def serve(self) -> None:
        """Until the node closes the socket."""
        self.poll.register(self.link, select.POLLIN)
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor != self.link.fileno():
                    self._tell_end(descriptor)
                elif not self._answer():
                    return

    def _answer(self) -> bool:
        """Take one message; False where the node has closed the socket."""
        data, descriptors, _, _ = socket.recv_fds(self.link, ASKED_BYTES_MAX, PIPES)
        if not data:
            return False
        asked: Asked = decode(Asked, data)
        match asked:
            case Fork():
                self._fork(asked, descriptors)
            case Known(number):
                os.waitpid(self.ended.pop(number), 0)
            case _:
                assert_never(asked)
        return True

    def _fork(self, wanted: Fork, descriptors: list[int]) -> None:
        pid = os.fork()
        if not pid:
            self._become(wanted, descriptors)
        os.setpgid(pid, pid)  # Here too: the node may kill the group as soon as it hears of it.
        for descriptor in descriptors:
            os.close(descriptor)
        watched = os.pidfd_open(pid)
        self.children[watched] = (wanted.number, pid)
        self.poll.register(watched, select.POLLIN)
        self._say(Born(wanted.number, pid))

    def _become(self, wanted: Fork, descriptors: list[int]) -> NoReturn:
        """In the child: be the worker, then end, whatever happens."""
        code = 1
        try:
            os.setpgid(0, 0)
            for place, descriptor in enumerate(descriptors):
                os.dup2(descriptor, place)
            self.link.close()
            for descriptor in (*descriptors, *self.children):
                os.close(descriptor)
            os.environ.update(wanted.environment)
            os.chdir(wanted.folder)
            executor.serve(wanted.nice, wanted.memory_bytes, wanted.engine)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001  A fork must never go on as its parent.
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _tell_end(self, watched: int) -> None:
        number, pid = self.children.pop(watched)
        self.poll.unregister(watched)
        os.close(watched)
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None, "WNOHANG was not asked for"
        self.ended[number] = pid
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        self._say(Gone(number, code))

    def _say(self, answer: Answer) -> None:
        self.link.send(encode(answer))


def main() -> None:
    """Serve the node that has started this."""
    link = socket.socket(fileno=os.dup(LINK))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, LINK)
    os.close(nothing)
    gc.freeze()  # What is loaded is never collected, so its pages stay shared.
    Forker(link).serve()


if __name__ == "__main__":
    main()

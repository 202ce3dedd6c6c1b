"""The trusted side of a sandboxed process: started, asked, and stopped when it does not answer.

It is a child of the worker, so it ends with the worker's process group; the worker itself goes on
when the code breaks, fills its memory or never comes back.
"""

import mmap
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
from torch import Tensor

from dpin.base.codec import decode
from dpin.base.errors import Misuse, PeerFault, Unavailable
from dpin.compute.confine import missing
from dpin.compute.foreign import (
    Answer,
    Attach,
    Build,
    Built,
    Cell,
    Confined,
    Places,
    Question,
    Score,
    Wrong,
    count_of,
    size_of,
)
from dpin.compute.frames import Unframer, framed
from dpin.compute.modulespec import CODE_BYTES_MAX, TensorShape, check_layout

PACKAGE_ROOT: Final = Path(__file__).parents[2]
READ_BYTES: Final = 1 << 16
START_SECONDS: Final = 600.0  # until torch is loaded, on a machine that is very busy
ANSWER_SECONDS: Final = 120.0  # of the code: one step, or its construction
LOOK_SECONDS: Final = 0.5
OOM_SCORE: Final = "1000"  # where memory is short, the kernel ends this process before any other


class Sandbox:
    """See foreign.Cells. One process at a time, since a worker holds one job."""

    def __init__(
        self,
        pulse: Callable[[], None],
        answer_seconds: float = ANSWER_SECONDS,
        memory_bytes: int = 0,
    ) -> None:
        """`pulse` raises where nobody waits any more; memory 0: half of what is free."""
        self._pulse = pulse
        self._answer_seconds = answer_seconds
        self._memory_bytes = memory_bytes
        self._process: Process | None = None

    def missing(self) -> str:
        """See foreign.Cells."""
        return missing()

    def open(self, code: bytes, entry: str, seed: int) -> Cell:
        """See foreign.Cells."""
        if self.missing():
            raise Unavailable(f"no sandbox on this machine: {self.missing()}")
        if len(code) > CODE_BYTES_MAX:
            raise Misuse(f"code of {len(code)} bytes, at most {CODE_BYTES_MAX} are run")
        return Held(self, Build(code, entry, seed))

    def process(self) -> "Process":
        """The process, started anew where the last one was stopped."""
        if self._process is None or self._process.gone:
            memory = self._memory_bytes or psutil.virtual_memory().available // 2
            self._process = Process(memory, self._answer_seconds, self._pulse)
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()


class Held:
    """See foreign.Cell: one module, built again in a fresh process where the last was stopped."""

    def __init__(self, sandbox: Sandbox, build: Build) -> None:
        self._sandbox = sandbox
        self._build = build
        self._layout = sandbox.process().build(self, build)

    @property
    def layout(self) -> tuple[TensorShape, ...]:
        """See foreign.Cell."""
        return self._layout

    def built(self) -> Tensor:
        """See foreign.Cell."""
        return self._ready(1).flat.clone()

    def loss(self, flat: Tensor, rows: Tensor) -> float:
        """See foreign.Cell."""
        return self._score(flat, rows, gradient=False)[0]

    def gradient(self, flat: Tensor, rows: Tensor) -> tuple[float, Tensor]:
        """See foreign.Cell."""
        return self._score(flat, rows, gradient=True)

    def _ready(self, rows: int) -> Places:
        process = self._sandbox.process()
        if process.holds is not self and process.build(self, self._build) != self._layout:
            raise PeerFault("the code makes another module each time")
        return process.attached(count_of(self._layout), rows)

    def _score(self, flat: Tensor, rows: Tensor, *, gradient: bool) -> tuple[float, Tensor]:
        places = self._ready(rows.numel())
        places.flat.copy_(flat)
        places.rows[: rows.numel()].copy_(rows.reshape(-1))
        self._sandbox.process().ask(Score(rows.shape[0], rows.shape[1], gradient))
        return float(places.loss[0]), places.gradient


class Process:
    """One locked-up process and the memory shared with it."""

    def __init__(self, memory_bytes: int, answer_seconds: float, pulse: Callable[[], None]) -> None:
        self._pulse = pulse
        self._seconds = answer_seconds
        self._unframer = Unframer()
        self._answers: list[Answer] = []
        self._places: Places | None = None
        self.holds: Held | None = None
        self._shared = os.memfd_create("dpin-module")
        self._child = _started(memory_bytes, self._shared)
        Path(f"/proc/{self._child.pid}/oom_score_adj").write_text(OOM_SCORE, "ascii")
        answer = self._answer(START_SECONDS)
        if not isinstance(answer, Confined):
            raise Unavailable("the sandbox did not start")

    @property
    def gone(self) -> bool:
        """Whether another has to be started."""
        return self._child.returncode is not None

    def build(self, holder: Held, build: Build) -> tuple[TensorShape, ...]:
        """Run code; what it trains. Raises PeerFault."""
        self.holds, self._places = None, None
        answer = self.ask(build)
        if not isinstance(answer, Built):
            raise PeerFault("the module does not answer as it should")
        check_layout(answer.layout)
        self.holds = holder
        return answer.layout

    def attached(self, parameters: int, rows: int) -> Places:
        """The shared memory, with room for so much."""
        if self._places is None or self._places.rows.numel() < rows:
            size = size_of(parameters, rows)
            os.ftruncate(self._shared, size)
            memory = memoryview(mmap.mmap(self._shared, size))
            self.ask(Attach(parameters, rows))
            self._places = Places(memory, parameters, rows)
        return self._places

    def ask(self, question: Question) -> Answer:
        """One question; raises PeerFault where the code fails or does not answer in time."""
        stdin = self._child.stdin
        assert stdin is not None, "the child was started with pipes"
        try:
            stdin.write(framed(question))
            stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        answer = self._answer(self._seconds)
        if isinstance(answer, Wrong):
            raise PeerFault(f"the module failed: {answer.reason}")
        return answer

    def end(self) -> None:
        """End it now."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None, "the child was started with pipes"
            pipe.close()
        if self._shared >= 0:
            os.close(self._shared)
            self._shared = -1

    def _answer(self, seconds: float) -> Answer:
        until = time.monotonic() + seconds
        while not self._answers:
            self._read(until, seconds)
        return self._answers.pop(0)

    def _read(self, until: float, seconds: float) -> None:
        stdout = self._child.stdout
        assert stdout is not None, "the child was started with pipes"
        while not select.select([stdout], [], [], LOOK_SECONDS)[0]:
            self._pulse()
            if time.monotonic() > until:
                self.end()
                raise PeerFault(f"the module was stopped: no answer in {seconds:g} seconds")
        data = os.read(stdout.fileno(), READ_BYTES)
        if not data:
            raise self._died()
        try:
            self._answers += [decode(Answer, frame) for frame in self._unframer.feed(data)]
        except PeerFault:
            self.end()
            raise

    def _died(self) -> PeerFault:
        code = self._child.wait()
        self.end()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return PeerFault(f"the module's process ended ({how}): out of memory, or it broke")


def _started(memory_bytes: int, shared: int) -> subprocess.Popen[bytes]:
    """It knows nothing of this machine but where libraries are."""
    kept = ("PATH", "LD_LIBRARY_PATH", "ATEN_CPU_CAPABILITY")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", "-m", "dpin.compute.sandboxed", str(memory_bytes), str(shared)]
    return subprocess.Popen(  # noqa: S603  # A program of our own.
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment | {"PYTHONPATH": str(PACKAGE_ROOT), "HOME": "/"},
        pass_fds=(shared,),
    )

"""A worker's process as the node holds it: its pipes, its id, its end."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import trio
from trio.abc import ReceiveStream, SendStream

from dpin.base.codec import encode
from dpin.compute.engine import ONE_PROCESS, Engine

# What a child may know of the node's surroundings: where programs, libraries and devices are.
INHERITED: Final = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "ATEN_CPU_CAPABILITY",
)
FIXED: Final = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic products on CUDA
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",  # nothing is fetched but what a manifest names
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "USE_TF": "0",
}
INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
LOOPBACK: Final = "lo" if sys.platform == "linux" else "lo0"
PACKAGE_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How to run the child. `folder` is its working directory: relative names count from there."""

    folder: Path
    nice: int = 10
    memory_bytes: int = 0  # of address space, which torch alone needs 4 GiB of; 0: no limit
    engine: Engine = ONE_PROCESS


class Child(Protocol):
    """A running process with three pipes, which leads a process group of its own."""

    @property
    def pid(self) -> int:
        """Its process id and its group's."""

    @property
    def returncode(self) -> int | None:
        """Its exit code (negative: the signal), once it is known to have ended."""

    @property
    def stdin(self) -> SendStream:
        """Where it reads."""

    @property
    def stdout(self) -> ReceiveStream:
        """What it reports."""

    @property
    def stderr(self) -> ReceiveStream:
        """What it complains of."""

    async def wait(self) -> int:
        """Until it has ended; its exit code."""


class Executed:
    """A child that trio has started. See Child for what it shows."""

    def __init__(self, process: trio.Process) -> None:
        """`process` was started with three pipes."""
        assert process.stdin is not None, "the child was started with pipes"
        assert process.stdout is not None, "the child was started with pipes"
        assert process.stderr is not None, "the child was started with pipes"
        self._process = process
        self.stdin: SendStream = process.stdin
        self.stdout: ReceiveStream = process.stdout
        self.stderr: ReceiveStream = process.stderr

    @property
    def pid(self) -> int:
        """See Child."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """See Child."""
        return self._process.returncode

    async def wait(self) -> int:
        """See Child."""
        return await self._process.wait()


def surroundings(engine: Engine) -> dict[str, str]:
    """Where a group's processes talk: on this machine alone, or where the operator says."""
    if engine.nnodes > 1:
        return {name: os.environ[name] for name in INTERFACES if name in os.environ}
    return dict.fromkeys(INTERFACES, LOOPBACK)


def environment() -> dict[str, str]:
    """What a process of ours that loads torch gets to know."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **FIXED, "PYTHONPATH": str(PACKAGE_ROOT)}


async def executed(options: WorkerOptions) -> Child:
    """A child that is a new program, which loads torch itself."""
    command = [sys.executable, "-P", "-m", "dpin.compute.executor"]
    command += ["--nice", str(options.nice), "--memory", str(options.memory_bytes)]
    command += ["--engine", encode(options.engine).hex()]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=options.folder,
        env={**environment(), **surroundings(options.engine)},
        start_new_session=True,
    )
    return Executed(process)

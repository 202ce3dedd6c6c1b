"""The other processes of a provider's group on this machine, kept by torchrun.

torchrun starts them again when one fails, as often as the engine says. They end when it ends, or,
should it be killed, as soon as they find rank 0's store gone.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from dpin.compute.engine import Engine

STOP_SECONDS: Final = 5.0
PACKAGE_ROOT: Final = Path(__file__).parents[2]


class TorchRun:
    """See crew.Members."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, port: int) -> None:
        """See crew.Members."""
        here = self._engine.nproc_per_node - 1
        if not here:
            return  # All others are on other machines.
        store = f"{self._engine.endpoint[0]}:{port}"
        command = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(here), "--monitor-interval", "0.1"]
        command += ["--max-restarts", str(self._engine.max_restarts)]
        command += ["--no-python", sys.executable, "-P", "-m", "dpin.compute.member"]
        command += ["--store", store, "--first-device", "1"]
        # Its stdin is not the pipe of commands, and its stdout is where this process has its words.
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
        self._process = subprocess.Popen(  # noqa: S603  # A program of our own.
            command, stdin=subprocess.DEVNULL, env=environment
        )

    def stop(self) -> None:
        """See crew.Members."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def say(words: str) -> None:
    """To whoever reads this process's stderr."""
    os.write(sys.stderr.fileno(), f"{words}\n".encode())

"""The worker process: commands in on stdin, reports out on stdout, torch in between.

`python -m dpin.compute.executor [--nice N] [--memory BYTES] [--engine HEX]`. It ends when stdin
closes, also in the middle of a unit: nobody waits for the work any more. Whatever libraries print
goes to stderr.
"""

import argparse
import os
import resource
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dpin.base.codec import decode
from dpin.base.errors import Misuse
from dpin.compute.crew import Surroundings
from dpin.compute.door import Door
from dpin.compute.engine import ONE_PROCESS, Engine
from dpin.compute.frames import Unframer, framed
from dpin.compute.probe import settle
from dpin.compute.sandbox import Sandbox
from dpin.compute.session import Session
from dpin.compute.task import Command, Report
from dpin.compute.torchrun import TorchRun, say

READ_BYTES: Final = 1 << 16
STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
NANOS_PER_MILLI: Final = 1_000_000


class ParentGone(BaseException):
    """The node has closed the pipe or is dead: no command's error, it ends the process."""


class Disk:
    """Files of this machine; relative names count from the folder the process was started in."""

    def read(self, path: str) -> bytes:
        """See dpin.compute.door.Files."""
        return Path(path).read_bytes()

    def write(self, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """See dpin.compute.door.Files. No reader meets a half-written file."""
        target = Path(folder).resolve() / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        with partial.open("wb") as file:
            file.writelines(parts)
        partial.replace(target)
        return str(target)

    def rewrite(self, old: str, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """See dpin.compute.door.Files. The kernel has pages for it already, and finds no new ones.

        Where it first has to ask a host for them, that takes ten times as long as to write.
        """
        target = Path(folder).resolve() / name
        partial = target.with_name(target.name + ".partial")
        try:
            Path(old).replace(partial)
        except FileNotFoundError:
            return self.write(folder, name, *parts)
        with partial.open("r+b") as file:
            file.writelines(parts)
            file.truncate()
        partial.replace(target)
        return str(target)

    def remove(self, path: str) -> None:
        """See dpin.compute.door.Files."""
        Path(path).unlink(missing_ok=True)

    def corpus(self, path: str, suffixes: tuple[str, ...], bytes_max: int) -> bytes:
        """See dpin.compute.door.Files; raises Misuse where there is nothing."""
        root = Path(path)
        if not root.exists():
            raise Misuse(f"there is no {path}", "name a text file or a folder of text files")
        files = sorted(_texts(root, suffixes)) if root.is_dir() else [root]
        found = bytearray()
        for file in files:
            if len(found) >= bytes_max:
                break
            with file.open("rb") as opened:
                found += opened.read(bytes_max - len(found))
        return bytes(found)

    def tree(self, path: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        """See dpin.compute.door.Files."""
        if not Path(path).is_dir():
            raise Misuse(f"{path} is no folder", "pictures lie in a folder, a folder a class")
        for folder in sorted(part for part in Path(path).iterdir() if part.is_dir()):
            for file in sorted(folder.iterdir()):
                if file.suffix in suffixes and file.is_file():
                    yield folder.name, file.read_bytes()


def _texts(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.suffix in suffixes and path.is_file())


class Pipes:
    """The two ends that lead to the node."""

    def __init__(self) -> None:
        """Keeps stdout for reports; from here on fd 1 is stderr."""
        self._out = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)
        self._hangup = select.poll()
        self._hangup.register(STDIN, 0)  # POLLHUP and POLLERR are always told

    def commands(self) -> Iterator[Command]:
        """Until stdin closes. The node is trusted, so a malformed command ends the process."""
        unframer = Unframer()
        while data := os.read(STDIN, READ_BYTES):
            for frame in unframer.feed(data):
                yield decode(Command, frame)

    def report(self, report: Report) -> None:
        """Blocks while the node does not read; raises ParentGone where it never will."""
        data = memoryview(framed(report))
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            raise ParentGone from None

    def pulse(self) -> None:
        """Raises ParentGone once the node's end of stdin is closed."""
        if self._hangup.poll(0):
            raise ParentGone


def _clock_ms() -> int:
    return time.monotonic_ns() // NANOS_PER_MILLI


def serve(nice: int, memory_bytes: int, engine: Engine) -> None:
    """Do commands until the node goes; `memory_bytes` is of address space, 0: no limit."""
    os.nice(nice)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    settle()
    pipes = Pipes()
    around = Surroundings(TorchRun(engine), _clock_ms, say)
    sandbox = Sandbox(pipes.pulse)
    door = Door(Disk(), _clock_ms, pipes.report, pipes.pulse, sandbox)
    session = Session(door, engine, around)
    try:
        for command in pipes.commands():
            session.run(command)
    except ParentGone:
        sys.exit(0)
    finally:
        sandbox.close()
        session.close()


def main() -> None:
    """Serve the node that has started this."""
    parser = argparse.ArgumentParser(prog="dpin.compute.executor")
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--memory", type=int, default=0, help="bytes of address space; 0: no limit")
    parser.add_argument("--engine", default="", help="how to compute, as node.settings makes it")
    options = parser.parse_args()
    engine = decode(Engine, bytes.fromhex(options.engine)) if options.engine else ONE_PROCESS
    serve(options.nice, options.memory, engine)


if __name__ == "__main__":
    main()

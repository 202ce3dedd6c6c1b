"""The processes that check signatures for this node: started when first needed, ended with it.

They are children with pipes and nothing else: fixed-size records in, bits out. One that dies, or
answers what no worker would, is not replaced: what it had is checked in the node, and its owner is
told once.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from dpin.base.ids import ChainId
from dpin.ledger.claims import answer_bytes, request
from dpin.ledger.offload import BATCHES_EACH, CheckSignatures, SignaturesChecked

READ_BYTES: Final = 4_096
BY_CORES: Final = -1
CORES_EACH: Final = 4  # a node that shares its machine leaves most of the cores to others
BY_CORES_MAX: Final = 4
ANSWER_SECONDS: Final = 10.0  # for one batch, which takes some 25 ms: else the worker hangs
START_SECONDS: Final = 60.0  # for the first: an interpreter may start slowly on a busy machine
PACKAGE_ROOT: Final = Path(__file__).parents[2]
INHERITED: Final = ("PATH", "LANG", "LD_LIBRARY_PATH")
LOST: Final = "a process that checks signatures has ended; they are checked in the node now"


def checkers_for(setting: int) -> int:
    """How many processes `ledger.verifiers` asks for on this machine."""
    if setting != BY_CORES:
        return setting
    return min(BY_CORES_MAX, (os.cpu_count() or 1) // CORES_EACH)


class _Lost(Exception):
    """A worker is of no more use."""


class Checkers:
    """All of them, started with the first batch."""

    def __init__(
        self,
        nursery: trio.Nursery,
        command: Sequence[str],
        count: int,
        tell: Callable[[SignaturesChecked], Awaitable[None]],
        alarm: Callable[[str], None],
    ) -> None:
        self._nursery = nursery
        self._command = command
        self._count = count
        self._tell = tell
        self._alarm = alarm
        self.pids: list[int] = []
        self._started = False
        self._left = count  # that have not died
        self._put, self._take = trio.open_memory_channel[CheckSignatures](count * BATCHES_EACH)

    def perform(self, effect: CheckSignatures) -> None:
        """Have a batch checked; the ledger has no more under way than there is room for."""
        self._put.send_nowait(effect)
        if not self._started:
            self._started = True
            for _ in range(self._count):
                self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        """One process, and what it is given."""
        try:
            async with _opened(self._command) as process:
                self.pids.append(process.pid)
                await self._ask(process, await self._take.receive(), START_SECONDS)
                while True:
                    await self._ask(process, await self._take.receive(), ANSWER_SECONDS)
        except (_Lost, OSError):
            self._left -= 1
            self._alarm(LOST)
        while not self._left:  # The last of them: nobody else answers any more.
            effect = await self._take.receive()
            await self._tell(SignaturesChecked(effect.batch, b"", lost=True))

    async def _ask(self, process: trio.Process, effect: CheckSignatures, patience: float) -> None:
        """One batch; raises _Lost, having said so, where there is no answer."""
        verdicts = b""
        with trio.move_on_after(patience):
            verdicts = await _answer(process, effect.claims)
        lost = len(verdicts) != answer_bytes(effect.claims)
        await self._tell(SignaturesChecked(effect.batch, verdicts, lost))
        if lost:
            raise _Lost


async def _answer(process: trio.Process, claims: bytes) -> bytes:
    """What the process says, whole unless it ends."""
    assert process.stdin is not None, "the child was started with pipes"
    assert process.stdout is not None, "the child was started with pipes"
    verdicts = b""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await process.stdin.send_all(request(claims))
        while len(verdicts) < answer_bytes(claims):
            data = await process.stdout.receive_some(READ_BYTES)
            if not data:
                break
            verdicts += data
    return verdicts


def command_for(chain: ChainId) -> list[str]:
    """How a worker is started."""
    return [sys.executable, "-P", "-m", "dpin.node.signature_worker", chain.hex()]


@asynccontextmanager
async def _opened(command: Sequence[str]) -> AsyncIterator[trio.Process]:
    """A child that lives as long as the block."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**inherited, "PYTHONPATH": str(PACKAGE_ROOT)},
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()

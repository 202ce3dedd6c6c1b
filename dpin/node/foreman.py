"""Worker processes: hired, given orders, dismissed, as the machines ask."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

import trio

from dpin.base.errors import Unavailable
from dpin.compute.child import WorkerOptions
from dpin.compute.engine import Engine
from dpin.compute.forkserver import Forkserver
from dpin.compute.reporting import Preparing, Progress
from dpin.compute.task import Command, Report
from dpin.compute.work import Dismiss, Exited, Hire, Order, Reported, WorkEffect, WorkerId
from dpin.compute.worker import Ended, Worker, open_worker

ORDERS_MAX: Final = 1_024  # to one worker, not yet taken
Tell = Callable[[Reported | Exited], Awaitable[None]]


@dataclass(slots=True)
class _Hand:
    """One hired worker."""

    orders: trio.MemorySendChannel[Command]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Foreman:
    """All workers of this node; they end with the nursery."""

    def __init__(self, nursery: trio.Nursery, folder: Path, engine: Engine, tell: Tell) -> None:
        self._nursery = nursery
        self._options = WorkerOptions(folder, engine=engine)
        self._forkserver = Forkserver(nursery)
        self._tell = tell
        self._hands: dict[WorkerId, _Hand] = {}
        self.first: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint  # before any worker

    async def ask_once(self, command: Command) -> Report:
        """One question to a short-lived worker; raises Unavailable where it does not answer."""
        async with open_worker(self._options, self._forkserver) as child:
            return await _answer(child, command)

    def perform(self, effect: WorkEffect) -> None:
        """Do what a machine asks; what comes of it is told later."""
        match effect:
            case Hire(worker):
                self._hire(worker)
            case Order(worker, command):
                self._order(worker, command)
            case Dismiss(worker):
                hand = self._hands.pop(worker, None)
                if hand is not None:
                    hand.scope.cancel()
            case _:
                assert_never(effect)

    def _hire(self, worker: WorkerId) -> None:
        if worker in self._hands:
            return
        send, receive = trio.open_memory_channel[Command](ORDERS_MAX)
        hand = self._hands[worker] = _Hand(send)
        self._nursery.start_soon(self._employ, worker, hand, receive)

    def _order(self, worker: WorkerId, command: Command) -> None:
        hand = self._hands.get(worker)
        if hand is None:
            return  # It has just died: its machine hears of that and starts again.
        try:
            hand.orders.send_nowait(command)
        except trio.WouldBlock:
            raise AssertionError(f"{worker} was given more than {ORDERS_MAX} orders") from None

    async def _employ(
        self, worker: WorkerId, hand: _Hand, orders: trio.MemoryReceiveChannel[Command]
    ) -> None:
        reason = ""
        with hand.scope:
            await self.first()
            try:
                async with open_worker(self._options, self._forkserver) as child:
                    reason = await self._oversee(worker, child, orders)
            except Unavailable as error:
                reason = str(error)
        if self._hands.get(worker) is hand:
            del self._hands[worker]
            await self._tell(Exited(worker, reason))

    async def _oversee(
        self, worker: WorkerId, child: Worker, orders: trio.MemoryReceiveChannel[Command]
    ) -> str:
        """Pass orders in and reports out until the child has ended; returns its last words."""
        last = "it ended without a word"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_orders, child, orders)
            async for report in child.reports:
                match report:
                    case Ended(code, stderr):
                        last = stderr[-1] if stderr else f"exit code {code}"
                    case _:
                        await self._tell(Reported(worker, report))
            nursery.cancel_scope.cancel()
        return last


async def _pass_orders(child: Worker, orders: trio.MemoryReceiveChannel[Command]) -> None:
    async for command in orders:
        try:
            await child.send(command)
        except Unavailable:
            return  # `Ended` says why.


async def answers(
    folder: Path, commands: Sequence[Command], in_vain: Callable[[Command, Report], bool]
) -> list[Report]:
    """What a short-lived worker of its own answers, in order; raises Unavailable.

    After an answer that makes all that follows `in_vain` no more is asked.
    """
    reports: list[Report] = []
    async with open_worker(WorkerOptions(folder)) as child:
        for command in commands:
            reports.append(await _answer(child, command))
            if in_vain(command, reports[-1]):
                break
    return reports


async def _answer(child: Worker, command: Command) -> Report:
    """The answer to one command; raises Unavailable where the worker ends instead."""
    await child.send(command)
    async for report in child.reports:
        if isinstance(report, Ended):
            words = report.stderr[-1] if report.stderr else f"exit code {report.code}"
            raise Unavailable(f"the worker ended: {words}")
        if not isinstance(report, Progress | Preparing):
            return report
    raise Unavailable("the worker ended without a word")

"""Processor time is counted by steps; waiting costs nothing, and nothing else changes."""

import time

import pytest
import trio
import trio.lowlevel

from dpin.base.ids import NodeId
from dpin.base.units import Instant, after, seconds
from dpin.net.budget import CPU_MICROS, Budget
from dpin.net.metered import metered


def busy(for_seconds: float) -> None:
    until = time.thread_time() + for_seconds
    while time.thread_time() < until:
        pass


async def test_steps_are_counted_and_waiting_is_not() -> None:
    async def work() -> str:
        busy(0.03)
        await trio.sleep(0.2)
        busy(0.03)
        return "done"

    spent: list[int] = []
    assert await metered(work(), spent.append) == "done"
    assert 60_000 <= sum(spent) < 160_000


async def test_what_is_raised_and_what_is_cancelled_pass_through() -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("mine")

    async def survive() -> None:
        try:
            await trio.sleep(3600)
        finally:
            spent.append(1)

    spent: list[int] = []
    with pytest.raises(ValueError, match="mine"):
        await metered(fail(), spent.append)
    with trio.move_on_after(0.01) as scope:
        await metered(survive(), spent.append)
    assert scope.cancelled_caught
    assert spent


def test_a_debt_is_paid_off_before_more_is_given() -> None:
    budget, peer, now = Budget(CPU_MICROS), NodeId(bytes(32)), Instant(10**15)
    budget.spend(peer, CPU_MICROS.burst + CPU_MICROS.per_second, now)
    assert not budget.charge(peer, 1, now)
    assert not budget.charge(peer, 1, after(now, seconds(1)))
    assert budget.charge(peer, 1, after(now, seconds(2)))

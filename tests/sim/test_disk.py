"""A simulated disk keeps its promises, and nothing more."""

import pytest

from dpin.base.units import MILLION, Instant, Micros
from dpin.sim.disk import Disk, DiskHabits
from dpin.sim.timeline import dice

STEADY = DiskHabits(Micros(10), Micros(10))
ROTTING = DiskHabits(Micros(10), Micros(10), rot_ppm=MILLION)


def filled(habits: DiskHabits, seed: int) -> Disk:
    disk = Disk(habits, dice(seed, "disk"))
    for i in range(8):
        disk.append(b"synced %d" % i)
    assert disk.sync(Instant(0)) == 10
    for i in range(8):
        disk.append(b"not synced %d" % i)
    return disk


@pytest.mark.parametrize("seed", range(20))
def test_a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest(seed: int) -> None:
    disk = filled(STEADY, seed)
    everything = disk.recover()
    disk.crash(Instant(10))
    found = disk.recover()
    assert everything is not None
    assert found is not None
    assert 8 <= len(found) <= 16
    assert found == everything[: len(found)]


def test_a_crash_before_the_sync_is_done_may_lose_all() -> None:
    counts = set()
    for seed in range(60):
        disk = filled(STEADY, seed)
        disk.crash(Instant(9))
        counts.add(len(disk.recover() or ()))
    assert min(counts) == 0


def test_syncs_queue_behind_each_other() -> None:
    disk = filled(STEADY, 1)
    assert disk.sync(Instant(5)) == 20
    assert disk.sync(Instant(40)) == 50


def test_a_torn_log_goes_on_where_it_was_cut() -> None:
    disk = filled(STEADY, 2)
    disk.crash(Instant(10))
    before = disk.recover()
    assert before is not None
    disk.append(b"next")
    assert disk.recover() == (*before, b"next")


def test_a_rotten_log_refuses_to_open() -> None:
    refused = 0
    for seed in range(20):
        disk = filled(ROTTING, seed)
        disk.crash(Instant(10))
        refused += disk.recover() is None
    assert refused > 10


def test_an_old_copy_has_fewer_records() -> None:
    disk = filled(STEADY, 3)
    disk.go_back(3)
    assert disk.recover() == (b"synced 0", b"synced 1", b"synced 2")


@pytest.mark.parametrize("seed", range(20))
def test_a_log_begun_anew_is_the_old_or_the_new_after_a_crash(seed: int) -> None:
    disk = filled(STEADY, seed)
    old = disk.recover()
    assert old is not None
    disk.roll([b"carried", b"too"])
    disk.append(b"later")
    disk.sync(Instant(20))
    disk.crash(Instant(25))
    found = disk.recover()
    assert found == (b"carried", b"too", b"later") or found == old[: len(found or ())]


def test_both_are_met_and_only_the_new_one_after_the_sync() -> None:
    found = set()
    for seed in range(40):
        disk = filled(STEADY, seed)
        disk.roll([b"carried"])
        disk.sync(Instant(20))
        disk.crash(Instant(25))
        found.add((disk.recover() or (b"",))[0])
    assert found == {b"carried", b"synced 0"}
    for seed in range(40):
        disk = filled(STEADY, seed)
        disk.roll([b"carried"])
        disk.crash(disk.sync(Instant(20)))
        assert disk.recover() == (b"carried",)


def test_a_log_begun_anew_without_a_sync_is_the_old_one() -> None:
    disk = filled(STEADY, 4)
    disk.roll([b"carried"])
    disk.crash(Instant(25))
    found = disk.recover()
    assert found is not None
    assert found[:8] == tuple(b"synced %d" % i for i in range(8))

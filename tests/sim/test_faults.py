"""Liars lie in the way that their name says, and only to whom it says."""

from collections.abc import Sequence

from dpin.base.machine import Received, Send, Store, Tick
from dpin.base.units import MILLION, Instant
from dpin.sim.faults import MEMORY_MAX, Babbler, Replayer, Twins, Withholder
from dpin.sim.timeline import dice
from tests.support.toys import node

A, B, C = node(0), node(1), node(2)


class Says:
    """Says the same to B and C at every step, and stores it."""

    def __init__(self, what: bytes) -> None:
        self._what = what

    def step(self, event: object, now: Instant) -> Sequence[object]:
        return [Store(self._what), Send(B, self._what), Send(C, self._what)]


def sends(effects: Sequence[object]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def test_twins_tell_each_half_another_story_and_keep_one_log() -> None:
    twins = Twins(Says(b"yes"), Says(b"no"), frozenset({B}))
    assert twins.step(Tick(), Instant(0)) == [Store(b"yes"), Send(B, b"yes"), Send(C, b"no")]


def test_a_withholder_tells_its_victims_nothing_long() -> None:
    held = Withholder(Says(b"block"), frozenset({C}), bytes_max=4)
    assert held.step(Tick(), Instant(0)) == [Store(b"block"), Send(B, b"block")]
    short = Withholder(Says(b"ping"), frozenset({C}), bytes_max=4)
    assert len(sends(short.step(Tick(), Instant(0)))) == 2


def test_a_babbler_adds_junk_and_leaves_the_rest_as_it_is() -> None:
    babbler = Babbler(Says(b"a block"), dice(1, "fault"), MILLION)
    effects = [effect for _ in range(50) for effect in babbler.step(Tick(), Instant(0))]
    good = [send for send in sends(effects) if send.payload == b"a block"]
    assert len(good) == 100
    assert len({send.payload for send in sends(effects)}) > 50


def test_a_babbler_mangles_even_nothing() -> None:
    babbler = Babbler(Says(b""), dice(1, "fault"), MILLION)
    assert b"\xc1" in {send.payload for send in sends(babbler.step(Tick(), Instant(0)))}


def test_a_replayer_repeats_what_it_heard_and_said_and_forgets_in_time() -> None:
    replayer = Replayer(Says(b"mine"), dice(1, "fault"), MILLION)
    said: set[bytes] = set()
    for i in range(2 * MEMORY_MAX):
        effects = replayer.step(Received(B, b"%d" % i), Instant(0))
        said.update(send.payload for send in sends(effects))
    assert len(replayer.memory) == MEMORY_MAX
    assert len(said) > MEMORY_MAX // 4
    assert b"mine" in said

"""Disks that tear, nodes that die: a payment that was written down is made, and made once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from typing_extensions import override

from dpin.base.ids import NodeId
from dpin.base.units import Instant, Micros, MicroTokens, after, seconds
from dpin.ledger.pledges import Pledged
from dpin.ledger.transactions import Transfer
from dpin.ledger.wishes import Wish
from dpin.sim.peers import PeerNode
from dpin.sim.stage import since
from dpin.sim.station import Body, Boot, Device
from dpin.sim.timeline import dice
from dpin.sim.wholes import Wholes

PAYMENTS = 8
EPOCH_MS = 3_000  # logs roll in the middle of it
END = 5.0
PATIENCE = seconds(20)


@dataclass(frozen=True)
class Ear:
    """Hears what a node says is written down, when it may say so."""

    inner: Device
    told: set[str]

    def perform(self, effect: object, now: Instant) -> Sequence[tuple[Micros, object]]:
        if isinstance(effect, Pledged):
            self.told.add(effect.key)
        return self.inner.perform(effect, now)


@dataclass
class Payers:
    """Four whole nodes whose owners pay strangers, and pull the plug."""

    seed: int
    told: set[str] = field(default_factory=set)
    restored: int = 0  # payments that a start found under way

    def __post_init__(self) -> None:
        payers = self

        class Listening(Wholes):
            @override
            def boot(self, index: int) -> Boot:
                return partial(payers.booted, super().boot(index))

        self.wholes = Listening("pledges", self.seed, EPOCH_MS)

    def booted(self, boot: Boot, records: Sequence[bytes], now: Instant) -> Body:
        body = boot(records, now)
        assert isinstance(body.machine, PeerNode)
        self.restored += len(body.machine.peer.wishes.pledges)
        return Body(body.machine, Ear(body.device, self.told), body.first)

    def play(self) -> None:
        """Everybody pays now and then, and is switched off within half a second."""
        world, chance = self.wholes.world, dice(self.seed, "payers")
        for number in range(PAYMENTS):
            node = chance.chosen(self.wholes.nodes, 1)[0]
            when = Instant(since(1) + chance.below(seconds(END - 1)))
            transfer = Transfer(stranger(number), MicroTokens(1_000 + number), b"")
            world.inject(node, Wish(f"pay:{number}", transfer, lasting=True), when)
            off = after(when, Micros(1 + chance.below(seconds(0.5))))
            world.timeline.at(off, partial(world.crash, node))
            back = after(off, Micros(1 + chance.below(seconds(2))))
            world.timeline.at(back, partial(world.start, node))
        world.run(since(END + 3))
        for node in self.wholes.nodes:
            world.start(node)

    def got(self, number: int) -> list[int]:
        """What a stranger has, on each ledger."""
        accounts = [self.wholes.machine(node).peer.state.accounts for node in self.wholes.nodes]
        found = [one.get(stranger(number)) for one in accounts]
        return [account.free if account else 0 for account in found]

    def wait(self) -> None:
        """Until all that was written down is done, or for a long while."""
        now, end = since(END + 3), after(since(END), PATIENCE)
        while now < end and not all(self.is_done(number) for number in range(PAYMENTS)):
            now = after(now, seconds(0.5))
            self.wholes.world.run(now)

    def is_done(self, number: int) -> bool:
        return f"pay:{number}" not in self.told or set(self.got(number)) == {1_000 + number}


def stranger(number: int) -> NodeId:
    return NodeId(bytes([number]) * 32)


@pytest.mark.parametrize("seed", range(2))
def test_a_payment_that_was_written_down_is_made_once_whatever_crashes(seed: int) -> None:
    payers = Payers(seed)
    payers.play()
    payers.wait()
    assert payers.wholes.world.trace.problems == []
    assert payers.restored, "some crash came between"
    assert len(payers.told) >= PAYMENTS // 2
    assert [number for number in range(PAYMENTS) if not payers.is_done(number)] == []
    for number in range(PAYMENTS):  # Those that nobody was told of may have been made, too.
        assert set(payers.got(number)) <= {0, 1_000 + number}

"""Whole nodes, and a stranger that signs with a copy of a validator's keys (`support/thief.py`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from dpin.base.crypto import SigningKey
from dpin.base.ids import NodeId
from dpin.base.units import Instant, MicroTokens, after, seconds
from dpin.ledger import engine
from dpin.ledger.identity import Identity
from dpin.ledger.replica import Silenced
from dpin.ledger.transactions import Transfer
from dpin.ledger.wishes import Wish
from dpin.node.peer import PeerOptions
from dpin.sim.ledgers import CHAIN, Owner
from dpin.sim.peers import PeerDevice, PeerNode
from dpin.sim.stage import since
from dpin.sim.station import Body
from dpin.sim.timeline import Step
from dpin.sim.wholes import Wholes, idle
from tests.support import thief

EPOCH_MS = 4_000
PATIENCE = seconds(30)
VICTIM = 2
STRANGER = SigningKey(bytes([9]) * 32)


@dataclass
class Said:
    """Who says that it signs no more."""

    by: list[NodeId] = field(default_factory=list)

    def see(self, step: Step) -> str | None:
        if isinstance(step.effect, Silenced):
            self.by.append(step.node)
        return None


class Robbed(Wholes):
    """Four nodes; of one the keys are elsewhere too, and what it passes on has blocks of both."""

    @override
    def is_honest(self, index: int) -> bool:
        return index != VICTIM


class Dated(thief.Stolen):
    """Signs in the first epoch alone."""

    @property
    @override
    def may_sign(self) -> bool:
        return self.role is not None and self.role._core.epoch == 0


def steal(
    wholes: Wholes, monkeypatch: pytest.MonkeyPatch, kind: type[thief.Stolen] = thief.Stolen
) -> None:
    """The stranger comes, and signs."""
    victim = Owner(wholes.founding.keys[VICTIM], wholes.founding.tables[VICTIM], CHAIN)
    monkeypatch.setattr(thief, "STOLEN", [victim.identity()])

    def boot(records: Sequence[bytes], now: Instant) -> Body:
        del now
        options = PeerOptions(Identity(STRANGER), wholes.founding.genesis, records, idle("thief"))
        with monkeypatch.context() as patch:
            patch.setattr(engine, "Membership", kind)
            machine = PeerNode(options)
        return Body(machine, PeerDevice(Owner(STRANGER, None), wholes.depot))

    wholes.world.add(STRANGER.node_id, boot)


def test_whose_keys_were_copied_is_slashed_says_it_once_and_comes_back_with_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wholes, said = Robbed("theft", 3, EPOCH_MS), Said()
    wholes.world.trace._checks = [*wholes.world.trace._checks, said]
    wholes.world.run(since(1))
    steal(wholes, monkeypatch)
    victim, machine = wholes.nodes[VICTIM], wholes.machine(wholes.nodes[VICTIM])

    def slashed() -> bool:
        return all(wholes.validators(node)[victim].jailed_until for node in wholes.nodes)

    def signs_again() -> bool:
        seats = machine.peer.state.term.committee.members
        signers = [member.signer for member in seats if member.node == victim]
        return signers != [victim] and machine.peer.replica.engine.may_sign

    wait_until(wholes, slashed)
    wait_until(wholes, signs_again)
    assert wholes.slashed() == [victim]
    assert said.by == [victim]


def test_whose_keys_signed_again_what_an_epoch_was_that_is_over_is_slashed_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thief begins at the genesis: nobody accepts blocks of that epoch any more."""
    wholes = Robbed("late", 2, EPOCH_MS)
    victim, payer = wholes.nodes[VICTIM], wholes.nodes[0]
    wholes.world.run(since(13))
    assert wholes.machine(payer).peer.state.epoch == 1
    steal(wholes, monkeypatch, Dated)
    wholes.world.run(since(14))
    transfer = Transfer(victim, MicroTokens(1), b"")
    wholes.world.inject(payer, Wish("pay", transfer), since(14))  # Something has to go on.
    wait_until(wholes, lambda: wholes.slashed() == [victim])
    (offence,) = wholes.validators(payer)[victim].offences
    assert offence.epoch == 0


@pytest.mark.parametrize("begins", [1, 6])
def test_an_imitator_has_its_victim_slashed_whenever_it_comes(
    begins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wholes = Robbed("imitated", begins, EPOCH_MS)
    wholes.world.run(since(begins))
    steal(wholes, monkeypatch, thief.Imitator)
    wait_until(wholes, lambda: wholes.slashed() == [wholes.nodes[VICTIM]])


def wait_until(wholes: Wholes, holds: Callable[[], bool]) -> None:
    end = after(wholes.world.timeline.now, PATIENCE)
    while not holds():
        assert wholes.world.trace.problems == []
        assert wholes.world.timeline.now < end
        wholes.world.run(after(wholes.world.timeline.now, seconds(0.5)))

"""An attacker with many addresses around one node: it never chooses all of the node's peers.

The whole table, dialler and doorstep, without a network: the simulation answers the node's dials,
as whoever really is at that address would. The attacker has many nodes in a few groups of
addresses, tells of itself as much as it may, comes in as often as it likes, and always answers.
"""

from dataclasses import dataclass, field

import pytest

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import ChainId, NodeId
from dpin.base.machine import PeerDown, PeerUp, Received, Send
from dpin.base.units import Instant, after, seconds
from dpin.net.address import node_in, peer_text
from dpin.net.bans import Bans
from dpin.net.discovery import (
    OUTBOUND_WANTED,
    Dial,
    DialFailed,
    Discovery,
    Drop,
    Event,
    LearntAddresses,
)
from dpin.net.introductions import TOLD_MAX, Start, TellPeers
from dpin.net.memory import read, recall, written
from dpin.net.peers import Peers, Word
from dpin.net.records import write_addresses

CHAIN = ChainId(bytes(32))
NOW = Instant(10**15)
HONEST, HONEST_GROUPS = 60, 20
ATTACKERS, ATTACKER_GROUPS = 600, 4
ROUND = seconds(30)


def made(number: int, group: int) -> Word:
    key = SigningKey(number.to_bytes(32))
    ip = f"{20 + group // 250}.{group % 250}.{number // 250}.{number % 250}"
    addresses = (f"/ip4/{ip}/tcp/4001/p2p/{peer_text(key.node_id)}",)
    record = write_addresses(key, CHAIN, addresses, NOW)
    return Word(record.signer, addresses, record.expires, record.raw)


@pytest.fixture(scope="module", name="world")
def _world() -> tuple[list[Word], list[Word]]:
    honest = [made(1000 + n, n % HONEST_GROUPS) for n in range(HONEST)]
    attackers = [made(5000 + n, 100 + n % ATTACKER_GROUPS) for n in range(ATTACKERS)]
    return honest, attackers


@dataclass
class Surrounded:
    """The node, and the net around it."""

    machine: Discovery
    alive: dict[NodeId, Word]
    now: Instant = NOW
    asked: list[NodeId] = field(default_factory=list)

    def step(self, event: Event) -> None:
        """One event, and all that follows from it at once."""
        ahead = [event]
        while ahead:
            for effect in self.machine.step(ahead.pop(0), self.now):
                match effect:
                    case Dial(address):
                        node = node_in(address)
                        assert node is not None
                        ahead.append(
                            PeerUp(node) if node in self.alive else DialFailed(address, "nobody")
                        )
                    case Drop(peer):
                        ahead.append(PeerDown(peer))
                    case Send(peer):
                        self.asked.append(peer)
                    case _:
                        pass

    def answer(self, records: list[Word], asked: set[NodeId]) -> None:
        """Whoever of these was asked tells of these."""
        for peer in [peer for peer in self.asked if peer in asked]:
            told = tuple(record.raw for record in records[:TOLD_MAX])
            self.step(Received(peer, encode(TellPeers(told))))
        self.asked = [peer for peer in self.asked if peer not in asked]


def start(*bootstrap: Word) -> Start:
    addresses = tuple(record.addresses[0] for record in bootstrap)
    return Start(SigningKey(b"m" * 32), (), CHAIN, addresses, seed=b"me")


def half_of(around: Surrounded, good: set[NodeId]) -> bool:
    """Whether at least half of the connections that the node opened go to these."""
    ours = around.machine.anchors()
    return 2 * sum(node in good for node in ours) >= len(ours)


def attack(around: Surrounded, attackers: list[Word], rounds: int) -> None:
    """Come in, tell of oneself by gossip and by exchange, for so long."""
    bad = {record.node for record in attackers}
    for turn in range(rounds):
        around.now = after(around.now, ROUND)
        some = attackers[turn * 97 % ATTACKERS :][:40]
        around.step(LearntAddresses(tuple(record.addresses[0] for record in some)))
        for record in some:
            around.step(PeerUp(record.node))
        around.answer(some, bad)


def test_an_attacker_with_many_addresses_does_not_surround_a_node(
    world: tuple[list[Word], list[Word]],
) -> None:
    honest, attackers = world
    everybody = {record.node: record for record in (*honest, *attackers)}
    good = {record.node for record in honest}
    around = Surrounded(Discovery(start(honest[0]), Peers(b"me"), Bans()), everybody)
    around.step(LearntAddresses(()))
    around.answer(honest[:TOLD_MAX], good)
    attack(around, attackers, 16)
    assert len(around.machine.anchors()) >= OUTBOUND_WANTED
    assert half_of(around, good)
    table = around.machine.peers.nodes()
    assert sum(node in good for node in table) >= TOLD_MAX


def test_a_restart_amid_the_attack_comes_back_to_its_anchors(
    world: tuple[list[Word], list[Word]],
) -> None:
    honest, attackers = world
    everybody = {record.node: record for record in (*honest, *attackers)}
    good = {record.node for record in honest}
    before = Surrounded(Discovery(start(honest[0]), Peers(b"me"), Bans()), everybody)
    before.step(LearntAddresses(()))
    before.answer(honest[:TOLD_MAX], good)
    attack(before, attackers, 6)
    kept = before.machine
    data = written(kept.peers, kept.bans, kept.anchors())

    peers, bans = Peers(b"me again"), Bans()
    anchors = recall(read(data), peers, bans)
    again = Start(SigningKey(b"m" * 32), (), CHAIN, anchors=tuple(anchors), seed=b"again")
    after_restart = Surrounded(Discovery(again, peers, bans), everybody, before.now)
    attack(after_restart, attackers, 12)
    assert set(anchors) <= set(after_restart.machine.anchors())
    assert half_of(after_restart, good)


def test_without_groups_the_same_attacker_would_have_the_node(
    world: tuple[list[Word], list[Word]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: with every address a group of its own, the attacker wins."""
    honest, attackers = world
    monkeypatch.setattr("dpin.net.peers.group_of", lambda ip: ip)
    everybody = {record.node: record for record in (*honest, *attackers)}
    good = {record.node for record in honest}
    around = Surrounded(Discovery(start(honest[0]), Peers(b"me"), Bans()), everybody)
    around.step(LearntAddresses(()))
    attack(around, attackers, 16)
    around.answer(honest[:TOLD_MAX], good)
    assert not half_of(around, good)

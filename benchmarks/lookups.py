"""Kad-DHT lookups among thousands of nodes in memory: what is found, and how many dials that takes.

    python -m benchmarks.lookups --nodes 1000 --turns 8

Every node is connected to about 16 others, drawn at random, and half of those it dialled itself.
Tables, lookups and limits are those of a node (`dpin.net.routing`, `dpin.net.lookup`); messages and
dials are calls. First without any table, then after so many turns of looking around by each node,
then with a fifth of all nodes gone. What is looked for is on the five nodes that are nearest to its
key, and then on those five that a put by another node found to be nearest. With `--liars` one node
in ten, all at addresses of four groups, keeps nothing and names other liars only.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.chance import Chance
from dpin.base.crypto import digest
from dpin.base.ids import NodeId
from dpin.base.units import Instant
from dpin.net.address import peer_text
from dpin.net.kadwire import CONTACTS_MAX, Contact
from dpin.net.lookup import FIRST_MAX, Aim, Lookup
from dpin.net.records import Key, place, position
from dpin.net.routing import RoutingTable
from dpin.node.kaddoor import REPLICAS, WANTED_TO_PUT

OWN_DIALS: Final = 8  # of each node, so about 16 connections
KEYS: Final = 40
GONE_ONE_IN: Final = 5
LIARS_ONE_IN: Final = 10
LIARS_GROUPS: Final = 4
FOUND_MIN: Final = 0.97  # 39 of 40
NOW: Final = Instant(1)
IPV4_BYTES: Final = 4


@dataclass(slots=True)
class Walk:
    """What came of one lookup."""

    lookup: Lookup
    found: bool


class World:
    """Nodes, their connections and their tables."""

    def __init__(self, many: int, seed: bytes = b"lookups", *, liars: bool = False) -> None:
        self.chance = Chance(seed)
        self.nodes = [NodeId(digest("node", seed + number.to_bytes(4))) for number in range(many)]
        self.liars = self.nodes[::LIARS_ONE_IN] if liars else []
        self.contacts = {node: self._contact(node) for node in self.nodes}
        self.tables = {node: RoutingTable(node) for node in self.nodes}
        self.dialled: dict[NodeId, set[NodeId]] = {}
        self.peers: dict[NodeId, set[NodeId]] = {node: set() for node in self.nodes}
        self.gone: set[NodeId] = set()
        for node in self.nodes:
            chosen = [other for other in self.chance.chosen(self.nodes, OWN_DIALS) if other != node]
            self.dialled[node] = set(chosen)
            for other in chosen:
                self.peers[node].add(other)
                self.peers[other].add(node)

    def _contact(self, node: NodeId) -> Contact:
        """Somewhere in the internet; liars in few groups."""
        one, two, three, four = (1 + self.chance.below(250) for _ in range(IPV4_BYTES))
        if node in self.liars:
            one, two = 0, one % LIARS_GROUPS
        at = f"/ip4/{20 + one % 80}.{two}.{three}.{four}"
        return Contact(node, (f"{at}/tcp/1/p2p/{peer_text(node)}",))

    def known(self, node: NodeId, key: Key, most: int) -> list[Contact]:
        """As `dpin.net.keeper.known`: connected peers and those of the table."""
        at = int.from_bytes(key)
        peers = self.peers[node]
        far = (one for one in self.tables[node].nearest(key, most) if one.node not in peers)
        both = [*(Contact(peer, ()) for peer in peers if peer not in self.gone), *far]
        return sorted(both, key=lambda one: place(one.node) ^ at)[:most]

    def walk(self, node: NodeId, aim: Aim, holders: Iterable[NodeId] = ()) -> Walk:
        """One lookup to its end, an answer after the other."""
        keep, here = set(holders), self.peers[node] - self.gone
        lookup = Lookup(aim, node, self.known(node, aim.key, FIRST_MAX))
        waiting: list[NodeId] = []
        found = False
        while True:
            while (contact := lookup.next(here)) is not None:
                waiting.append(contact.node)
            if lookup.enough or not waiting:
                return Walk(lookup, found)
            asked = waiting.pop(0)
            if asked in self.gone:
                lookup.failed(asked)
                self.tables[node].failed(asked)
                continue
            if asked not in here or asked in self.dialled[node]:
                self.tables[node].answered(asked, self.contacts[asked].addresses[0], NOW)
            if asked in keep:
                found = True
                lookup.knew(asked)
            else:
                lookup.answered(asked, self._named(asked, aim.key))

    def _named(self, node: NodeId, key: Key) -> list[Contact]:
        if node in self.liars:
            at = int.from_bytes(key)
            liars = sorted(self.liars, key=lambda one: place(one) ^ at)
            return [self.contacts[one] for one in liars[:CONTACTS_MAX]]
        near = self.known(node, key, CONTACTS_MAX)
        return [self.contacts[one.node] for one in near]

    def look_around(self) -> None:
        """One turn of every node."""
        for node in self.nodes:
            if node not in self.gone and node not in self.liars:
                name = self.tables[node].name_to_ask(self.chance)
                self.walk(node, Aim(position(name), wanted=WANTED_TO_PUT))

    def someone(self, but: Iterable[NodeId] = ()) -> NodeId:
        """A node that is there, and honest."""
        kept = {*but, *self.gone, *self.liars}
        while (node := self.nodes[self.chance.below(len(self.nodes))]) in kept:
            pass
        return node

    def leave(self) -> None:
        """A fifth of all are gone from one moment to the next."""
        self.gone |= set(self.chance.chosen(self.nodes, len(self.nodes) // GONE_ONE_IN))


@dataclass(frozen=True, slots=True)
class Figures:
    """Of so many keys."""

    of_nearest: int  # found where the nearest keep it
    of_put: int  # found where a put has brought it
    dials: float  # of one lookup that finds


def looked_for(world: World, keys: int = KEYS) -> Figures:
    """Look for so many things from anywhere."""
    nearest, put, dials = 0, 0, list[int]()
    for number in range(keys):
        key = position(b"key %d" % number)
        at = int.from_bytes(key)
        alive = (one for one in world.nodes if one not in world.gone and one not in world.liars)
        holders = sorted(alive, key=lambda node, at=at: place(node) ^ at)[:REPLICAS]  # type: ignore[misc]
        walk = world.walk(world.someone(holders), Aim(key), holders)
        nearest += walk.found
        dials.append(walk.lookup.dials)
        brought = world.walk(world.someone(), Aim(key, wanted=WANTED_TO_PUT))
        nearest_asked = brought.lookup.nearest(REPLICAS)
        at_last = [one for one in nearest_asked if one not in world.liars]
        put += world.walk(world.someone(at_last), Aim(key), at_last).found
    return Figures(nearest, put, sum(dials) / len(dials))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where too little is found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--liars", action="store_true", help="one node in ten lies")
    parser.add_argument("--short", action="store_true", help="200 nodes, 3 turns")
    wanted = parser.parse_args(arguments)
    many, turns = (200, 3) if wanted.short else (wanted.nodes, wanted.turns)
    world = World(many, liars=wanted.liars)
    rows = [("no table", looked_for(World(many, liars=wanted.liars)))]
    for _ in range(turns):
        world.look_around()
    rows.append((f"{turns} turns", looked_for(world)))
    sizes = sorted(len(table) for table in world.tables.values())
    world.leave()
    rows.append(("a fifth gone", looked_for(world)))
    say = sys.stdout.write
    say(f"{many} nodes, {KEYS} keys; tables of {sizes[len(sizes) // 2]} (at most {sizes[-1]})\n")
    for what, figures in rows:
        say(f"{what:14}{figures.of_nearest:4} of the nearest, {figures.of_put:4} of a put, ")
        say(f"{figures.dials:5.1f} dials\n")
    filled = rows[1][1]
    return 0 if min(filled.of_nearest, filled.of_put) >= FOUND_MIN * KEYS else 1


if __name__ == "__main__":
    sys.exit(main())

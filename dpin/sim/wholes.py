"""Whole nodes that have nothing to do but to keep their ledger, and each other's."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens, seconds
from dpin.ledger.beacon import Chain
from dpin.ledger.standing import Validator
from dpin.market.engagement import Fault
from dpin.market.provider import Choice
from dpin.sim.depot import Depot
from dpin.sim.ledgers import CHAIN, Founding, Owner, found_network
from dpin.sim.peers import PeerNode, peer_blocks_in, peer_node
from dpin.sim.stage import MEMBERS, Report, figures_of, safety
from dpin.sim.station import Boot
from dpin.sim.timeline import dice
from dpin.sim.world import Habits, World

NOTHING: Final = MicroTokens(0)


def idle(name: str) -> Choice:
    """A node that takes no jobs."""
    return Choice(
        name=name,
        provides=False,
        price=NOTHING,
        stake=NOTHING,
        leases_max=1,
        fault=Fault.NONE,
    )


class Wholes:
    """Four whole nodes in epochs of some seconds; a scenario says what happens to them."""

    def __init__(self, name: str, seed: int, epoch_ms: int, chain: Chain = CHAIN) -> None:
        self.founding: Founding = found_network(name, seed, MEMBERS, epoch_ms, chain)
        self.nodes = [key.node_id for key in self.founding.keys]
        self.honest = [node for at, node in enumerate(self.nodes) if self.is_honest(at)]
        read = partial(peer_blocks_in, self.founding)
        checks = safety(frozenset(self.honest), read)
        self.world = World(seed, Habits(skew_max=seconds(0.2)), checks)
        self._chain = chain
        self.depot = Depot(lambda _source, _target: True, dice(seed, "depot"))
        self._name, self._seed = name, seed
        for index, node in enumerate(self.nodes):
            self.world.add(node, self.boot(index))

    def is_honest(self, index: int) -> bool:
        """Whether this node does nothing wrong."""
        del index
        return True

    def boot(self, index: int) -> Boot:
        """How this node starts."""
        owner = Owner(self.founding.keys[index], self.founding.tables[index], self._chain)
        return peer_node(self.founding, owner, idle(f"node-{index}"), self.depot)

    def machine(self, node: NodeId) -> PeerNode:
        """An honest node that runs."""
        body = self.world.stations[node].body
        assert body is not None, "it runs"
        assert isinstance(body.machine, PeerNode), "it is honest"
        return body.machine

    def validators(self, node: NodeId) -> Mapping[NodeId, Validator]:
        """Who validates, as this node knows it."""
        return self.machine(node).peer.state.validators

    def slashed(self) -> list[NodeId]:
        """Who has shown to have signed twice."""
        known = self.validators(self.honest[0])
        return [node for node in self.nodes if known[node].offences]

    def report(self, problems: list[str], figures: dict[str, int]) -> Report:
        """What came of it."""
        told = figures_of(self.world) | figures
        return Report(self._name, self._seed, self.world.trace.digest, told, problems)

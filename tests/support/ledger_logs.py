"""Logs of a simulated network, as its nodes have written them: what audits are tried on."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dpin.base.ids import NodeId
from dpin.base.machine import Store
from dpin.ledger.genesis import Genesis
from dpin.node.home import Home, home_in, prepare, write_network
from dpin.node.invite import Invite
from dpin.node.ownrecords import Owner
from dpin.sim.ledgers import LedgerNode
from dpin.sim.scenarios import USUAL
from dpin.sim.stage import Cast, Stage, since
from dpin.sim.timeline import Step
from dpin.storage.frames import Record, encode_record, segment_name


@dataclass(frozen=True, slots=True)
class Logs:
    """A network that has run for a while."""

    genesis: Genesis
    records: tuple[tuple[bytes, ...], ...]  # of each node's log
    log_root: bytes  # of the first node's receipts
    height: int  # of the first node


@dataclass(slots=True)
class Written:
    """All that nodes have ever written down: what an archive keeps of its segments."""

    records: dict[NodeId, list[bytes]] = field(default_factory=dict)

    def see(self, step: Step) -> str | None:
        """Nothing is ever wrong here."""
        if isinstance(step.effect, Store):
            self.records.setdefault(step.node, []).append(step.effect.record)
        return None


@cache
def logs(transfers: int = 12, run_seconds: int = 8, name: str = "audit") -> Logs:
    """Four validators and what they have written down; made once."""
    written = Written()
    stage = Stage(name, 1, USUAL, Cast(watch=[written]))
    stage.ask(transfers, since(1), since(run_seconds - 3))
    stage.world.run(since(run_seconds))
    records = [written.records[node] for node in stage.nodes]
    body = stage.world.stations[stage.nodes[0]].body
    assert body is not None
    assert isinstance(body.machine, LedgerNode)
    leaves, state = body.machine.receipts, body.machine.state
    return Logs(stage.founding.genesis, tuple(map(tuple, records)), leaves.root, state.height)


def write_home(folder: Path, found: Logs, node: int = 0) -> Home:
    """The home of one of its nodes, as far as an audit looks at it."""
    home = home_of(folder, found.genesis)
    write_segment(home, 1, [bytes([Owner.LEDGER]) + body for body in found.records[node]])
    return home


def home_of(folder: Path, genesis: Genesis) -> Home:
    """The home of a node of this network, as yet without a log."""
    home = home_in(folder, folder / "config.toml")
    prepare(home)
    write_network(home, Invite(genesis, ()))
    home.ledger_log.mkdir()
    return home


def write_segment(home: Home, number: int, bodies: list[bytes]) -> Path:
    """One segment of a node's log."""
    data = bytearray()
    for body in bodies:
        data += encode_record(Record(1, body), len(data))
    path = home.ledger_log / segment_name(number)
    path.write_bytes(data)
    return path

"""What the demonstration claims, each claim checked by code, printed as tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.table import Table

from dpin.base.units import format_tokens
from dpin.ledger.money import MAX_SUPPLY
from dpin.node.status import JobDetail, NodeView

FP32_BYTES: Final = 4
MEBI: Final = 1 << 20
FEWER_BYTES: Final = 20
LOSS_MAX: Final = 2.7  # nats per byte
JOINT_MARGIN: Final = 1.08


@dataclass(slots=True)
class Claims:
    """Claims and whether they hold."""

    console: Console
    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def check(self, claim: str, figure: str, *, holds: bool) -> None:
        """Note one claim with the figure that decides it."""
        self.rows.append((claim, figure, holds))

    @property
    def all_hold(self) -> bool:
        """Whether the demonstration has shown what it set out to show."""
        return all(holds for _, _, holds in self.rows)

    def show(self) -> None:
        """Print them."""
        table = Table("claim", "figure", "", title="Claims, each checked by code")
        for claim, figure, holds in self.rows:
            table.add_row(claim, figure, "[green]holds[/]" if holds else "[red]FAILS[/]")
        self.console.print(table)


@dataclass(frozen=True, slots=True)
class Run:
    """What one training job has left behind."""

    detail: JobDetail
    seats: int
    steps: int  # a round
    rounds: int
    parameters: int

    @property
    def data_parallel_bytes(self) -> int:
        """What each provider would send in fp32 ring all-reduce, every step."""
        ring = 2 * (self.seats - 1) * FP32_BYTES * self.parameters // self.seats
        return ring * self.steps * self.rounds


def joint_steps(detail: JobDetail, seats: int) -> int:
    """How many steps over the batches of all seats see as much data as the job's units did.

    A round ends when its time is over: on a busy machine a unit has fewer steps than were asked.
    """
    return sum(unit.steps for lease in detail.leases for unit in lease.units) // seats


def rounds_table(console: Console, run: Run) -> None:
    """One line a round."""
    table = Table(
        "round", "providers", "updates", "steps", "held-out", "train s", "exchange s", "state"
    )
    units = [unit for lease in run.detail.leases for unit in lease.units]
    for entry in run.detail.rounds:
        table.add_row(
            str(entry.round + 1),
            ", ".join(entry.participants),
            str(entry.included),
            " ".join(str(unit.steps) for unit in units if unit.round == entry.round),
            f"{entry.holdout:.3f}" if entry.holdout is not None else "",
            f"{entry.train_ms / 1000:.1f}",
            f"{entry.exchange_ms / 1000:.1f}",
            (entry.state_hash or "")[:12],
        )
    console.print(table)


def units_table(console: Console, detail: JobDetail) -> None:
    """Who did what, what was the verdict, who was paid."""
    table = Table("provider", "seat", "price", "verdicts", "paid", "lost", "lease")
    for lease in detail.leases:
        verdicts: dict[str, int] = {}
        for unit in lease.units:
            name = f"{unit.state} ({unit.reason})" if unit.reason else unit.state
            verdicts[name] = verdicts.get(name, 0) + 1
        table.add_row(
            lease.name,
            str(lease.seat),
            format_tokens(lease.price),
            ", ".join(f"{count} {name}" for name, count in verdicts.items()),
            format_tokens(sum(unit.paid for unit in lease.units)),
            format_tokens(sum(unit.lost for unit in lease.units)),
            lease.reason or lease.state,
        )
    console.print(table)


def nodes_table(console: Console, nodes: Sequence[NodeView]) -> None:
    """Money, bytes and the state root of every node."""
    table = Table(
        "node", "free", "stake", "updates out", "checks", "shards", "models", "ledger", "root"
    )
    for node in nodes:
        traffic = node.traffic
        table.add_row(
            node.name,
            format_tokens(node.money.free),
            format_tokens(node.money.stake),
            _mebi(traffic.updates_out),
            _mebi(traffic.checks_out + traffic.checks_in),
            _mebi(traffic.shards_out + traffic.shards_in),
            _mebi(traffic.models_out + traffic.models_in),
            _mebi(traffic.control_out + traffic.control_in),
            f"{(node.ledger.root or '')[:12]} at {node.ledger.root_height}",
        )
    console.print(table)


def check_ledger(claims: Claims, nodes: Sequence[NodeView]) -> None:
    """Every node has the same root, and no token was made or lost."""
    roots = {(node.ledger.root_height, node.ledger.root) for node in nodes}
    claims.check("every node has the same state root", f"{len(roots)} root", holds=len(roots) == 1)
    ledgers = [node.ledger for node in nodes]
    sums = {
        ledger.in_accounts + ledger.in_bonds + ledger.in_escrow + ledger.treasury + ledger.reserve
        for ledger in ledgers
    }
    total = ", ".join(format_tokens(amount) for amount in sorted(sums))
    claims.check("balances add up to the supply", total, holds=sums == {MAX_SUPPLY})


def check_bytes(claims: Claims, run: Run, providers: Sequence[NodeView]) -> None:
    """Updates against what synchronous data-parallel would have moved."""
    most = max(node.traffic.updates_out for node in providers)
    ratio = run.data_parallel_bytes / max(1, most)
    claims.check(
        "training bytes a provider <= 1/20 of fp32 data-parallel",
        f"{_mebi(most)} against {_mebi(run.data_parallel_bytes)}: {ratio:.0f} times fewer",
        holds=ratio >= FEWER_BYTES,
    )


def _mebi(count: int) -> str:
    return f"{count / MEBI:.1f} MiB"

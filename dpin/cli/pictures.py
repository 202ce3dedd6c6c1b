"""Views as text for people."""

import time

from dpin.base.units import format_tokens
from dpin.cli.options import table
from dpin.cli.plain import plain_line
from dpin.cli.roundpictures import budget_text, clients_text, loss_text, rounds_text, scores_text
from dpin.client.client import ENDED
from dpin.node.status import (
    Check,
    ExplainView,
    JobDetail,
    JobView,
    LogEntry,
    MovementView,
    NodeView,
    PeerView,
    PlanView,
    ReceiptView,
    ValidatorsView,
    ValidatorView,
)
from dpin.node.words import counted

_ID_SHOWN = 8
REASON_SHOWN = 60  # letters, in a list


def since(milliseconds: int) -> str:
    """How long ago, in the largest unit that fits."""
    return length(max(0, int(time.time() * 1000) - milliseconds))


def length(milliseconds: int) -> str:
    """A length of time: 9s, 12m, 3h, 2d."""
    seconds = milliseconds // 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def node_text(node: NodeView) -> str:
    """What `dpin node status` shows."""
    money, ledger = node.money, node.ledger
    declined = ", ".join(f"{count} {code}" for code, count in sorted(node.offers_declined.items()))
    rows = [
        ("node", f"{node.name}  {node.state} {since(node.started_ms)}"),
        ("id", node.node_id),
        ("network", _network(node)),
        ("peers", f"{node.peers}   api {node.api}"),
        ("addresses", "  ".join(node.addresses) or "-"),
        ("ledger", f"height {ledger.height}  {ledger.transactions} transactions  {_vote(node)}"),
        ("committee", _committee(node)),
        ("root", f"{ledger.root_height}:{ledger.root or '-'}"),
        ("tokens", f"{format_tokens(money.free)} free  {format_tokens(money.stake)} at stake  "
                   f"{format_tokens(money.locked)} locked  "
                   f"{format_tokens(money.credit)} credit"),
        ("device", _device(node)),
        ("offers", f"{node.offers_seen} seen  {node.offers_taken} taken  declined {declined or 0}"),
    ]  # fmt: skip
    rows += [("rests", f"takes nothing new: {node.rest.why}")] if node.rest.state else []
    rows += [("serving", f"{item.role} {item.job} round {item.round} step {item.step}/{item.steps} "
                         f"{item.tokens_per_second} tok/s") for item in node.serving]  # fmt: skip
    rows += [("warning", warning) for warning in node.warnings]
    return "\n".join(f"{name:<10} {text}" for name, text in rows)


def _network(node: NodeView) -> str:
    chain = (node.chain or "")[:_ID_SHOWN]
    purpose = "  for development: its tokens are worthless" if node.development else ""
    return f"{node.network or '-'} ({chain}){purpose}"


def _device(node: NodeView) -> str:
    return f"{node.device.name} ({node.device.reason})" if node.device else "not looked for yet"


def _vote(node: NodeView) -> str:
    ledger = node.ledger
    if not ledger.validator:
        return "observer"
    signing = "signing" if ledger.signing else "not signing"
    return f"validator, {signing}"


def _committee(node: NodeView) -> str:
    ledger = node.ledger
    members = counted(len(ledger.committee), "validator")
    return f"{members}, tolerates {counted(ledger.tolerates, 'faulty validator')}"


def overview_text(node: NodeView, jobs: list[JobView]) -> str:
    """What `dpin status` shows."""
    state = f"{node.name} {node.state} {since(node.started_ms)}  {node.peers} peers"
    balance = f"balance {format_tokens(node.money.free)}  credit {format_tokens(node.money.credit)}"
    rows = [
        ("node", f"{state}  api {node.api}"),
        ("mine", f"{balance}  serving {len(node.serving)}"),
        ("ledger", f"height {node.ledger.height}  {_committee(node)}"),
    ]
    rows += [("rests", f"takes nothing new: {node.rest.why}")] if node.rest.state else []
    head = "\n".join(f"{name:<7}{text}" for name, text in rows)
    return f"{head}\n\n{jobs_text(jobs)}"


def jobs_text(jobs: list[JobView]) -> str:
    """What `dpin jobs` shows, newest first."""
    if not jobs:
        return "no jobs yet; try: dpin submit examples/job.yaml"
    heads = ("JOB", "SHARED ID", "NAME", "KIND", "ROLE", "STATE", "ROUND", "NODES", "COST", "AGE",
             "REASON")  # fmt: skip
    return table(heads, [_job_row(job) for job in jobs])


def _job_row(job: JobView) -> tuple[str, ...]:
    rounds = f"{job.round}/{job.rounds}" if job.rounds else "-"
    nodes = f"{job.participants}/{job.seats}" if job.finished_ms is None else str(job.seats)
    cost = f"{format_tokens(job.cost)} of {format_tokens(job.cost_max)}"
    if job.role == "served":
        cost = f"earned {format_tokens(job.earned)}"
    shared = job.ledger_id[:_ID_SHOWN] if job.ledger_id else "-"
    head = (job.id, shared, job.name, job.kind, job.role, job.state)
    return (*head, rounds, nodes, cost, since(job.submitted_ms), _short(job.reason))


def _short(reason: str) -> str:
    """The beginning of a reason; `dpin status JOB` and `dpin explain JOB` have it whole."""
    return reason if len(reason) <= REASON_SHOWN else f"{reason[: REASON_SHOWN - 3]}..."


def job_text(detail: JobDetail) -> str:
    """What `dpin status JOB` shows."""
    parts = [jobs_text([detail.job]), phases_text(detail)]
    if detail.leases:
        heads = ("SEAT", "PROVIDER", "STATE", "PRICE", "UNITS", "PAID", "LOST", "REASON")
        parts.append(table(heads, [
            (str(lease.seat), lease.name, lease.state, format_tokens(lease.price),
             str(len(lease.units)), format_tokens(sum(unit.paid for unit in lease.units)),
             format_tokens(sum(unit.lost for unit in lease.units)), lease.reason)
            for lease in detail.leases
        ]))  # fmt: skip
    if detail.rounds:
        parts.append(rounds_text(detail.rounds))
        parts += [*clients_text(detail.rounds), *scores_text(detail.rounds)]
    if len(detail.job.reason) > REASON_SHOWN:
        parts.append(f"reason  {detail.job.reason}")
    parts.append(result_text(detail))
    return "\n\n".join(part for part in parts if part)


def phases_text(detail: JobDetail) -> str:
    """The phases of a job, one a line."""
    marks = {"done": "ok", "running": "..", "failed": "!!"}
    return "\n".join(
        f"[{marks.get(phase.state, '  ')}] {phase.name:<8}"
        f"{phase.elapsed_ms / 1000:>7.1f}s  {phase.detail}".rstrip()
        for phase in detail.phases
    )


def result_text(detail: JobDetail) -> str:
    """Loss, cost, verdicts, and where the result lies."""
    job = detail.job
    if job.role == "served":
        return f"earned {format_tokens(job.earned)}"
    verdicts = ", ".join(f"{count} {name}" for name, count in sorted(detail.verdicts.items()))
    words = [_cost_text(detail)]
    if detail.holdout_before is not None:
        words.insert(
            0, f"loss {loss_text(detail.holdout_before)} -> {loss_text(detail.holdout_after)}"
        )
    if detail.evaluation is not None:
        found = ((name, value) for name, value in detail.evaluation.items() if value is not None)
        words.insert(0, "  ".join(f"{name} {value:.6g}" for name, value in found))
    if verdicts:
        words.append(f"checks: {verdicts}")
    if detail.budget is not None:
        words.append(budget_text(detail.budget))
    if detail.output is not None and detail.files:
        words.append(f"\n-> {detail.output}\n   {', '.join(detail.files)}")
    return "  ".join(words)


def _cost_text(detail: JobDetail) -> str:
    """What was paid, to whom, and what came back of what was put aside."""
    job = detail.job
    if not job.cost:
        return f"cost {format_tokens(0)}"
    units = [unit for lease in detail.leases for unit in lease.units if unit.paid]
    paid = sum(unit.paid for unit in units)
    words = (
        f"cost {format_tokens(job.cost)}: {format_tokens(paid)} for {counted(len(units), 'unit')}, "
        f"{format_tokens(job.cost - paid)} for checks and fees"
    )
    if job.state not in ENDED:
        return words
    back = format_tokens(job.cost_max - job.cost)
    return f"{words}; {back} of {format_tokens(job.cost_max)} came back"


def explain_text(explain: ExplainView) -> str:
    """What `dpin explain` shows."""
    lines = [
        f"{explain.job} is {explain.state} since {since(explain.since_ms)}: {explain.summary}",
        f"{explain.providers_seen} providers seen, {explain.bids} bids",
    ]
    lines += [
        f"  {item.name:<16} {item.code:<12} {item.detail}"
        + (f"  -> try: {item.fix}" if item.fix else "")
        for item in explain.declines
    ]
    return "\n".join([*lines, f"next: {explain.next_step}"] if explain.next_step else lines)


def plan_text(plan: PlanView) -> str:
    """What `dpin submit --dry-run` shows."""
    rows = [
        ("job", f"{plan.name}  {plan.kind}  {plan.parameters:,} parameters"),
        ("work", f"{plan.rounds} rounds of {plan.steps} steps on {plan.seats} nodes"),
        ("cost", f"at most {format_tokens(plan.cost_max)}, put aside at the start; "
                 f"you have {format_tokens(plan.balance)}"),
        ("", f"{counted(plan.seats * plan.rounds, 'unit')}, each {format_tokens(plan.price_cap)} "
             f"at most and {format_tokens(plan.unit_fee)} for its checks"),
        ("", "bids decide what a unit costs; what is not used comes back at the end"),
        ("tried", "data and model were read as the job will read them; nothing was proposed"),
        ("nodes", ", ".join(peer.name for peer in plan.providers) or "none known"),
    ]  # fmt: skip
    rows += [("chosen", plan.chosen)] if plan.chosen else []
    rows += [("warning", warning) for warning in plan.warnings]
    return "\n".join(f"{name:<8} {text}" for name, text in rows)


def peers_text(peers: list[PeerView]) -> str:
    """What `dpin peers` shows."""
    heads = ("NODE", "NAME", "STATE", "ROLE", "DEVICE", "TOKENS", "STAKE", "SEEN", "NOTE")
    rows = [
        (peer.node_id[:_ID_SHOWN], peer.name, "connected" if peer.connected else "away",
         _role(peer), peer.device or "-", format_tokens(peer.free), format_tokens(peer.stake),
         since(peer.last_seen_ms), peer.reason)
        for peer in peers
    ]  # fmt: skip
    return table(heads, rows) if rows else "no peers known; on the other machine: dpin net join"


def _role(peer: PeerView) -> str:
    roles = [("validator", peer.validator), ("provider", peer.provides)]
    return "+".join(name for name, holds in roles if holds) or "member"


def receipts_text(receipts: list[ReceiptView]) -> str:
    """What `dpin receipts` shows."""
    heads = ("COMMIT", "INDEX", "SUBJECT", "CODE", "PROOF", "DETAIL")
    rows = [
        (str(item.height), str(item.index), item.subject[:_ID_SHOWN], str(item.code),
         "ok" if item.proof_ok else "BAD", item.detail)
        for item in receipts
    ]  # fmt: skip
    return table(heads, rows) if rows else "no receipts yet"


def checks_text(checks: list[Check]) -> str:
    """What `dpin doctor` shows."""
    lines: list[str] = []
    for check in checks:
        lines.append(f"{check.verdict.upper():<5} {check.name:<10} {check.detail}")
        if check.fix and check.verdict != "ok":
            lines.append(f"      fix: {check.fix}")
    return "\n".join(lines)


def entry_text(entry: LogEntry) -> str:
    """One line of a job's log."""
    clock = time.strftime("%H:%M:%S", time.localtime(entry.time_ms / 1000))
    return f"{clock} {entry.kind:<8} {entry.text}"


def movements_text(movements: list[MovementView]) -> str:
    """What `dpin wallet history` shows."""
    if not movements:
        return "nothing has moved yet"
    heads = ("NUMBER", "COMMIT", "AGE", "WHAT", "CHANGE", "FEE", "FREE", "WHO", "MEMO", "RESULT")
    return table(heads, [_movement_row(movement) for movement in movements])


def _movement_row(movement: MovementView) -> tuple[str, ...]:
    place = (str(movement.number), str(movement.height), since(movement.time_ms), movement.what)
    money = (signed_tokens(movement.change), format_tokens(movement.fee))
    who = (movement.other or "-")[: 2 * _ID_SHOWN]
    return (
        *place,
        *money,
        format_tokens(movement.free),
        who,
        plain_line(movement.memo),
        movement.detail,
    )


def movement_text(movement: MovementView) -> str:
    """One line of `dpin wallet watch`."""
    direction = "from" if movement.change > 0 else "to"
    parts = [f"commit {movement.height}", movement.what, signed_tokens(movement.change)]
    if movement.other is not None:
        parts.append(f"{direction} {movement.other[: 2 * _ID_SHOWN]}")
    if movement.memo:
        parts.append(f'"{plain_line(movement.memo)}"')
    if movement.detail != "ok":
        parts.append(movement.detail)
    return f"{'  '.join(parts)}  {format_tokens(movement.free)} free"


def signed_tokens(amount: int) -> str:
    """A change, with its sign."""
    return f"+{format_tokens(amount)}" if amount > 0 else format_tokens(amount)


def validators_text(view: ValidatorsView, me: str) -> str:
    """What `dpin validator status` shows; this node is marked."""
    head = f"epoch {view.epoch}, ends in {view.epoch_ends_ms / 1_000:.0f} s or later"
    rows = [
        (
            "*" if one.node_id == me else "",
            one.name,
            format_tokens(one.bond),
            str(one.weight or "-"),
            f"{one.cosigned}/{view.checkpoints}" if one.weight else "-",
            str(one.faults),
            _standing(one, view.epoch),
        )
        for one in view.validators
    ]
    heads = ("", "validator", "bond", "weight", "signed", "faults", "")
    return f"{head}\n{table(heads, rows)}"


def _standing(one: ValidatorView, epoch: int) -> str:
    """What keeps a validator from a seat, or when it may take its bond."""
    if one.jailed_until > epoch:
        return f"jailed until epoch {one.jailed_until}"
    if not one.registered:
        return f"retired, bond free from epoch {one.free_from}"
    if one.weight:
        return "seated"
    return "ready" if one.ready else "waits for the end of the epoch"

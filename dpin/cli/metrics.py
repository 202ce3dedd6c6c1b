"""A job's rounds as numbers: what `metrics.jsonl`, TensorBoard and the charts are made from."""

import json
from typing import Final

from dpin.base.units import TOKEN
from dpin.node.roundviews import RoundView
from dpin.node.status import JobDetail

SCHEMA: Final = "dpin.v1/metrics"
MILLIS: Final = 1000
Number = int | float | None


def communication_share(item: RoundView) -> float | None:
    """Which part of a round's time was spent on exchanging updates."""
    whole = item.train_ms + item.exchange_ms
    return item.exchange_ms / whole if whole else None


def round_numbers(item: RoundView) -> dict[str, Number]:
    """What was measured in one round; None: not known."""
    return {
        "loss/train": item.loss,
        "loss/holdout": item.holdout,
        "speed/tokens_per_second": item.tokens_per_second,
        "round/participants": len(item.participants),
        "round/included": item.included,
        "time/train_seconds": None if item.missed else item.train_ms / MILLIS,
        "time/exchange_seconds": None if item.missed else item.exchange_ms / MILLIS,
        "time/communication_share": communication_share(item),
        "bytes/updates": item.update_bytes or (None if item.included else 0),
        "privacy/epsilon": item.epsilon,
    }


def metrics_lines(detail: JobDetail) -> str:
    """One JSON object a round, then one of the whole job."""
    job = detail.job
    lines: list[dict[str, object]] = [
        {
            "schema": SCHEMA,
            "job": job.id,
            "round": item.round,
            "step": item.round + 1,
            "time_ms": item.started_ms,
            **round_numbers(item),
            "providers": item.participants,
            "clients": {
                one.name: {
                    "steps": one.steps,
                    "loss": one.loss,
                    "tokens_per_second": one.tokens_per_second,
                }
                for one in item.clients
            },
            "scores": {one.name: [one.assigned, one.other] for one in item.scores},
            "witnesses": {one.name: not one.differs for one in item.witnesses},
            "state_hash": item.state_hash,
        }
        for item in detail.rounds
    ]
    lines.append(
        {
            "schema": SCHEMA,
            "job": job.id,
            "name": job.name,
            "kind": job.kind,
            "state": job.state,
            "reason": job.reason,
            "holdout_before": detail.holdout_before,
            "holdout_after": detail.holdout_after,
            "cost": job.cost / TOKEN,
            "verdicts": detail.verdicts,
        }
    )
    return "".join(json.dumps(line) + "\n" for line in lines)

"""What the rounds of an own job have merged, and what they have left out, told to its owner."""

from collections.abc import Iterator
from typing import Final

from dpin.base.ids import NO_DIGEST, Round
from dpin.base.units import format_millionths
from dpin.compute.secagg.circle import MEMBERS_MIN
from dpin.compute.task import Merged
from dpin.ledger.accounts import Job
from dpin.ledger.views import ended_in
from dpin.market.orders import TrainOrder
from dpin.market.ownjob import OwnJob
from dpin.market.story import Note, Value, once

RECENT: Final = 3  # rounds that are looked at again: states are named a round later
NAMED_MAX: Final = 8  # updates that are left out, in one line
LATE: Final = "no update came in time"


def told(own: OwnJob, job: Job, report: Merged) -> Iterator[Note]:
    """A round is merged: which of its updates count for nothing, and why, if none counts."""
    round_ = Round(report.round - 1)
    included, times = len(job.rounds[round_].included), own.rounds.get(round_)
    why = _left_out(own, report, included)
    if times is not None:
        times.taken = report.taken
        times.empty = "" if report.taken else why or LATE
    data: dict[str, Value] = {"round": round_, "taken": report.taken, "included": included}
    if not report.taken:
        text = f"round {report.round} has merged nothing: {why or LATE}"
        yield Note(own.local_id, "warning", text, data)
    elif why:
        text = f"round {report.round} has merged {report.taken} of {included} updates: {why}"
        yield Note(own.local_id, "warning", text, data)


def spent(own: OwnJob, report: Merged) -> Iterator[Note]:
    """What the noise of the rounds so far has cost of the job's budget."""
    if not report.epsilon_milli or not isinstance(own.order, TrainOrder):
        return
    privacy = own.order.privacy
    used = -(-report.epsilon_milli // 10)  # Never less than it is.
    text = (
        f"round {report.round}: epsilon {format_millionths(used * 10_000, 2)} of "
        f"{format_millionths(privacy.epsilon_milli * 1000, 2)} is spent, "
        f"at delta 1e-{privacy.delta_digits}"
    )
    data: dict[str, Value] = {"round": report.round - 1, "epsilon_milli": report.epsilon_milli}
    yield Note(own.local_id, "round", text, data)


def apart(own: OwnJob, job: Job) -> Iterator[Note]:
    """That this node's own merges have led elsewhere than those of the job's seats; once."""
    for record in job.rounds[-RECENT:]:
        following = job.rounds[record.round + 1 : record.round + 2]
        named = following[0].state_hash if following else ended_in(job)
        times = own.rounds.get(record.round)
        held = NO_DIGEST if times is None else times.state_hash
        if held != NO_DIGEST and named not in {None, held} and once(own, "apart"):
            text = (
                f"after round {record.round + 1} this node's state is not the one that the ledger "
            )
            text += f"names: its model is not that of its seats (dpin audit {own.local_id})"
            yield Note(own.local_id, "warning", text, {"round": record.round})


def privacy_of(own: OwnJob) -> dict[str, object]:
    """What hid the updates, for the record of the model's making."""
    if not isinstance(own.order, TrainOrder):
        return {}
    privacy = own.order.privacy
    noise = {
        "epsilon_milli": own.epsilon_milli,
        "epsilon_max_milli": privacy.epsilon_milli,
        "delta_digits": privacy.delta_digits,
    }
    return {"mode": privacy.mode, **(noise if privacy.noised else {})}


def _left_out(own: OwnJob, report: Merged, included: int) -> str:
    if report.refused:
        more = len(report.refused) - NAMED_MAX
        return "; ".join(report.refused[:NAMED_MAX]) + (f" and {more} others" if more > 0 else "")
    if _masked(own) and report.taken < included:
        return "the masks of the others do not fit"
    return ""


def foretold(own: OwnJob, job: Job) -> Iterator[Note]:
    """That the round under way will merge nothing, whatever its members do; once."""
    record = job.current
    if record is None or not _masked(own) or len(record.roster) >= MEMBERS_MIN:
        return
    if once(own, f"few:{record.round}"):
        text = (
            f"round {record.round + 1} will merge nothing: it has {len(record.roster)} of the "
            f"{MEMBERS_MIN} participants that a sum under masks takes"
        )
        yield Note(own.local_id, "warning", text, {"round": record.round})


def _masked(own: OwnJob) -> bool:
    return isinstance(own.order, TrainOrder) and own.order.privacy.masked


def nothing(own: OwnJob) -> str:
    """Why a job that has gone through all its rounds has made no model; empty where it has."""
    found = [times for _, times in sorted(own.rounds.items())]
    if not found or any(times.taken != 0 for times in found):
        return ""
    return (
        f"none of its {len(found)} rounds has merged an update, so the model is the one that it "
        f"began with; the last one: {found[-1].empty}"
    )

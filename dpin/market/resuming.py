"""An own job goes on where it was: what of each round is written down, and from which state.

The worker leaves a file of the state after each of the last rounds. Which one is whole, a machine
cannot know: the newest is tried, then those before it, then the job's first state.
"""

from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.units import Instant
from dpin.compute.task import Opened, TrainManifest
from dpin.ledger.accounts import Job
from dpin.ledger.views import ended_in
from dpin.market.orders import OwnRound
from dpin.market.ownjob import OwnJob, RoundTimes


def round_record(own: OwnJob, round_: Round) -> OwnRound:
    """What is known of a round, to be found again after a restart."""
    times = own.rounds[round_]
    return OwnRound(
        local_id=own.local_id,
        round=round_,
        state_hash=times.state_hash,
        checkpoint=times.checkpoint,
        model_root=times.model_root,
        began=times.began,
        exchange=times.exchange or 0,
        closed=times.closed or 0,
        missed=times.missed,
        tokens_per_second=times.tokens_per_second,
        loss_micronats=times.loss_micronats,
        holdout_micronats=times.holdout_micronats,
        holdout_before=own.holdout_before,
        update_bytes=times.update_bytes,
        taken=times.taken,
        empty=times.empty,
        scores=times.scores,
        signed=tuple(times.signed[node] for node in sorted(times.signed)),
        epsilon_milli=times.epsilon_milli,
    )


def recall_round(own: OwnJob, record: OwnRound) -> None:
    """The other way round."""
    own.holdout_before = record.holdout_before
    own.rounds[record.round] = RoundTimes(
        began=Instant(record.began),
        exchange=Instant(record.exchange) if record.exchange else None,
        closed=Instant(record.closed) if record.closed else None,
        tokens_per_second=record.tokens_per_second,
        loss_micronats=record.loss_micronats,
        holdout_micronats=record.holdout_micronats,
        update_bytes=record.update_bytes,
        taken=record.taken,
        empty=record.empty,
        scores=record.scores,
        signed={signed.node: signed for signed in record.signed},
        state_hash=record.state_hash,
        checkpoint=record.checkpoint,
        model_root=record.model_root,
        missed=record.missed,
        epsilon_milli=record.epsilon_milli,
    )


def start_of(own: OwnJob, job: Job) -> tuple[Round, str]:
    """The round and the file to begin with: the newest state kept here that the ledger agrees to.

    What an evaluation adds up at its end are all of its parts: there is no state to go on from.
    """
    assert own.files is not None, "the job is followed"
    assert isinstance(own.files.manifest, TrainManifest), "only those are merged"
    for number in sorted(own.rounds, reverse=True):
        times, after = own.rounds[number], Round(number + 1)
        if times.checkpoint and times.checkpoint not in own.unusable and _agreed(job, after, times):
            return after, times.checkpoint
    return Round(0), own.files.paths[own.files.manifest.initial]


def _agreed(job: Job, round_: Round, times: RoundTimes) -> bool:
    """Whether the ledger says nothing else of the state that this round begins with."""
    said = job.rounds[round_].state_hash if round_ < len(job.rounds) else ended_in(job)
    return round_ <= len(job.rounds) and said in {None, times.state_hash}


def is_sound(own: OwnJob, report: Opened) -> bool:
    """Whether the worker has loaded what it was told to: of a kept state, the very same."""
    if report.round == 0:
        return True
    times = own.rounds.get(Round(report.round - 1))
    return times is not None and times.state_hash == report.state_hash


def states_known(own: OwnJob) -> dict[Round, Digest]:
    """The states that rounds have led to here."""
    found = {number: times.state_hash for number, times in own.rounds.items()}
    return {number: state for number, state in found.items() if state != NO_DIGEST}

"""What each update of a round is worth by itself; the requester's worker finds it before it merges.

It decides nothing. The beacon of the closed round draws which updates are looked at and on what, so
whoever holds the job's blobs finds the same numbers.
"""

from collections.abc import Iterable, Iterator

from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round
from dpin.compute.scores import Judged, Score, Scored, ScoreRound, is_untrained, sampled
from dpin.compute.statements import Statement, stated, statements_text
from dpin.compute.task import SGD, MergeRound, TrainManifest
from dpin.compute.work import Order as WorkOrder
from dpin.ledger.accounts import Job, RoundRecord, State
from dpin.market.merging import Effect as MergingEffect
from dpin.market.merging import Merging
from dpin.market.ownjob import OwnJob, RoundTimes


def question(merging: Merging, record: RoundRecord, state: State) -> ScoreRound | None:
    """What to ask about a closed round whose updates are all here; None where nothing is drawn."""
    fresh = {one.lease: one for one in record.included if not one.age}
    if record.beacon == NO_DIGEST or not fresh:
        return None
    judged = (
        Judged(
            merging.paths[fresh[lease].update], lease, state.leases[lease].seat, fresh[lease].steps
        )
        for lease in sampled(record.beacon, sorted(fresh))
    )
    return ScoreRound(record.round, record.beacon, tuple(judged))


def with_questions(
    own: OwnJob, effects: Iterable[MergingEffect], state: State
) -> Iterator[MergingEffect]:
    """Before a round is merged, ask what its updates are worth, where that can be known."""
    for effect in effects:
        if isinstance(effect, WorkOrder) and isinstance(effect.command, MergeRound):
            assert own.merging is not None, "it merges"
            record = own.merging.job.rounds[effect.command.round]
            asked = question(own.merging, record, state) if _open(own) else None
            if asked is not None:
                yield WorkOrder(effect.worker, asked)
        yield effect


def _open(own: OwnJob) -> bool:
    manifest = own.files.manifest if own.files is not None else None
    return isinstance(manifest, TrainManifest) and are_open(manifest)


def are_open(manifest: TrainManifest) -> bool:
    """Whether updates move parameters, and the data that they were made from are to be had."""
    return manifest.outer.rule == SGD and manifest.private is None and manifest.privacy.replayable


def appraised(own: OwnJob, report: Scored) -> None:
    """The answer; it is signed, for whoever wants to find it again."""
    times = own.rounds.get(report.round)
    if times is None:
        return
    times.scores = report.scores
    if own.signer is not None and own.job is not None:
        job = own.job
        said = Statement(job.id, report.round, job.propose.fingerprint, report.scores)
        times.signed[job.requester] = stated(own.signer.key, own.signer.chain, said)


def published(own: OwnJob) -> str:
    """The file of all scores that were signed, the requester's and its witnesses'."""
    found = [
        times.signed[node]
        for _, times in sorted(own.rounds.items())
        for node in sorted(times.signed)
    ]
    return statements_text(own.signer.chain, found) if own.signer is not None and found else ""


def untrained(own: OwnJob, until: Round) -> list[Digest]:
    """Leases whose last scored updates helped their own data no more than others'."""
    histories: dict[Digest, list[Score]] = {}
    for round_ in sorted(round_ for round_ in own.rounds if round_ <= until):
        for score in own.rounds[round_].scores:
            histories.setdefault(score.lease, []).append(score)
    return sorted(lease for lease, history in histories.items() if is_untrained(history))


def told(own: OwnJob, round_: Round, names: dict[Digest, str]) -> tuple[str, int]:
    """The scores of a round in a sentence, by these names of leases; and how many look idle."""
    scores = own.rounds[round_].scores
    each = [f"{names[one.lease]} {one.assigned}/{one.other}" for one in scores]
    text = (
        f"round {round_ + 1}: updates alone gain {', '.join(each)} milli-nats on own/others' data"
    )
    idle = [names[lease] for lease in untrained(own, round_) if lease in names]
    if idle:
        text += f"; over the last rounds {', '.join(idle)} helped own data no more than others'"
    return text, len(idle)


def differing(times: RoundTimes, job: Job) -> dict[NodeId, bool]:
    """Of each witness of a round, whether it has found other scores than the requester.

    Empty until the requester has its own; what was found in another numeric class is left out.
    """
    if not times.scores:
        return {}
    return {
        node: signed.statement.scores != times.scores
        for node, signed in sorted(times.signed.items())
        if node != job.requester and signed.statement.fingerprint == job.propose.fingerprint
    }

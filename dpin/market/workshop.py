"""The requester's own worker on one job: prepare, follow the rounds, measure, export."""

from collections.abc import Iterator
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import Digest, Round, short
from dpin.base.machine import Blame, Send, Store, Wake
from dpin.base.units import MICROS_PER_MILLI, Instant, after, format_millionths, seconds
from dpin.compute.doing import told, unwritten
from dpin.compute.reporting import Preparing
from dpin.compute.scores import Scored, ScoreRound
from dpin.compute.secagg.orders import Heads
from dpin.compute.tallies import Totalled
from dpin.compute.task import (
    Evaluate,
    Evaluated,
    Export,
    Exported,
    Failed,
    Manifest,
    Merged,
    Opened,
    OpenJob,
    Prepared,
    Report,
    TrainManifest,
)
from dpin.compute.work import Dismiss, Hire, WorkEffect
from dpin.compute.work import Order as WorkOrder
from dpin.ledger.accounts import Job, State
from dpin.ledger.params import Params
from dpin.ledger.transactions import INFER, Propose
from dpin.ledger.wishes import Wish
from dpin.market import takings
from dpin.market.appraising import appraised, published, with_questions
from dpin.market.descent import lineage_of
from dpin.market.evaluating import evaluates, measured, total
from dpin.market.losses import too_loud, unit_of
from dpin.market.making import provenance
from dpin.market.merging import Merging
from dpin.market.orders import InferOrder, OwnJobRecord, TrainOrder
from dpin.market.ownjob import OwnJob, Stage
from dpin.market.preparing import (
    files_of,
    infer_manifest,
    prepare_command,
    propose_infer,
    propose_train,
    sealed_for,
    stated,
    train_manifest,
    tuned,
)
from dpin.market.rejoining import is_lent, refuse, rejoin
from dpin.market.resuming import is_sound, start_of, states_known
from dpin.market.story import Note, Value, once
from dpin.storage.wanted import Fetch, Fetched, Keep, KeepData, Kept, Oversized, Purpose
from dpin.verify.jobfiles import JobFiles

RETRY: Final = seconds(1)
RESTARTS_MAX: Final = 2
EXPORT_AGAIN: Final = seconds(15)  # after a folder did not take the result
EXPORTS_REFUSED_MAX: Final = 120  # half an hour: to make room, or to mend the folder
PREPARED_IN: Final = "prepared"  # folder beside the worker's own

Effect = Note | Store | Wish | Fetch | Keep | KeepData | Send | Wake | Blame | WorkEffect


def begin(own: OwnJob, now: Instant) -> Iterator[Effect]:
    """Start on a fresh order."""
    own.enter("plan", now)
    match own.order:
        case TrainOrder():
            yield _planning(own, "starting a worker; the first one has to load torch")
            yield from _hire(own)
            key = _job_key(own)
            own.order = sealed_for(own.order, key)
            folder = f"{own.worker}-{PREPARED_IN}"
            yield WorkOrder(own.worker, prepare_command(own.order, folder, key))
        case InferOrder():
            yield _planning(own, f"hashing {own.order.model_file}")
            yield Keep(own.order.model_file, Purpose.MODEL, None)


def _planning(own: OwnJob, text: str) -> Note:
    """What is done before anything is proposed; on large data each of it takes its time."""
    if own.phases:
        own.phases[-1].detail = text
    return Note(own.local_id, "phase", f"plan: {text}")


def _job_key(own: OwnJob) -> bytes:
    """What opens the files of a sealed job; empty for others."""
    if not isinstance(own.order, TrainOrder) or not own.order.privacy.sealed:
        return b""
    assert own.keys is not None, "whoever orders such a job has a key of his own"
    return own.keys.made_for(own.local_id)


def keep_prepared(own: OwnJob, prepared: Prepared) -> Iterator[Effect]:
    """Choose what was left open, and offer what was prepared as blobs."""
    own.prepared = prepared
    assert isinstance(own.order, TrainOrder), "only those are prepared"
    if own.order.tune is not None:
        own.order, choice, why = tuned(own.order, prepared)
        facts: dict[str, Value] = {
            "steps": choice.steps,
            "rounds": own.order.rounds,
            "encoding": choice.encoding.name,
            "update_bytes": choice.update_bytes,
            "share_ppm": choice.share_ppm,
        }
        yield Note(own.local_id, "phase", f"plan: {why}; {own.order.rounds} rounds", facts)
    if evaluates(own.order):
        own.order = measured(own.order, prepared)
        text = f"plan: {prepared.examples} examples in the longest of {own.order.seats} parts"
        yield Note(own.local_id, "phase", text)
    files = files_of(own.order, prepared)
    yield _planning(own, f"hashing {len(files)} files, under which others find them")
    for path, purpose in files.items():
        yield Keep(path, purpose, None)


def kept(own: OwnJob, event: Kept, fingerprint: Digest, params: Params) -> Iterator[Effect]:
    """A file of the order is a blob now; with the last one the job can be proposed."""
    if own.merging is not None:
        yield from own.merging.kept(event)
    if own.propose is not None:
        return
    match own.order:
        case TrainOrder() if own.prepared is not None:
            files = files_of(own.order, own.prepared)
            if event.path not in files:
                return
            own.kept[event.path], own.lengths[event.blob] = event.blob, event.length
            if all(path in own.kept for path in files):
                manifest = train_manifest(own.order, own.prepared, own.kept)
                manifest = stated(manifest, own.lengths)
                propose = propose_train(own.order, manifest, own.prepared.parameters, params)
                yield from _record(own, manifest, propose)
        case InferOrder(model_file=path) if event.path == path:
            generation = infer_manifest(own.order, event, fingerprint)
            yield from _record(own, generation, propose_infer(own.order, generation, params))
        case _:
            pass


def _record(own: OwnJob, manifest: Manifest, propose: Propose) -> Iterator[Effect]:
    """From here on the job survives a restart of this node."""
    data = encode(manifest)
    own.manifest, own.propose = manifest, propose
    submitted_ms = own.submitted // MICROS_PER_MILLI
    yield KeepData(data, Purpose.SHARD)
    yield Store(
        encode(OwnJobRecord(own.local_id, own.order, data, propose, submitted_ms)), sync=True
    )


def follow(own: OwnJob, job: Job, state: State, now: Instant) -> Iterator[Effect]:
    """Load the job, then merge, measure and at last export what the rounds have made."""
    if job.propose.kind == INFER:
        return
    if own.files is None or own.merging is None or own.files.job.id != job.id:
        own.opening = False  # What was loaded for an earlier proposal is loaded anew.
        own.files = JobFiles(job, own.keys)
        own.merging = Merging(job, own.worker, own.files)
        own.merging.states = states_known(own)
    if own.keys is not None and (key := _job_key(own)):
        own.keys.hold(job.id, key)
    yield from _hire(own)
    yield from rejoin(own, own.merging, state, now)
    if not own.files.ready:
        if now >= own.retry_at:
            own.retry_at = after(now, RETRY)
            yield from own.files.missing(state)
            yield Wake(own.retry_at)
    elif not own.opening:
        own.opening = True
        assert isinstance(own.files.manifest, TrainManifest), "the kind was checked"
        own.merging.privacy = own.files.manifest.privacy
        start = start_of(own, job)
        own.opened = start[1]
        yield WorkOrder(own.worker, own.files.open_job(start, own.worker))
    yield from with_questions(own, own.merging.follow(state, now), state)
    if not own.exporting and now >= own.export_at and isinstance(own.order, TrainOrder):
        orders = list(_result(own, own.order, own.merging, state))
        own.exporting = bool(orders)
        yield from orders


def _result(own: OwnJob, order: TrainOrder, merging: Merging, state: State) -> Iterator[WorkOrder]:
    """Once the last round is merged, the order that makes the result."""
    job = merging.job
    if evaluates(order):
        if merging.holding == len(job.rounds):
            yield from total(order, merging, state, provenance(own, job, state))
    elif merging.holding == job.propose.rounds:
        yield WorkOrder(own.worker, _export(own, order, job, state))


def _export(own: OwnJob, order: TrainOrder, job: Job, state: State) -> Export:
    lineage = ""
    assert own.files is not None, "it has merged"
    manifest = own.files.manifest
    assert isinstance(manifest, TrainManifest), "only those are merged"
    if own.signer is not None and own.merging is not None:
        lineage = lineage_of(own.signer, job, manifest, own.merging)
    said = provenance(own, job, state)
    return Export(order.output, said, order.base, lineage, published(own))


def reported(own: OwnJob, report: Report, now: Instant) -> Iterator[Effect]:
    """News of the own worker."""
    if isinstance(report, Heads | Scored):
        _read(own, report)
        return
    match report:
        case Preparing() | Prepared():
            yield from _prepared(own, report)
        case Opened():
            yield from _loaded(own, report)
        case Merged():
            assert own.merging is not None, "it was told to merge"
            yield from _merged(own, own.merging, report)
        case Evaluated():
            yield from _evaluated(own, report)
        case Exported(files=files) | Totalled(files=files):
            own.output_files = files
            own.evaluation = report if isinstance(report, Totalled) else None
        case Failed():
            yield from _failed(own, report, now)
        case _:
            pass  # Answers to questions that a requester does not ask.


def _prepared(own: OwnJob, report: Preparing | Prepared) -> Iterator[Effect]:
    if isinstance(report, Preparing):
        yield _planning(own, report.text)
    else:
        yield from keep_prepared(own, report)
        yield from _warned(own, report)


def _warned(own: OwnJob, prepared: Prepared) -> Iterator[Note]:
    why = too_loud(own.order, prepared) if isinstance(own.order, TrainOrder) else ""
    if why:
        yield Note(own.local_id, "warning", why)


def _merged(own: OwnJob, merging: Merging, report: Merged) -> Iterator[Effect]:
    merging.merged(report)
    if evaluates(own.order):
        return
    times = own.rounds.get(Round(report.round - 1))
    if times is not None:
        times.update_bytes, times.model_root = report.update_bytes, report.model_root
        times.state_hash, times.checkpoint = report.state_hash, report.checkpoint
        times.epsilon_milli = report.epsilon_milli
        own.fresh.add(Round(report.round - 1))
    yield from takings.told(own, merging.job, report)
    yield from takings.spent(own, report)
    yield WorkOrder(own.worker, Evaluate())


def _failed(own: OwnJob, report: Failed, now: Instant) -> Iterator[Effect]:
    if report.command == ScoreRound.__name__:
        yield Note(own.local_id, "progress", f"updates were not scored: {report.reason}")
    elif report.command == OpenJob.__name__ and is_lent(own):
        yield from refuse(own, report.reason)
    elif report.command == OpenJob.__name__ and _is_kept(own):
        yield from _unusable(own, report.reason)
    elif unwritten(report) and own.exports_refused < EXPORTS_REFUSED_MAX:
        yield from _write_later(own, report, now)
    else:
        yield from fail(own, told(report), now)


def _write_later(own: OwnJob, report: Failed, now: Instant) -> Iterator[Effect]:
    """The work is done and paid: what its owner can mend on the disk does not lose it."""
    own.exporting, own.export_at = False, after(now, EXPORT_AGAIN)
    own.exports_refused += 1
    if once(own, f"unwritten:{report.reason}"):
        text = f"{told(report)}. It is tried again every 15 s, for half an hour"
        yield Note(own.local_id, "warning", text)
    yield Wake(own.export_at)


def _read(own: OwnJob, report: Heads | Scored) -> None:
    if isinstance(report, Scored):
        appraised(own, report)
    elif own.merging is not None and own.merging.unveiling is not None:
        own.merging.unveiling.read(report)


def _loaded(own: OwnJob, report: Opened) -> Iterator[Effect]:
    assert own.merging is not None, "it was told to open"
    assert own.files is not None, "it was told which files"
    if is_lent(own):
        own.lent = report  # It counts once the ledger names it.
        return
    if not is_sound(own, report):
        yield from _unusable(own, "it is not the state that was kept")
        return
    own.merging.opened(report, own.opened)
    if report.round:
        text = f"goes on after round {report.round}, with the state kept on this disk"
        yield Note(own.local_id, "progress", text, {"round": report.round})
    if not evaluates(own.order):
        yield WorkOrder(own.worker, Evaluate())


def _is_kept(own: OwnJob) -> bool:
    """Whether what is being loaded is a state of an earlier worker, not the job's first."""
    return any(times.checkpoint == own.opened for times in own.rounds.values() if times.checkpoint)


def _unusable(own: OwnJob, why: str) -> Iterator[Note]:
    """A state that was kept cannot be loaded: an older one is, in the end the first."""
    own.unusable.add(own.opened)
    own.opening = False
    yield Note(own.local_id, "progress", f"a state kept on this disk is of no use: {why}")


def _evaluated(own: OwnJob, report: Evaluated) -> Iterator[Effect]:
    if report.round == 0:
        own.holdout_before = report.loss_micronats
    else:
        times = own.rounds.get(Round(report.round - 1))
        if times is not None:
            times.holdout_micronats = report.loss_micronats
            own.fresh.add(Round(report.round - 1))
    loss = format_millionths(report.loss_micronats, 3)
    when = f"after round {report.round}" if report.round else "at the start"
    unit = unit_of(own.order.model) if isinstance(own.order, TrainOrder) else ""
    text = f"held-out loss {when}: {loss}{unit}"
    data: dict[str, Value] = {"round": report.round, "holdout_micronats": report.loss_micronats}
    yield Note(own.local_id, "progress", text, data)


def fetched(own: OwnJob, event: Fetched | Oversized) -> Iterator[Effect]:
    """A blob is here, or too large for somebody."""
    if own.files is not None:
        own.files.arrived(event)
    if own.merging is not None:
        for blame in own.merging.arrived(event):
            yield Note(own.local_id, "warning", f"{short(blame.peer)} {blame.reason}")
            yield blame
    if own.seeking is not None:
        yield from own.seeking.fetched(event)
        own.seek_at = Instant(0)
    own.retry_at = Instant(0)


def exited(own: OwnJob, reason: str, now: Instant) -> Iterator[Effect]:
    """The worker died: bring up another, which goes on from the newest state kept, a few times."""
    own.hired = own.opening = own.exporting = False
    own.lent = None
    own.restarts += 1
    if own.merging is not None:
        own.merging.restarted()
    if own.propose is None or own.restarts > RESTARTS_MAX:
        yield from fail(own, f"the worker died: {reason}", now)


def fail(own: OwnJob, reason: str, now: Instant) -> Iterator[Effect]:
    """The job cannot go on."""
    own.end(Stage.FAILED, reason, now)
    yield Note(own.local_id, "end", f"failed: {reason}", {"state": "failed"})
    yield from dismiss(own)


def dismiss(own: OwnJob) -> Iterator[WorkEffect]:
    """The worker is not needed any more."""
    if own.hired:
        own.hired = False
        yield Dismiss(own.worker)


def _hire(own: OwnJob) -> Iterator[WorkEffect]:
    if not own.hired:
        own.hired = True
        yield Hire(own.worker)

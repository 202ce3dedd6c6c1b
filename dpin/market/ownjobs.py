"""All jobs that this node has ordered, bounded, and what a restart must know of them."""

from collections.abc import Iterator
from typing import Final

from dpin.base.codec import decode, encode
from dpin.base.ids import JobId
from dpin.base.machine import Store
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.compute.task import Manifest
from dpin.ledger.accounts import Job, State
from dpin.market.orders import (
    OwnJobAgain,
    OwnJobEnd,
    OwnJobOrdered,
    OwnJobRecord,
    OwnRecord,
    OwnRound,
)
from dpin.market.ownjob import OwnJob, Stage
from dpin.market.resuming import recall_round, round_record

FORGOTTEN_MAX: Final = 4_096  # whose side on the ledger is no later order's
JOBS_MAX: Final = 256  # kept in memory; the oldest ended ones go first


class OwnJobs:
    """Own jobs by local id, oldest first. `by_id` may be read by everybody."""

    def __init__(self) -> None:
        self.by_id: dict[str, OwnJob] = {}
        self._unbegun: dict[str, None] = {}  # asked for before a restart, and not prepared then
        self._forgotten: dict[JobId, None] = {}  # the ledger's side of those that have gone

    def add(self, own: OwnJob) -> None:
        """A new job; where there are too many, the oldest that has ended goes."""
        ended = [local_id for local_id, other in self.by_id.items() if other.stage.ended]
        if len(self.by_id) >= JOBS_MAX and ended:
            gone = self.by_id.pop(ended[0])
            for job in (gone.ledger_id, gone.was, *gone.given_up):
                self._forget(job)
        self.by_id[own.local_id] = own

    def _forget(self, job: JobId | None) -> None:
        if job is not None:
            self._forgotten[job] = None
        while len(self._forgotten) > FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]

    def restore(self, record: OwnRecord) -> None:
        """What was known before a restart, record by record."""
        if not isinstance(record, OwnRound):
            self._unbegun.pop(record.local_id, None)
        match record:
            case OwnJobOrdered(local_id=local_id):
                self._unbegun[local_id] = None
                self.add(OwnJob(local_id, record.order, _moment(record)))
            case OwnJobRecord():
                own = OwnJob(record.local_id, record.order, _moment(record))
                own.manifest = decode(Manifest, record.manifest)
                own.propose = record.propose
                self.add(own)
            case OwnRound() | OwnJobAgain():
                known = self.by_id.get(record.local_id)
                if known is not None:
                    _restore_more(known, record)
            case OwnJobEnd(local_id=local_id):
                known = self.by_id.get(local_id)
                if known is not None:
                    _restore_end(known, record)
                else:
                    self._forget(record.job)

    def take_unbegun(self) -> list[OwnJob]:
        """Those to be begun anew after a restart, in their old order; once."""
        unbegun, self._unbegun = self._unbegun, {}
        return [self.by_id[local_id] for local_id in unbegun]

    def recall(self, state: State) -> None:
        """Find the ledger's side of jobs that had ended before a restart."""
        for own in self.by_id.values():
            if own.job is None and own.was is not None:
                own.job = state.jobs.get(own.was)

    def records(self) -> Iterator[Store]:
        """Remember what has been found out, and what has ended, since the last call."""
        for own in self.by_id.values():
            for round_ in sorted(own.fresh):
                yield Store(encode(round_record(own, round_)))
            own.fresh.clear()
            if own.stage.ended and not own.recorded:
                own.recorded = True
                yield Store(encode(_end_of(own)))

    def find(self, own: OwnJob, requester: bytes, state: State) -> Job | None:
        """The ledger's side of an own job; two equal proposals are two jobs, whatever came of one.

        An order may be given again when its first job was forgotten, or was given up here while
        its proposal was on the way.
        """
        claimed = {other.job.id for other in self.by_id.values() if other.job is not None}
        claimed |= {job for other in self.by_id.values() for job in other.given_up}
        claimed |= self._forgotten.keys()
        for job in state.jobs.values():
            mine = job.requester == requester and job.propose == own.propose
            if mine and job.id not in claimed and job.opened_at > own.since:
                return job
        return None


def _moment(record: OwnJobRecord | OwnJobOrdered) -> Instant:
    return Instant(record.submitted_ms * MICROS_PER_MILLI)


def _restore_more(own: OwnJob, record: OwnRound | OwnJobAgain) -> None:
    if isinstance(record, OwnRound):
        recall_round(own, record)
    else:
        own.given_up += (record.given_up,)


def _restore_end(own: OwnJob, record: OwnJobEnd) -> None:
    finished = Instant(record.finished_ms * MICROS_PER_MILLI)
    own.end(Stage(record.stage), record.reason, finished)
    own.was, own.output_files, own.recorded = record.job, record.output_files, True


def _end_of(own: OwnJob) -> OwnJobEnd:
    finished_ms = (own.finished or own.submitted) // MICROS_PER_MILLI
    job = own.ledger_id
    return OwnJobEnd(own.local_id, job, own.stage, own.reason, finished_ms, own.output_files)

"""What a provider keeps of a job that is over, for a requester that was away when it ended.

The state before the last round and what that round took: from these the requester makes the model
itself. Of a masked job, whose shares nobody tells twice, it is the last state. It stays until the
requester says that it has its result, at most for a day, and over restarts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from dpin.base.codec import encode
from dpin.base.ids import NO_BLOB, BlobId, JobId, NodeId, Round
from dpin.base.machine import Send, Store, Wake
from dpin.base.units import MICROS_PER_MILLI, Instant, after, seconds
from dpin.ledger.accounts import Job
from dpin.ledger.transactions import TRAIN
from dpin.market.merging import Merging
from dpin.market.messages import CheckpointOffer
from dpin.market.orders import Bequest
from dpin.storage.wanted import Allow, Keep, Kept, Purpose

KEPT_FOR: Final = seconds(24 * 3_600)
BEQUESTS_MAX: Final = 16  # the oldest goes
OFFER_AGAIN: Final = seconds(60)

Effect = Send | Store | Wake | Keep | Allow


@dataclass(slots=True)
class Legacy:
    """Of one node, by job."""

    held: dict[JobId, Bequest] = field(default_factory=dict)
    _offer_at: dict[JobId, Instant] = field(default_factory=dict)
    _paths: dict[str, Bequest] = field(default_factory=dict)  # states that have no blob id yet
    _keep_at: Instant = Instant(0)  # these are tried again: there may have been no room
    _again: list[Bequest] = field(default_factory=list)  # of before a restart, not yet allowed

    @property
    def needed(self) -> Iterator[BlobId]:
        """The blobs that stay."""
        for bequest in (*self.held.values(), *self._paths.values()):
            yield from bequest.updates
            if bequest.blob != NO_BLOB:
                yield bequest.blob

    @property
    def claims(self) -> Iterator[tuple[JobId, int]]:
        """What they take of the disk at most."""
        for bequest in self.held.values():
            yield bequest.job, bequest.length * (1 + len(bequest.updates))

    def restore(self, bequest: Bequest) -> None:
        """Known from before a restart."""
        self._take(bequest)
        self._again.append(bequest)

    def leave(self, job: Job, merging: Merging, now: Instant) -> Iterator[Keep]:
        """A lease that was there to the end is over."""
        start = _kept_of(job, merging)
        if start is None or job.id in self.held:
            return
        round_, path = start
        until_ms = after(now, KEPT_FOR) // MICROS_PER_MILLI
        taken = {one.update for record in job.rounds[round_:] for one in record.included}
        bequest = Bequest(job.id, job.requester, round_, NO_BLOB, 0, tuple(sorted(taken)), until_ms)
        self._paths[path] = bequest
        while len(self._paths) > BEQUESTS_MAX:
            del self._paths[next(iter(self._paths))]
        self._keep_at = after(now, OFFER_AGAIN)
        yield Keep(path, Purpose.MODEL, None)

    def kept(self, event: Kept) -> Iterator[Store]:
        """A state has its blob id: from here on it is offered."""
        bequest = self._paths.pop(event.path, None)
        if bequest is not None:
            named = _with_blob(bequest, event)
            self._take(named)
            yield Store(encode(named))

    def follow(self, now: Instant) -> Iterator[Effect]:
        """Offer it to the requester, now and then; let go of what is too old."""
        for bequest in self._again:
            yield from (Allow(blob, None) for blob in (bequest.blob, *bequest.updates))
        self._again.clear()
        yield from self._keep(now)
        for job, bequest in list(self.held.items()):
            if now // MICROS_PER_MILLI >= bequest.until_ms:
                self._forget(job)
            elif now >= self._offer_at[job]:
                self._offer_at[job] = after(now, OFFER_AGAIN)
                yield _offer(bequest)
                yield Wake(self._offer_at[job])

    def _keep(self, now: Instant) -> Iterator[Keep | Wake]:
        if not self._paths or now < self._keep_at:
            return
        self._keep_at = after(now, OFFER_AGAIN)
        for path, bequest in list(self._paths.items()):
            if now // MICROS_PER_MILLI >= bequest.until_ms:
                del self._paths[path]
            else:
                yield Keep(path, Purpose.MODEL, None)
        yield Wake(self._keep_at)

    def asked(self, peer: NodeId, job: JobId) -> Iterator[Send]:
        """The requester is back and asks."""
        bequest = self.held.get(job)
        if bequest is not None and bequest.requester == peer:
            yield _offer(bequest)

    def taken(self, peer: NodeId, job: JobId) -> None:
        """The requester has what it wants of the job."""
        bequest = self.held.get(job)
        if bequest is not None and bequest.requester == peer:
            self._forget(job)

    def _take(self, bequest: Bequest) -> None:
        self.held[bequest.job], self._offer_at[bequest.job] = bequest, Instant(0)
        while len(self.held) > BEQUESTS_MAX:
            self._forget(next(iter(self.held)))

    def _forget(self, job: JobId) -> None:
        del self.held[job], self._offer_at[job]


def _offer(bequest: Bequest) -> Send:
    offer = CheckpointOffer(bequest.job, bequest.round, bequest.blob)
    return Send(bequest.requester, encode(offer))


def _with_blob(bequest: Bequest, event: Kept) -> Bequest:
    return replace(bequest, blob=event.blob, length=event.length)


def _kept_of(job: Job, merging: Merging) -> tuple[Round, str] | None:
    """The round and the file of the state that is kept; None where there is nothing to keep."""
    rounds = job.propose.rounds
    whole = len(job.rounds) == rounds and job.rounds[-1].closed and not job.cancelled
    if job.propose.kind != TRAIN or not whole or merging.holding is None:
        return None
    held = {merging.holding: merging.checkpoint, **merging.before}
    round_ = Round(rounds if merging.privacy.masked else rounds - 1)
    return (round_, held[round_]) if round_ in held else None

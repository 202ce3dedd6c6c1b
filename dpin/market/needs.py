"""The blobs that leases and own jobs need, and that must not make room for others meanwhile."""

from collections.abc import Iterator

from dpin.base.ids import BlobId
from dpin.ledger.accounts import State
from dpin.ledger.transactions import EVAL
from dpin.market.engagement import Engagement
from dpin.market.merging import Merging
from dpin.market.ownjob import OwnJob
from dpin.verify.naming import files_of


def of_lease(engagement: Engagement, state: State) -> Iterator[BlobId]:
    """Of a lease: the job's files, the state it joined with, updates that are not merged yet."""
    if engagement.failed or engagement.files.fault:
        return
    yield from engagement.files.needed
    yield from unmerged(engagement.merging, state)
    if engagement.loading.seeking.found is not None:
        yield engagement.loading.seeking.found[1]
    least = (engagement.merging.holding or 0) - 1
    for round_, commit in engagement.commits.made.items():
        if round_ >= least:  # The ledger may not know of it yet.
            yield commit.update


def of_own(own: OwnJob, state: State) -> Iterator[BlobId]:
    """Of an own job: what others fetch from here, and updates that are not merged yet."""
    if not is_under_way(own, state):
        return
    yield from own.kept.values()
    if own.propose is not None and own.manifest is not None:
        yield own.propose.manifest
        yield from files_of(own.manifest)
    if own.merging is not None:
        yield from unmerged(own.merging, state)
    if own.seeking is not None and own.seeking.found is not None:
        yield own.seeking.found[1]


def is_under_way(own: OwnJob, state: State) -> bool:
    """Whether anything is still to be done, here or by others."""
    return not own.stage.ended or (own.job is not None and own.job.id in state.live_jobs)


def unmerged(merging: Merging, state: State) -> Iterator[BlobId]:
    """The updates that a node, or another one a round behind it, has still to merge."""
    rounds = merging.job.rounds
    first = len(rounds) if merging.holding is None else merging.holding
    if merging.holding is None:
        yield from merging.paths  # Fetched ahead, by whoever does not know yet where it begins.
    if merging.job.propose.kind == EVAL:
        first = 0  # Its parts are added up at the end.
    for record in rounds[max(0, first - 1) :]:
        yield from merging.updates(record, state).values()

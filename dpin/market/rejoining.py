"""Own jobs whose rounds have gone on without their requester: a provider's state takes it there.

Rounds are merged from their updates as long as these are to be had. What nobody has any more is not
invented: the state comes from a provider, counts once the ledger names it, and of the rounds before
it is known what the ledger says, and no more.
"""

from collections.abc import Iterator
from typing import Final

from dpin.base.ids import BlobId, Round
from dpin.base.machine import Send, Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.task import Evaluate, Opened
from dpin.compute.work import Order, WorkEffect
from dpin.ledger.accounts import State
from dpin.ledger.views import name_of
from dpin.market.evaluating import evaluates
from dpin.market.merging import Merging
from dpin.market.ownjob import OwnJob
from dpin.market.seeking import Seeking, Word, word_on
from dpin.market.story import Note
from dpin.storage.wanted import Fetch

RETRY: Final = seconds(1)
GONE: Final = seconds(15)  # after which a round that cannot be merged is not waited for any more

Effect = Note | Send | Wake | Fetch | WorkEffect


def is_lent(own: OwnJob) -> bool:
    """Whether what was loaded last is a provider's state."""
    return own.seeking is not None and own.opened == own.seeking.path != ""


def rejoin(own: OwnJob, merging: Merging, state: State, now: Instant) -> Iterator[Effect]:
    """Where a round that is over cannot be merged, go on from a later state; harmless to repeat."""
    if own.lent is not None:
        yield from _settle(own, merging, own.lent, state)
        return
    if not own.near:
        merging.stalled_at = None  # Nobody could have given anything.
    if evaluates(own.order) or merging.holding is None or not _is_stuck(merging, now):
        return
    assert own.files is not None, "it has loaded them"
    if own.seeking is None:
        own.seeking = Seeking(own.files, merging.job.requester)
    own.seeking.least = Round(merging.holding + 1)
    if own.seeking.found is not None and own.seeking.found[0] < own.seeking.least:
        own.seeking.forget()
    start = own.seeking.start
    if start is not None:
        merging.restarted()
        own.opened = start[1]
        yield Order(own.worker, own.files.open_job(start, own.worker))
    elif now >= own.seek_at:
        own.seek_at = after(now, RETRY)
        yield from own.seeking.ask(state)
        yield Wake(own.seek_at)


def _is_stuck(merging: Merging, now: Instant) -> bool:
    """Whether the round that comes next is over and what it takes is not to be had."""
    if merging.stalled_at is None or now < after(merging.stalled_at, GONE):
        return False
    if merging.privacy.masked and merging.unveiling is not None and merging.unveiling.waits:
        return True
    # What is coming in takes its time; what nobody has is asked for again each second.
    lacking = (when for blob, when in merging.lacking.items() if blob not in merging.paths)
    return any(now < after(when, GONE) for when in lacking)


def missing(own: OwnJob, merging: Merging, blob: BlobId, now: Instant) -> Iterator[Wake]:
    """Nobody shows an update, or the state that was offered."""
    yield from merging.asking.missing(blob, now)
    held = merging.holding
    upcoming = merging.job.rounds[held : held + 1] if held is not None else ()
    if any(one.update == blob for record in upcoming for one in record.included):
        merging.lacking[blob] = now
    if own.seeking is not None:
        own.seeking.missing(blob)


def _settle(own: OwnJob, merging: Merging, report: Opened, state: State) -> Iterator[Effect]:
    """A provider's state is loaded: it counts if the ledger names it."""
    match word_on(merging.job, report.round, report.state_hash):
        case Word.SAME:
            yield from _accept(own, merging, report, state)
        case Word.OTHER:
            yield from refuse(own, "it is not the one that the ledger names")
        case Word.NEVER:
            yield from _drop(own, "the ledger names none of that round")
        case Word.NOT_YET:
            pass


def _accept(own: OwnJob, merging: Merging, report: Opened, state: State) -> Iterator[Effect]:
    assert own.seeking is not None, "it was lent by somebody"
    assert own.seeking.offered_by is not None, "likewise"
    who = name_of(state, own.seeking.offered_by)
    merging.opened(report, own.opened)
    last = Round(report.round - 1)
    merging.states[last] = report.state_hash
    times = own.rounds.get(last)
    if times is not None:
        times.state_hash, times.checkpoint = report.state_hash, own.opened
        times.model_root = report.model_root
        own.fresh.add(last)
    first, own.seeking, own.lent = own.seeking.least, None, None
    text = f"goes on after round {report.round}, with the state of {who}, which the ledger names"
    text += f": updates of round {first} are not to be had any more"
    yield Note(own.local_id, "progress", text, {"round": report.round})
    yield Order(own.worker, Evaluate())


def refuse(own: OwnJob, why: str) -> Iterator[Note]:
    """It was no state of the job: another provider's may be."""
    assert own.seeking is not None, "it was lent by somebody"
    own.seeking.refuse()
    yield from _drop(own, why)


def _drop(own: OwnJob, why: str) -> Iterator[Note]:
    """What is kept here is loaded again."""
    assert own.seeking is not None, "it was lent by somebody"
    own.seeking.forget()
    own.lent, own.opening = None, False
    yield Note(own.local_id, "progress", f"a state that a provider holds is of no use: {why}")

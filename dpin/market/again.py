"""A proposal that expired while its own node was away says nothing of providers: it is made again.

It was never awarded, so nobody has worked on it, and the ledger has given its escrow back. Its id
is noted, durably, before the job is proposed anew: from then on it is no side of any job of ours,
and whatever equal proposal comes later is.
"""

from collections.abc import Iterator
from typing import Final

from dpin.base.codec import encode
from dpin.base.machine import Store
from dpin.base.units import Instant, after
from dpin.ledger.accounts import Job, JobState, State
from dpin.ledger.params import Params
from dpin.ledger.wishes import Wish
from dpin.market.heed import Heed
from dpin.market.orders import OwnJobAgain
from dpin.market.ownjob import OwnJob, Stage, Supply
from dpin.market.story import Note

AGAIN_MAX: Final = 3  # times that a job is proposed anew


def heed(own: OwnJob, job: Job, state: State, params: Params, now: Instant) -> None:
    """Take note of how long this node was there while its proposal waited for providers."""
    if own.alone:
        own.heed = Heed()  # Nobody could have bid, and nobody would have had the award.
    elif not job.leases:
        own.heed.look(now, state.time, _enough_ms(params))


def is_due(own: OwnJob, job: Job, params: Params, now: Instant) -> bool:
    """Whether it expired for want of an award, and that only because this node was away."""
    unawarded = job.state == JobState.EXPIRED and not job.leases
    if not unawarded or own.cancelled or len(own.given_up) >= AGAIN_MAX:
        return False
    in_time = now < after(own.submitted, own.order.time_limit)
    return in_time and own.heed.lasted_ms < _enough_ms(params)


def propose(own: OwnJob, job: Job) -> Iterator[Store | Wish | Note]:
    """Give the expired proposal up, and propose the job anew."""
    own.given_up = (*own.given_up, job.id)
    own.job, own.stage = None, Stage.MATCHING
    own.supply, own.heed = Supply(), Heed()
    own.lost.clear()
    yield Store(encode(OwnJobAgain(own.local_id, job.id)), sync=True)
    text = "proposed again: this node was away while providers could bid"
    yield Note(own.local_id, "progress", text, {"time": len(own.given_up), "most": AGAIN_MAX})
    assert own.propose is not None, "it was on the ledger"
    yield Wish(f"propose:{own.local_id}", own.propose)


def _enough_ms(params: Params) -> int:
    """Half of the time in which a proposal may be awarded."""
    return params.award_ticks * params.tick_ms // 2

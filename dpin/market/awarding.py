"""When a requester awards, and when it gives a lease up."""

from collections.abc import Iterator
from typing import Final

from dpin.base.attention import LOOK
from dpin.base.ids import NodeId
from dpin.base.machine import Wake
from dpin.base.units import Instant, Micros, after, seconds
from dpin.ledger.accounts import Job, Lease, LeaseState, State, registered
from dpin.ledger.transactions import Award, SignedBid, Stop
from dpin.ledger.views import holds_live_lease, open_seats
from dpin.ledger.wishes import Wish
from dpin.market.messages import Reason
from dpin.market.ownjob import Beat, OwnJob
from dpin.market.story import Note, without

BIDS_MAX: Final = 64  # of one job; the cheapest are kept
AWARD_BIDS_MAX: Final = 24  # in one transaction
ENOUGH_WAIT: Final = seconds(1)  # for a better bid, once there are enough
NEAR_WAIT: Final = Micros(2_500_000)  # while somebody connected is silent: bids are repeated
ANY_WAIT: Final = seconds(3)  # for more bids, while there are too few
HURRY_TICKS: Final = 8  # before the open seats expire, what is there is awarded
DOWN_PATIENCE: Final = seconds(5)  # for a provider whose connection is gone: hosts are restarted
SILENCE_PATIENCE: Final = seconds(10)  # for a connected provider that says nothing


def keep_bid(own: OwnJob, signed: SignedBid, now: Instant) -> None:
    """Remember a provider's newest offer; of too many, the dearest goes."""
    bids = own.supply.bids
    bids[signed.bid.provider] = signed
    own.supply.declines.pop(signed.bid.provider, None)
    if own.supply.first_at is None:
        own.supply.first_at = now
    if len(bids) > BIDS_MAX:
        dearest = max(bids.values(), key=lambda held: (held.bid.price, held.bid.provider))
        del bids[dearest.bid.provider]


def awards(own: OwnJob, job: Job, state: State, now: Instant) -> Iterator[Wish | Wake | Note]:
    """Award the open seats, once everybody has answered or waiting has been long enough."""
    seats = open_seats(state, job)
    bids = [
        signed
        for provider, signed in sorted(own.supply.bids.items())
        if not holds_live_lease(state, job, provider) and signed.bid.until > state.tick
        if provider not in own.lost
    ]
    if not seats or not bids:
        own.supply.first_at = None if not bids else own.supply.first_at
        return
    first_at = own.supply.first_at if own.supply.first_at is not None else now
    own.supply.first_at = first_at
    silent = _unanswered(own, job, state)
    ripe = after(first_at, _patience(own, silent, enough=len(bids) >= seats))
    hurry = job.current is None and state.tick >= job.deadline - HURRY_TICKS
    if now < ripe and silent and not hurry:
        yield Wake(ripe)
        return
    yield from without(own, job, silent, state)
    cheapest = sorted(bids, key=lambda signed: (signed.bid.price, signed.bid.provider))
    name = f"award:{job.id.hex()}:{len(job.leases)}"
    yield Wish(name, Award(job.id, tuple(cheapest[:AWARD_BIDS_MAX])))


def _unanswered(own: OwnJob, job: Job, state: State) -> list[NodeId]:
    """Those who might still offer."""
    found = []
    for node in sorted(registered(state.accounts)):
        registration = state.accounts[node].registration
        if registration is None or not registration.provides or node == job.requester:
            continue
        answered = node in own.supply.bids or node in own.supply.declines
        if not answered and not holds_live_lease(state, job, node):
            found.append(node)
    return found


def _patience(own: OwnJob, silent: list[NodeId], *, enough: bool) -> Micros:
    """How long to wait from the first bid on."""
    if not enough:
        return ANY_WAIT
    return NEAR_WAIT if any(node in own.near for node in silent) else ENOUGH_WAIT


def stops(own: OwnJob, job: Job, state: State, now: Instant) -> Iterator[Wish | Wake]:
    """Give up leases whose provider is gone: its seat is then open at once (S4)."""
    for lease_id in job.leases:
        lease = state.leases[lease_id]
        if lease.state == LeaseState.ENDED or lease.stopped:
            own.beats.pop(lease_id, None)
            continue
        beat = own.beats.setdefault(lease_id, Beat(None, now))
        gone = _gone_at(own, lease, beat)
        if now >= gone and not own.alone:
            own.supply.bids.pop(lease.provider, None)  # Who is there bids again, within seconds.
            yield Wish(f"stop:{lease_id.hex()}", Stop(lease_id))
        else:
            yield Wake(min(max(gone, now), after(now, LOOK)))


def excuse(own: OwnJob, slept: Micros, now: Instant) -> None:
    """What this node did not hear while it slept, nobody has kept from it."""
    for lease, beat in own.beats.items():
        own.beats[lease] = Beat(beat.heartbeat, min(now, after(beat.at, slept)))
    for peer, since in own.lost.items():
        own.lost[peer] = min(now, after(since, slept))


def _gone_at(own: OwnJob, lease: Lease, beat: Beat) -> Instant:
    declined = own.supply.declines.get(lease.provider)
    if declined is not None and declined.code == Reason.FAULTY:
        return beat.at
    silent = after(beat.at, Micros(SILENCE_PATIENCE))
    since = own.lost.get(lease.provider)
    return (
        silent if since is None or own.alone else min(silent, after(since, Micros(DOWN_PATIENCE)))
    )

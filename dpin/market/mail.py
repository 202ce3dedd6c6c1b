"""What providers send a requester: offers, refusals, signs of life, text."""

from collections.abc import Iterator, Mapping
from typing import Final, assert_never

from dpin.base.codec import encode
from dpin.base.crypto import digest, verify
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, ChainId, JobId, NodeId
from dpin.base.machine import Blame, Send
from dpin.base.units import Instant
from dpin.compute.statements import Signed, check
from dpin.ledger.accounts import Account, State
from dpin.ledger.params import Params
from dpin.ledger.transactions import BID_TAG, Bid
from dpin.market.awarding import keep_bid
from dpin.market.early import EarlyMail
from dpin.market.merging import Effect as MergingEffect
from dpin.market.messages import (
    AskCheckpoint,
    BidMessage,
    CheckpointOffer,
    Decline,
    Heartbeat,
    RevealMail,
    ScoresMail,
    StateTaken,
    Text,
)
from dpin.market.orders import InferOrder
from dpin.market.ownjob import Beat, OwnJob
from dpin.market.seeking import Word, word_on
from dpin.market.story import Note, offered
from dpin.market.witness import drawn

TEXT_BYTES_MAX: Final = 1 << 20
DECLINES_MAX: Final = 256  # of one job

Message = (
    BidMessage
    | Decline
    | Heartbeat
    | Text
    | AskCheckpoint
    | CheckpointOffer
    | RevealMail
    | ScoresMail
)
Effect = Blame | Note | MergingEffect


class Mail:
    """Reads messages into the own jobs that they are about."""

    def __init__(self, jobs: Mapping[str, OwnJob], chain: ChainId, params: Params) -> None:
        self._jobs = jobs
        self._chain = chain
        self._params = params
        self._early = EarlyMail()

    def told(
        self, peer: NodeId, message: Message, state: State | None, now: Instant
    ) -> Iterator[Effect]:
        """Take one message; `state` is None until the ledger has been read."""
        match message:
            case BidMessage():
                yield from self._offered(peer, message, state, now)
            case Decline():
                self._declined(peer, message, now)
            case Heartbeat():
                self._beat(peer, message, state, now)
            case Text():
                yield from self._text(peer, message, state)
            case AskCheckpoint() | RevealMail():
                yield from self._shared(peer, message, now)
            case CheckpointOffer():
                yield from self._lent(peer, message)
            case ScoresMail():
                self._witnessed(peer, message.signed, state)
            case _:
                assert_never(message)

    def recalled(self, own: OwnJob, state: State, now: Instant) -> Iterator[Effect]:
        """What was said about a job before this node has seen it on the ledger."""
        if own.job is not None:
            for peer, message in self._early.take(own.job.id, now):
                yield from self.told(peer, message, state, now)

    def _shared(
        self, peer: NodeId, message: AskCheckpoint | RevealMail, now: Instant
    ) -> Iterator[Effect]:
        """What is said to all who hold a job's state; raises PeerFault."""
        job = message.job if isinstance(message, AskCheckpoint) else message.reveal.job
        own = self._own(job)
        if own is None or own.merging is None:
            return
        if isinstance(message, AskCheckpoint):
            yield from own.merging.asked(peer, now)
        else:
            own.merging.told(peer, message.reveal)

    def _lent(self, peer: NodeId, offer: CheckpointOffer) -> Iterator[Send]:
        """A provider holds a state of a job of ours."""
        own = self._own(offer.job)
        if own is not None and own.stage.ended:
            yield Send(peer, encode(StateTaken(offer.job)))
        if own is None or own.job is None or own.seeking is None:
            return
        unnamed = word_on(own.job, offer.round, NO_DIGEST) is Word.NEVER  # Nothing would prove it.
        if not unnamed and own.seeking.offered(peer, offer):
            own.seek_at = Instant(0)

    def _witnessed(self, peer: NodeId, signed: Signed, state: State | None) -> None:
        """What a witness has found; raises PeerFault. The first word of each on a round stands."""
        check(signed, self._chain)
        if signed.node != peer:
            raise PeerFault("handed on what another has signed")
        own = self._own(signed.statement.job)
        times = own.rounds.get(signed.statement.round) if own is not None else None
        if own is None or own.job is None or state is None or times is None:
            return
        account = state.accounts.get(peer)
        # Who was drawn is found among all accounts: asked last, and not by everybody.
        if account is None or account.registration is None or peer in times.signed:
            return
        if peer in drawn(own.job, state):
            times.signed[peer] = signed
            own.fresh.add(signed.statement.round)

    def _own(self, job: JobId) -> OwnJob | None:
        return next((own for own in self._jobs.values() if own.ledger_id == job), None)

    def _offered(
        self, peer: NodeId, message: BidMessage, state: State | None, now: Instant
    ) -> Iterator[Effect]:
        bid, signature = message.signed.bid, message.signed.signature
        what = digest(BID_TAG, encode(bid))
        if bid.provider != peer or not verify(peer, BID_TAG, self._chain, what, signature):
            yield Blame(peer, "sent a bid that it did not sign")
            return
        own = self._own(bid.job)
        if own is None and self._expecting:
            self._early.keep(peer, message, now)
        account = state.accounts.get(peer) if state is not None else None
        # Names are free: without a stake behind each, they could push all honest offers out.
        if state is None or own is None or own.job is None or account is None:
            return
        if _stands(bid, account, self._params):
            keep_bid(own, message.signed, now)
            yield from offered(own, own.job, peer, bid.price, state)

    @property
    def _expecting(self) -> bool:
        """Whether a job of ours is proposed and not seen on the ledger yet."""
        return any(
            own.propose is not None and own.job is None and not own.stage.ended
            for own in self._jobs.values()
        )

    def _declined(self, peer: NodeId, message: Decline, now: Instant) -> None:
        own = self._own(message.job)
        if own is None:
            if self._expecting:
                self._early.keep(peer, message, now)
            return
        own.supply.bids.pop(peer, None)
        if peer in own.supply.declines or len(own.supply.declines) < DECLINES_MAX:
            own.supply.declines[peer] = message

    def _beat(self, peer: NodeId, beat: Heartbeat, state: State | None, now: Instant) -> None:
        lease = state.leases.get(beat.lease) if state is not None else None
        if lease is None or lease.provider != peer:
            return
        own = self._own(lease.job)
        if own is None:
            return
        own.beats[lease.id] = Beat(beat, now)
        times = own.rounds.get(beat.round)
        if times is not None and beat.tokens_per_second > 0:
            times.beats[beat.lease] = beat
            # A loss of nought is not known yet, or hidden as the updates are.
            losses = [one.loss_micronats for one in times.beats.values() if one.loss_micronats > 0]
            times.loss_micronats = sum(losses) // len(losses) if losses else times.loss_micronats
            times.tokens_per_second = sum(one.tokens_per_second for one in times.beats.values())

    def _text(self, peer: NodeId, message: Text, state: State | None) -> Iterator[Effect]:
        lease = state.leases.get(message.lease) if state is not None else None
        own = self._own(lease.job) if lease is not None and lease.provider == peer else None
        if own is None or not isinstance(own.order, InferOrder):
            return
        if not 0 <= message.offset <= len(own.text):
            return  # A part is lost: the digest at the end would not match anyway.
        # A provider whose worker died generates the same again from the start.
        fresh = message.data[len(own.text) - message.offset :]
        if not fresh or len(own.text) + len(fresh) > TEXT_BYTES_MAX:
            return
        own.text += fresh
        shown = fresh.decode("utf-8", "replace")
        yield Note(own.local_id, "token", shown, {"bytes": fresh.hex()})


def _stands(bid: Bid, account: Account, params: Params) -> bool:
    """Whether a provider could be bound to its offer."""
    unlocked = account.stake - account.locked
    registered = account.registration is not None and account.registration.provides
    return registered and bid.price > 0 and unlocked >= params.bond_multiple * bid.price

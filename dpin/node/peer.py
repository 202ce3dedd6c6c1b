"""The whole node as one machine: replica, market and verification, joined.

What production drives with real shells, the simulator drives with a fake world. An inner machine's
domain effect is another's event; `step` runs until only outside effects remain.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, NodeId
from dpin.base.machine import (
    Blame,
    PeerDown,
    PeerUp,
    Preserve,
    Received,
    Roll,
    Send,
    Store,
    Tick,
    Wake,
)
from dpin.base.units import NEVER, Instant
from dpin.compute.work import Exited, Reported, WorkEffect, WorkEvent
from dpin.ledger.accounts import State
from dpin.ledger.duties import Duties, Witness
from dpin.ledger.genesis import Genesis, chain_id
from dpin.ledger.history import Remembering
from dpin.ledger.identity import HoldChain, HoldSigner, Identity, WantChain, WantSigner
from dpin.ledger.inquest import Dump
from dpin.ledger.keeper import Keeper
from dpin.ledger.offload import CheckSignatures, Offload, SignaturesChecked
from dpin.ledger.pledges import Pledged, Release, standing
from dpin.ledger.renewal import Renewal
from dpin.ledger.replica import Applied, Diverged, Refused, Replica, Resumed, Silenced, Submit
from dpin.ledger.replica import Effect as ReplicaEffect
from dpin.ledger.wishes import Carry, Follow, Outcome, Submission, Wish, Wishes
from dpin.market.chronicle import Deed
from dpin.market.messages import (
    AskCheckpoint,
    AskReveal,
    BidMessage,
    CheckpointOffer,
    Decline,
    Heartbeat,
    MarketMessage,
    MaskMail,
    RevealMail,
    ScoresMail,
    StateTaken,
    Text,
    read_message,
)
from dpin.market.orders import Bequest, OwnRecord
from dpin.market.provider import Choice, Pinned, Probe, Provider, Rest, ToProvider
from dpin.market.provider import Effect as ProviderEffect
from dpin.market.requester import Abandon, Requester, Start, ToRequester
from dpin.market.requester import Effect as RequesterEffect
from dpin.market.story import Note
from dpin.net.envelope import Service, open_envelope, wrap
from dpin.node.needing import Needing
from dpin.node.ownrecords import Owner, by_owner, owned_records, readable, remembered
from dpin.storage.wanted import Fetched, Kept, Missing, Oversized, StoreEffect, StoreEvent
from dpin.verify.defender import Asked, Defender, Produced
from dpin.verify.defender import Effect as DefenderEffect
from dpin.verify.jobkeys import AskJobKey, JobKeyMail
from dpin.verify.messages import AskOpening, NoOpening, Opening, VerifyMessage
from dpin.verify.verifier import Effect as VerifierEffect
from dpin.verify.verifier import Told, Verifier

STEPS_MAX: Final = 100_000  # of inner machines for one outside event; more is a loop


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """What a node is made of."""

    identity: Identity
    genesis: Genesis
    records: Sequence[bytes]  # the log as it was found
    choice: Choice
    verifiers: int = 0  # processes that check signatures; 0: they are checked here
    closings: Sequence[bytes] = ()  # what was preserved beside the log


Event = (
    Received
    | PeerUp
    | PeerDown
    | Tick
    | Probe
    | Rest
    | Pinned
    | Start
    | Abandon
    | Wish
    | Carry
    | SignaturesChecked
    | HoldSigner
    | HoldChain
    | StoreEvent
    | WorkEvent
)
Effect = (
    Send
    | Store
    | Preserve
    | Roll
    | Wake
    | Blame
    | Note
    | Deed
    | Outcome
    | Pledged
    | Applied
    | Resumed
    | Silenced
    | Diverged
    | Dump
    | CheckSignatures
    | WantSigner
    | WantChain
    | StoreEffect
    | WorkEffect
)
_Inner = Effect | Wish | Carry | Submission | Refused | Produced
_OUTSIDE: Final = (Send, Wake)
_Task = Probe | Rest | Pinned | Start | Abandon | StoreEvent | WorkEvent


class Peer:
    """One node. `replica`, `executor`, `provider` and `requester` may be read, never written."""

    def __init__(self, options: PeerOptions) -> None:
        self.chain: ChainId = chain_id(options.genesis)
        self.identity, self.key = options.identity, options.identity.key
        me, params = self.key.node_id, options.genesis.params
        self.executor = Remembering(options.genesis, me)
        self.params, self.genesis = params, options.genesis
        self.choice, self.verifiers = options.choice, options.verifiers
        own = by_owner(options.records)
        self.replica = Replica(
            options.genesis,
            options.identity,
            self.executor,
            own[Owner.LEDGER],
            Keeper(self.executor, options.closings, self.executor),
        )
        if options.verifiers:
            self.replica.engine.offload = Offload(self.executor.gate, options.verifiers)
        self.wishes = Wishes(self.key, self.chain, params)
        pledges = standing(own[Owner.PLEDGED])
        again = [self.wishes.restore(pledge, self.state) for pledge in pledges]
        self._again = [one for one in again if one is not None]  # offered with the first event
        self._look_at = Instant(0)  # when market or verification wants to follow, at the latest
        self._duties = Duties(options.identity, self.chain, params)
        self._renewal = Renewal(options.identity)
        secret = self.key.sign("dpin/salt/v1", self.chain, digest("dpin/salt/v1", me))
        self.verifier = Verifier(me, secret)
        self.defender = Defender(me)
        self.provider = Provider(self.key, self.chain, params, options.choice)
        self.requester = Requester(me, self.chain, params, self.key)
        self._keys = self.requester.keys = self.verifier.keys = self.provider.keys
        self._own_jobs = own[Owner.OWN_JOB]
        self._needing = Needing(self.provider, self.requester, self.verifier, self.defender)
        self.unread: list[str] = []  # what an earlier version wrote, and why it is left alone
        recall(readable(OwnRecord | Bequest, self._own_jobs, self.unread), self)
        for unit in readable(Produced, own[Owner.PRODUCED], self.unread):
            self.defender.step(unit)

    def step(self, event: Event, now: Instant, *, more: bool = False) -> list[Effect]:
        """See dpin.base.machine.Machine. `more`: another event is at hand, see `Replica.step`."""
        pending: deque[_Inner] = deque([*self._again, *self._take(event, now, more=more)])
        self._again = []
        outside: list[Effect] = []
        for _ in range(STEPS_MAX):
            if not pending and not more and self.replica.owes:
                pending.extend(self._ledger(self.replica.step(Tick(), now)))
            if not pending:
                return outside
            effect = pending.popleft()
            if isinstance(effect, _OUTSIDE):  # As nearly all: nobody inside asks for them.
                outside.append(effect)
            else:
                pending.extend(self._pass_on(effect, outside, now))
        raise AssertionError(f"{event} keeps the machines busy for ever")

    @property
    def state(self) -> State:
        """What the ledger knows; to be read."""
        return self.executor.state

    # --- from outside to the machines ---

    def _take(self, event: Event, now: Instant, *, more: bool) -> Iterator[_Inner]:
        match event:
            case Received():
                yield from self._received(event, now, more=more)
            case PeerUp() | PeerDown():
                yield from self._ledger(self.replica.step(event, now))
                yield from self._market(self.requester.step(event, now))
            case SignaturesChecked():
                yield from self._ledger(self.replica.step(event, now))
            case Tick():
                yield from self._ledger(self.replica.step(event, now))
                yield from self._follow(now, moved=False)
            case Wish() | Carry():
                yield event
            case HoldSigner(key):
                self.identity.hold(key)
            case HoldChain(number, table):
                self.identity.chains.add(number, table)
            case _:
                yield from self._task(event, now)
                yield from self._needing.again(self.state)

    def _task(self, event: _Task, now: Instant) -> Iterator[_Inner]:
        """An event that only market and verification know."""
        match event:
            case Rest() | Pinned():
                yield from self._market(self.provider.step(event, now))
            case Probe():
                yield from self._market(self.provider.step(event, now))
                yield from self._market(self.requester.step(event, now))
            case Start() | Abandon():
                yield from self._market(self.requester.step(event, now))
            case Fetched() | Oversized() | Kept() | Missing() | Reported() | Exited():
                if isinstance(event, StoreEvent):
                    yield from self._verify(self.defender.step(event))
                yield from self._verify(self.verifier.step(event, now))
                yield from self._market(self.provider.step(event, now))
                yield from self._market(self.requester.step(event, now))
            case _:
                assert_never(event)

    def _received(self, event: Received, now: Instant, *, more: bool) -> Iterator[_Inner]:
        peer = event.peer
        try:
            envelope = open_envelope(self.chain, event.payload)
            match envelope.service:
                case Service.LEDGER:
                    inner = Received(peer, envelope.body)
                    yield from self._ledger(self.replica.step(inner, now, more=more))
                case Service.MARKET:
                    message = read_message(envelope.body)
                    yield from self._market(self._to_market(peer, message, now))
                    yield from self._needing.again(self.state)
                case Service.VERIFY:
                    question: VerifyMessage = decode(VerifyMessage, envelope.body)
                    yield from self._verify(self._to_verify(peer, question, now))
                    yield from self._needing.again(self.state)
                case Service.PEERS | Service.DIRECTORY:
                    pass  # For those whom the driver runs beside this machine.
        except PeerFault as fault:
            yield Blame(peer, str(fault))

    def _to_market(
        self, peer: NodeId, message: MarketMessage, now: Instant
    ) -> Iterator[ProviderEffect | RequesterEffect]:
        match message:
            case AskJobKey():
                yield from self._keys.asked(peer, message, self.state)
            case JobKeyMail():
                self._keys.told(message)
                yield from self.provider.step(Follow(self.state), now)
                yield from self.requester.step(Follow(self.state), now)
            case MaskMail() | AskReveal() | StateTaken():
                yield from self.provider.step(ToProvider(peer, message), now)
            case AskCheckpoint() | CheckpointOffer() | RevealMail():
                yield from self.provider.step(ToProvider(peer, message), now)
                yield from self.requester.step(ToRequester(peer, message), now)
            case BidMessage() | Decline() | Heartbeat() | Text() | ScoresMail():
                yield from self.requester.step(ToRequester(peer, message), now)
            case _:
                assert_never(message)

    def _to_verify(
        self, peer: NodeId, message: VerifyMessage, now: Instant
    ) -> Iterator[VerifierEffect | DefenderEffect]:
        match message:
            case AskOpening():
                yield from self.defender.step(Asked(peer, message))
            case Opening() | NoOpening():
                yield from self.verifier.step(Told(peer, message), now)
            case _:
                assert_never(message)

    # --- from machine to machine, and out ---

    def _pass_on(self, effect: _Inner, outside: list[Effect], now: Instant) -> Iterator[_Inner]:
        match effect:
            case Wish() | Carry() | Refused():
                yield from self.wishes.step(effect, self.state, now)
            case Submission(data=data):
                outside += _written(effect)
                yield from self._ledger(self.replica.step(Submit(data), now))
            case Outcome():
                outside += _written(effect)
                yield from self._market(self.requester.step(effect, now))
            case Applied(commit=commit, receipts=receipts):
                outside.append(effect)
                yield from self.wishes.settled(receipts, now)
                yield from self.wishes.review(commit, self.state, now)
                annals = self.replica.engine.annals
                seen = Witness(annals.watches, self.replica.disputes.forks.caught)
                yield from self._duties.step(self.state, commit, seen, now)
                outside += self._renewal.step(self.state, commit.leader_round)
                yield from self._follow(now)
            case Resumed():
                outside.append(effect)
                yield from self._follow(now)
            case Silenced():
                outside.append(effect)
                outside += self._renewal.silenced(self.replica.engine.member.used_up)
            case Produced():
                self.defender.step(effect)
                outside.append(_owned(Owner.PRODUCED, Store(encode(effect), sync=True)))
            case _:
                outside.append(self._logged(effect))

    def _follow(self, now: Instant, *, moved: bool = True) -> Iterator[_Inner]:
        """Let everybody compare the ledger, if it has moved or they want to, with what is done."""
        if not moved and now < self._look_at:
            yield from () if self._look_at == NEVER else (Wake(self._look_at),)
            return  # A Tick ends every Wake: whoever waits for a later one has asked again.
        self._look_at = NEVER
        follow = Follow(self.state)
        yield from self._verify(self.defender.step(follow))
        yield from self._verify(self.verifier.step(follow, now))
        yield from self._market(self.provider.step(follow, now))
        yield from self._market(self.requester.step(follow, now))
        yield from self._market(self._keys.follow(self.state, now))
        yield from self._needing.look(self.state)

    def _ledger(self, effects: Iterable[ReplicaEffect]) -> Iterator[_Inner]:
        return self._wrapped(Service.LEDGER, Owner.LEDGER, effects)

    def _market(self, effects: Iterable[ProviderEffect | RequesterEffect]) -> Iterator[_Inner]:
        return self._wrapped(Service.MARKET, Owner.OWN_JOB, effects)

    def _verify(self, effects: Iterable[VerifierEffect | DefenderEffect]) -> Iterator[_Inner]:
        return self._wrapped(Service.VERIFY, Owner.PRODUCED, effects)

    def _wrapped(
        self, service: Service, owner: Owner, effects: Iterable[_Inner]
    ) -> Iterator[_Inner]:
        for effect in effects:
            match effect:
                case Send(peer, body):
                    yield Send(peer, wrap(self.chain, service, body))
                case Store():
                    yield _owned(owner, effect)
                case Wake(at) if service != Service.LEDGER:
                    self._look_at = min(self._look_at, at)
                    yield effect
                case _:
                    yield effect

    def _logged(self, effect: Effect) -> Effect:
        """The ledger may begin the log anew; what others still need goes along."""
        if isinstance(effect, Store) and effect.record[0] == Owner.OWN_JOB:
            self._own_jobs.append(effect.record[1:])
        if not isinstance(effect, Roll):
            return effect
        bequests = [encode(bequest) for bequest in self.provider.legacy.held.values()]
        self._own_jobs = [*remembered(self._own_jobs, self.requester.jobs), *bequests]
        kept: dict[Owner, Iterable[bytes]] = {Owner.LEDGER: effect.records}
        kept[Owner.PRODUCED] = [encode(unit) for unit in self.defender.held]
        kept[Owner.OWN_JOB] = list(self._own_jobs)  # As they are now: the records are taken later.
        kept[Owner.PLEDGED] = [encode(pledge) for pledge in self.wishes.pledges]
        return Roll(owned_records(kept), effect.at_once)


def recall(records: Iterable[OwnRecord | Bequest], peer: Peer) -> None:
    """Own jobs of before a restart, and what is kept of those of others."""
    for kept in records:
        if isinstance(kept, Bequest):
            peer.provider.legacy.restore(kept)
        else:
            peer.requester.restore(kept)


def _owned(owner: Owner, store: Store) -> Store:
    return Store(bytes([owner]) + store.record, sync=store.sync)


def _written(effect: Submission | Outcome) -> list[Effect]:
    """What must outlive this process is written down until it ends, before anybody is told."""
    if isinstance(effect, Outcome):
        end = Store(encode(Release(effect.key)), sync=True)
        return [_owned(Owner.PLEDGED, end), effect] if effect.released else [effect]
    if effect.pledge is None:
        return []
    begin = Store(encode(effect.pledge), sync=True)
    return [_owned(Owner.PLEDGED, begin), Pledged(effect.pledge.key)]

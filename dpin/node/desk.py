"""Where people and programs are served: a running node as `Control`.

Answers come from what the machines hold; commands become events for them. Nothing is decided here.
"""

from collections.abc import Sequence
from secrets import token_hex
from typing import Final

import trio

from dpin.base.codec import encode
from dpin.base.errors import Misuse, NotFound, OverBudget
from dpin.base.ids import Digest, Round
from dpin.base.units import (
    MICROS_PER_MILLI,
    MicroTokens,
    format_tokens,
)
from dpin.ledger.receipts import ReceiptLog, proven
from dpin.ledger.settlement import unit_subject
from dpin.ledger.transactions import Transfer
from dpin.ledger.wishes import NUMBER_USED, OK, Carry, Wish
from dpin.market.orders import Order
from dpin.market.ownjob import OwnJob
from dpin.market.provider import Pinned
from dpin.market.requester import Abandon, Start
from dpin.net.address import to_tell
from dpin.net.ask import Status
from dpin.node.blobviews import Blobs
from dpin.node.bulletin import Bulletin
from dpin.node.comparing import compare
from dpin.node.control import (
    CompareRequest,
    LiftRequest,
    PauseRequest,
    PayRequest,
    PingRequest,
    PrepareRequest,
    ProofRequest,
    RunRequest,
    SignedRequest,
    SubmitRequest,
    TraceRequest,
    TransferRequest,
    ValidatorRequest,
)
from dpin.node.descents import descent_of
from dpin.node.descentviews import DescentView
from dpin.node.exiles import Exiles
from dpin.node.fields import parse_time
from dpin.node.invite import Invite, write_invite
from dpin.node.jobfile import read_job
from dpin.node.linkspeeds import with_links
from dpin.node.lookout import Lookout
from dpin.node.netviews import BanView, LinkView, NetworkView, PingView, TraceView
from dpin.node.panorama import money_of
from dpin.node.peer import Peer
from dpin.node.planning import check_price, order_of, plan_of, run_order
from dpin.node.proofviews import ComparisonView
from dpin.node.proving import proof_view
from dpin.node.status import (
    InviteView,
    JobView,
    Money,
    MovementView,
    PlanView,
    PreparedView,
    ProofView,
    ReceiptView,
    RestView,
    TransferView,
    ValidatorsView,
)
from dpin.node.storeroom import Storeroom, Ties
from dpin.node.surroundings import Surroundings
from dpin.node.till import (
    Gift,
    account_id,
    check_free,
    gifts_of,
    more_tokens,
    movement_view,
    payee,
    prepared,
    signed_of,
    sum_of,
)
from dpin.node.trying import Trials
from dpin.node.validating import check_stands, operations_of, validators_of
from dpin.node.warden import Warden
from dpin.node.window import Window

DECISION_SECONDS: Final = 15.0
INVITED_MAX: Final = 8  # addresses of this node in one invite


class Records(Window):
    """What the ledger has on record; see Window."""

    def receipts(self, job: str) -> list[ReceiptView]:
        """Proofs."""
        own = self._gallery.own(job)
        log = self._peer.executor.receipts
        return [self._receipt(index) for index in sorted(_receipts_of(own, log))]

    def descent(self, job: str) -> DescentView:
        """Rounds."""
        return descent_of(self._peer.state, job)

    def proof(self, request: ProofRequest) -> ProofView:
        """What can be checked without a node."""
        return proof_view(self._peer, request, self._around.now())

    async def compare(self, request: CompareRequest) -> ComparisonView:
        """Somebody else's proof against what is known here."""
        compared = compare(self._peer, request)
        for received in compared.heard:
            await self._around.tell(received)
        return compared.view

    def _receipt(self, index: int) -> ReceiptView:
        log = self._peer.executor.receipts
        receipt, size, root = log.receipt(index), len(log), log.root
        proof = log.prove(index)
        return ReceiptView(
            height=receipt.height,
            index=index,
            subject=receipt.subject.hex(),
            code=receipt.code,
            detail=receipt.detail,
            log_size=size,
            log_root=root.hex(),
            proof=[step.hex() for step in proof],
            proof_ok=proven(receipt, (index, size), proof, root),
        )


class Purse(Records):
    """Tokens; see dpin.node.control.Purse."""

    def account(self, account: str) -> Money:
        """Anybody's tokens."""
        found = self._peer.state.accounts.get(account_id(account))
        if found is None:
            raise NotFound(f"no account {account}", fix="it exists as soon as somebody pays it")
        return money_of(found)

    def history(self, after: int, before: int, count: int) -> list[MovementView]:
        """What became of the account."""
        found = self._peer.executor.history.between(after, before, count)
        return [movement_view(movement) for movement in found]

    async def transfer(self, request: TransferRequest) -> TransferView:
        """Send tokens."""
        return await self.pay(PayRequest(payments=[request]))

    async def pay(self, request: PayRequest) -> TransferView:
        """Send tokens or credit to several at once."""
        return await self._give(gifts_of(request))

    async def prepare(self, request: PrepareRequest) -> PreparedView:
        """For a key that is elsewhere."""
        return prepared(self._peer, request)

    async def carry(self, request: SignedRequest) -> TransferView:
        """From a key that is elsewhere."""
        signed = signed_of(request.transaction)
        reason = self._peer.executor.check(encode(signed))
        if reason is not None:
            raise Misuse(f"the ledger would refuse: {reason}", fix="dpin wallet prepare, again")
        return await self._decided(Carry(f"carry:{token_hex(8)}", signed))

    async def _give(self, gifts: Sequence[Gift]) -> TransferView:
        check_free(gifts, self._peer.state.accounts.get(self._peer.key.node_id))
        first, *more = gifts
        return await self._decided(Wish(f"pay:{token_hex(8)}", first, tuple(more), lasting=True))

    async def _decided(self, wish: Wish | Carry) -> TransferView:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._around.tell, wish)
            outcome = await self._bulletin.outcome(wish.key, DECISION_SECONDS)
        if outcome.detail != OK:
            used = outcome.detail == NUMBER_USED  # Perhaps by this very transaction, unseen.
            fix = "look before you try again: dpin wallet history" if used else "see: dpin wallet"
            raise Misuse(f"the ledger refused: {outcome.detail}", fix=fix)
        payer = self._peer.key.node_id
        if isinstance(wish, Carry):
            payer = wish.signed.transaction.sender
        account = self._peer.state.accounts[payer]
        return TransferView(
            transaction=outcome.transaction.hex(),
            height=outcome.height,
            detail=outcome.detail,
            free=account.free,
        )


class Office(Purse):
    """Being a validator; see dpin.node.control.Validation."""

    def validators(self) -> ValidatorsView:
        """Who may make blocks."""
        return validators_of(self._peer)

    async def validate(self, request: ValidatorRequest) -> TransferView:
        """Become a validator, or stop being one."""
        key = f"validator:{token_hex(8)}"
        round_ = Round(self._bulletin.seen.round)
        if request.action == "register":
            await self._have_chain(round_)
        elif request.action == "rotate-key":
            check_stands(self._peer)
            made = await self._around.vault.make_signer()
            while self._peer.identity.newest is not made:
                await self._bulletin.change()
            key = f"chain:{self._peer.state.epoch}"  # As the node itself would wish for it.
        first, *more = operations_of(request, self._peer, round_)
        return await self._decided(Wish(key, first, tuple(more), lasting=True))

    async def _have_chain(self, round_: Round) -> None:
        """Make the hash chain that belongs to this round, where it is not there; takes seconds."""
        chains = self._peer.identity.chains
        number = chains.lacks(round_)
        if number is not None:
            await self._around.vault.make_chain(number, 0)
            while chains.lacks(round_) == number:
                await self._bulletin.change()


class Watchtower(Office):
    """The network around the node; see dpin.node.control.Watching."""

    @property
    def _lookout(self) -> Lookout:
        around = self._around
        seen = self._bulletin.seen
        return Lookout(self._peer, seen, around.host, around.now, around.neighbours)

    @property
    def _exiles(self) -> Exiles:
        around = self._around
        return Exiles(around.neighbours(), self._lookout.name, around.now)

    def network(self) -> NetworkView:
        """The node's place in the network."""
        return self._lookout.network()

    def links(self) -> list[LinkView]:
        """Who is connected, and how well."""
        return self._lookout.links()

    def bans(self) -> list[BanView]:
        """Who is banned."""
        return self._exiles.views()

    def lift(self, request: LiftRequest) -> BanView:
        """End a ban."""
        return self._exiles.lift(request.subject)

    async def ping(self, request: PingRequest) -> PingView:
        """Round trips to a peer."""
        return await self._lookout.ping(request.node, request.count)

    async def trace(self, request: TraceRequest) -> TraceView:
        """The way to a peer."""
        return await self._lookout.trace(request.node)

    def status(self) -> Status:
        """What anybody may ask over the network: see dpin.net.ask."""
        return self._lookout.status(self.node())


class Desk(Watchtower):
    """A running node; see dpin.node.control.Commands for what each method promises."""

    def __init__(self, peer: Peer, around: Surroundings, bulletin: Bulletin) -> None:
        super().__init__(peer, around, bulletin)
        ties = Ties(
            peers=around.host.peers,
            named=self._lookout.named,
            name=self._lookout.name,
            room=peer.provider.room.left,
            pinned=lambda size: around.tell(Pinned(size)),
        )
        self.blobs: Blobs = Storeroom(around.courier, ties)
        limits = around.settings.share.limits
        self._trials = Trials(around.ask)
        self.warden = Warden(around.home.paused, limits, bulletin.seen, around.tell)

    async def plan(self, request: SubmitRequest) -> PlanView:
        """A dry run."""
        tried = await self._trials.of(await self._order(request))
        providers = [view for view in self.peers() if view.provides]
        return plan_of(tried, self._peer, providers)

    async def submit(self, request: SubmitRequest) -> JobView:
        """Start a job, or find the one of that id."""
        if request.id in self._peer.requester.jobs:
            return self._summary(request.id)
        return await self._start(await self._order(request), request.id)

    async def run(self, request: RunRequest) -> JobView:
        """Start a generation."""
        return await self._start(await run_order(request, self._around.home))

    async def _order(self, request: SubmitRequest) -> Order:
        spec = read_job(request.text, "job.yaml", request.sets)
        order = await order_of(spec, request.folder, request.name)
        return with_links(order, self._panorama.announced())

    async def _start(self, order: Order, wanted: str = "") -> JobView:
        account = self._peer.state.accounts.get(self._peer.key.node_id)
        has = account.spendable if account else MicroTokens(0)
        if order.budget > has:
            raise OverBudget(
                f"the job may cost {format_tokens(order.budget)}, "
                f"this node has {format_tokens(has)} for jobs",
                fix=more_tokens(account),
            )
        check_price(order, self._peer)
        local_id = wanted or f"j-{token_hex(4)}"
        await self._around.tell(Start(local_id, order))
        while not self._bulletin.log.after(local_id, 0):  # Its first word waits for the disk.
            await self._bulletin.change()
        return self._summary(local_id)

    def _summary(self, local_id: str) -> JobView:
        return self._gallery.portrait(self._peer.requester.jobs[local_id]).summary()

    async def cancel(self, job: str) -> JobView:
        """End a job."""
        own = self._gallery.own(job)
        if own.stage.ended:
            raise Misuse(
                f"{own.local_id} has ended: {own.stage.value}",
                fix=f"nothing is left to cancel: dpin status {own.local_id}",
            )
        await self._around.tell(Abandon(own.local_id))
        while not own.cancelled:
            await self._bulletin.change()
        return self._gallery.portrait(own).summary()

    async def invite(self, grant: str, to: str) -> InviteView:
        """A line for the next machine."""
        if grant:
            if not to:
                raise Misuse(
                    "a grant needs the newcomer's node id",
                    fix="dpin net invite --grant 100 --to NODE_ID (dpin init prints it)",
                )
            await self._give([Transfer(payee(to), sum_of(grant), b"grant")])
        addresses = to_tell(self._around.host.addresses, INVITED_MAX)
        genesis = self._peer.genesis
        return InviteView(
            network=genesis.name,
            invite=write_invite(Invite(genesis, addresses)),
            addresses=list(addresses),
        )

    async def drain(self) -> RestView:
        """Take nothing new."""
        return await self.warden.drain()

    async def pause(self, request: PauseRequest) -> RestView:
        """For a while."""
        micros = parse_time(request.length) if request.length else 0
        if request.length and not micros:
            raise Misuse(f"{request.length!r} is no time", fix="dpin node resume ends a pause")
        return await self.warden.pause(micros // MICROS_PER_MILLI)

    async def resume(self) -> RestView:
        """Take work again."""
        return await self.warden.resume()

    async def stop(self) -> None:
        """End the node."""
        self._bulletin.stopped.set()


def _receipts_of(own: OwnJob, log: ReceiptLog) -> set[int]:
    """Where a job's own transaction and its units' settlements stand in the log."""
    if own.job is None:
        return set()
    found = set(log.of(Digest(own.job.id)))
    for record in own.job.rounds:
        for lease in record.roster:
            found.update(log.of(unit_subject(lease, record.round)))
    return found

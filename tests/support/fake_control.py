"""A node that is only a picture of one: what the gateway, the client and the CLI are tested on."""

from collections.abc import AsyncIterator, Callable

import msgspec
import trio

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, NotFound, OverBudget, TooEarly
from dpin.base.ids import ChainId, NodeId
from dpin.base.units import MicroTokens, parse_tokens
from dpin.ledger.book import Kind
from dpin.ledger.prover import Known
from dpin.ledger.transactions import Transaction, Transfer
from dpin.light.files import read_proof, write_proof, write_trust
from dpin.node import netviews
from dpin.node import status as views
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
from dpin.node.descentviews import DescentView
from dpin.node.jobfile import TrainJob, read_job
from dpin.node.proofviews import CheckpointView, ComparisonView
from dpin.node.roundviews import RoundView
from tests.support.fake_blobs import FakeBlobs
from tests.support.witnessed import sample

Data = dict[str, str | float | None]
NODE_ID = SigningKey(b"\xab" * 32).node_id.hex()
NOW_MS = 1_700_000_000_000


def ledger_view(**changes: object) -> views.LedgerView:
    said: dict[str, object] = {
        "height": 120,
        "time_ms": NOW_MS,
        "round": 240,
        "root": "0a" * 32,
        "root_height": 120,
        "validator": True,
        "signing": True,
        "committee": [NODE_ID],
        "tolerates": 1,
        "transactions": 77,
    }
    return msgspec.convert(
        dict.fromkeys(views.LedgerView.__struct_fields__, 0) | said | changes, views.LedgerView
    )


def movement_view(number: int, **changes: object) -> views.MovementView:
    movement = views.MovementView(
        number=number,
        height=10 * number,
        time_ms=NOW_MS,
        transaction="77" * 32,
        what="transfer",
        other=NODE_ID,
        memo="rent",
        detail="ok",
        fee=150,
        change=-1_500_150,
        free=8_000_000,
        credit=0,
    )
    return msgspec.structs.replace(movement, **changes)


def plan_view(name: str) -> views.PlanView:
    return views.PlanView(
        name=name, kind="train", seats=3, rounds=3, steps=20, windows=4, price_cap=1_000,
        cost_max=1_000_000, balance=0, parameters=400_000, unit_fee=100,
        providers=[peer_view("swift-yak")], warnings=["one is alone"],
    )  # fmt: skip


def node_view() -> views.NodeView:
    return views.NodeView(
        version="0.1.0",
        name="cosy-otter",
        node_id=NODE_ID,
        network="garden",
        chain="cd" * 32,
        development=True,
        state="online",
        rest=views.RestView(),
        started_ms=NOW_MS,
        api="http://127.0.0.1:1",
        addresses=["/ip4/127.0.0.1/tcp/4610/p2p/12D3KooWExample"],
        peers=3,
        provides=True,
        device=views.DeviceView(
            name="cpu", kind="cpu", memory_bytes=8 << 30, fingerprint="ff" * 32, reason="no GPU"
        ),
        money=views.Money(
            free=9_000_500_000, stake=1_000_000_000, locked=0, credit=2_000_000, sequence=4
        ),
        ledger=ledger_view(),
        traffic=msgspec.convert(
            dict.fromkeys(views.Traffic.__struct_fields__, 1_000), views.Traffic
        ),
        serving=[],
        offers_seen=5,
        offers_taken=2,
        offers_declined={"price": 2, "memory": 1},
        warnings=["disputes are decided by two peers"],
    )


def peer_view(name: str, *, connected: bool = True) -> views.PeerView:
    return views.PeerView(
        node_id=name.encode().hex().ljust(64, "0"),
        name=name,
        address="/ip4/127.0.0.1/tcp/1",
        connected=connected,
        validator=True,
        device="cpu",
        provides=True,
        free=10_000_000_000,
        stake=0,
        last_seen_ms=NOW_MS,
        blame=0,
        reason="",
    )


def job_view(name: str, *, state: str = "running", reason: str = "") -> views.JobView:
    return views.JobView(
        id="j-7f3a2c10",
        ledger_id="7f" * 32,
        name=name,
        kind="train",
        role="mine",
        state=state,
        reason=reason,
        round=2,
        rounds=2,
        participants=3,
        seats=3,
        cost=390_000,
        cost_max=1_500_000,
        submitted_ms=NOW_MS,
        finished_ms=None,
    )


def _entry(number: int, kind: str, text: str, data: Data) -> views.LogEntry:
    return views.LogEntry(number=number, time_ms=NOW_MS + number, kind=kind, text=text, data=data)


def train_log(state: str, reason: str) -> list[views.LogEntry]:
    entries: list[tuple[str, str, Data]] = [
        ("phase", "plan", {"phase": "plan", "state": "done"}),
        ("phase", "match", {"phase": "match", "state": "done"}),
        ("lease", "swift-yak took seat 0", {"provider": "swift-yak", "state": "running"}),
        ("progress", "swift-yak step 10", {"provider": "swift-yak", "step": 10, "steps": 20}),
        ("round", "round 1 of 2, loss 3.1", {"round": 1, "rounds": 2, "loss": 3.1}),
        ("round", "round 2 of 2, loss 2.6", {"round": 2, "rounds": 2, "loss": 2.6}),
        ("verify", "swift-yak round 2: agreed", {"provider": "swift-yak"}),
        ("end", f"{state} {reason}".strip(), {"state": state, "reason": reason}),
    ]
    return [
        _entry(number, kind, text, data)
        for number, (kind, text, data) in enumerate(entries, start=1)
    ]


def generation_log() -> list[views.LogEntry]:
    words = [_entry(number, "token", word, {}) for number, word in enumerate(["to ", "be\n"], 1)]
    data: Data = {"state": "done", "tokens": 6, "tokens_per_second": 38, "first_token_ms": 410}
    return [*words, _entry(3, "end", "done", data)]


class FakeControl:  # noqa: PLR0904  # As many methods as the protocol has.
    """Answers from attributes that a test may set; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.end = ("done", "")
        self.balance = 10_000_000_000
        self.on_ledger: DescentView | None = None
        self.verdict = "same"  # on somebody's proof
        self.early = 0  # so many times a proof is not there yet
        self.output = ""
        self.entries: list[views.LogEntry] | None = None
        self.stay_open = False
        self.on_stop: Callable[[], None] = lambda: None
        self.drained = False
        self.rest = views.RestView()
        self.lifted = False
        self.ledger = ledger_view()
        self.blobs = FakeBlobs()
        self.movements = [movement_view(number) for number in range(1, 4)]

    def node(self) -> views.NodeView:
        return msgspec.structs.replace(node_view(), ledger=self.ledger, rest=self.rest)

    def peers(self) -> list[views.PeerView]:
        return [peer_view("swift-yak"), peer_view("calm-ibis", connected=False)]

    def jobs(self) -> list[views.JobView]:
        return [job_view("tiny", state=self.end[0], reason=self.end[1])]

    def _known(self, job: str) -> views.JobView:
        view = self.jobs()[0]
        if len(job) < 3 or not view.id.startswith(job):
            raise NotFound(f"there is no job {job!r}", fix="dpin jobs")
        return view

    def job(self, job: str) -> views.JobDetail:
        unit = views.UnitView(
            round=1, state="PAID", reason="agreed", steps=20, paid=1_000, lost=0,
            verifiers=["calm-ibis"], window=2,
        )  # fmt: skip
        return views.JobDetail(
            job=self._known(job),
            phases=[
                views.PhaseView(
                    name="plan", state="done", since_ms=NOW_MS, elapsed_ms=1_200, detail="3 nodes"
                )
            ],
            leases=[
                views.LeaseView(
                    lease="11" * 32, provider=NODE_ID, name="swift-yak", seat=0, state="running",
                    reason="", price=1_000, units=[unit],
                )
            ],
            rounds=[
                RoundView(
                    round=1, participants=[NODE_ID], included=1, loss=3.1, holdout=2.9,
                    tokens_per_second=9_800, started_ms=NOW_MS, train_ms=900, exchange_ms=50,
                    state_hash="22" * 32,
                )
            ],
            holdout_before=5.5,
            holdout_after=2.6,
            output=self.output or None,
            files=["model.safetensors", "sub/receipts.json"],
            verdicts={"agreed": 6},
        )  # fmt: skip

    def explain(self, job: str) -> views.ExplainView:
        view = self._known(job)
        return views.ExplainView(
            job=view.id, state=view.state, summary="3 of 4 nodes decline", since_ms=NOW_MS,
            providers_seen=4, bids=1,
            declines=[
                views.Decline(
                    provider=NODE_ID, name="swift-yak", code="price", detail="asks 5, cap is 1",
                    fix="--set limits.cost=500",
                )
            ],
            next_step="retry in 5 s",
        )  # fmt: skip

    def receipts(self, job: str) -> list[views.ReceiptView]:
        self._known(job)
        return [
            views.ReceiptView(
                height=9, index=0, subject="33" * 32, code=0, detail="ok", log_size=10,
                log_root="44" * 32, proof=["55" * 32], proof_ok=True,
            )
        ]  # fmt: skip

    def descent(self, job: str) -> DescentView:
        if self.on_ledger is None or self.on_ledger.job != job:
            raise NotFound("the ledger knows no such job", fix="ask another node")
        return self.on_ledger

    def proof(self, request: ProofRequest) -> views.ProofView:
        self.asked.append(request)
        if self.early:
            self.early -= 1
            raise TooEarly("it is committed, and not signed yet", fix="wait for it: --wait 30")
        prover = sample()[0].prover
        known = Known(request.epoch, request.size)
        part = (Kind.ACCOUNT, bytes.fromhex(request.account), 0) if request.account else None
        subject = bytes.fromhex(request.subject) or None
        proof = prover.proof(known, subject, part)
        trust = prover.trust(NOW_MS)
        return views.ProofView(
            epoch=trust.committee.epoch, sequence=trust.sequence, proof=write_proof(proof),
            checkpoint=write_trust(trust),
        )  # fmt: skip

    async def compare(self, request: CompareRequest) -> ComparisonView:
        self.asked.append(request)
        signed = read_proof(request.proof).certificate.checkpoint
        shown = CheckpointView(
            epoch=signed.epoch, sequence=signed.sequence, log_size=9, log_root="44" * 32
        )
        both = [NODE_ID] if self.verdict == "other" else []
        return ComparisonView(
            verdict=self.verdict, compared=4, known=3, checkpoint=shown,
            own=shown if both else None, signed_both=both,
        )  # fmt: skip

    def history(self, after: int, before: int, count: int) -> list[views.MovementView]:
        found = [one for one in self.movements[::-1] if one.number > after]
        return [one for one in found if before == 0 or one.number < before][:count]

    def checks(self) -> list[views.Check]:
        return [
            views.Check(name="clock", verdict="ok", detail="0.01 s from its peers", fix=""),
            views.Check(name="peers", verdict="warn", detail="alone", fix="dpin net invite"),
        ]

    async def log(self, job: str, after: int) -> AsyncIterator[views.LogEntry]:
        self._known(job)
        for entry in self.entries if self.entries is not None else train_log(*self.end):
            if entry.number > after:
                yield entry
        if self.stay_open:
            await trio.sleep_forever()

    async def plan(self, request: SubmitRequest) -> views.PlanView:
        job = read_job(request.text, sets=request.sets)
        assert isinstance(job, TrainJob)
        plan = plan_view(request.name)
        plan.seats, plan.rounds = job.seats, job.rounds
        plan.cost_max, plan.balance = job.limits.cost, self.balance
        return plan

    async def submit(self, request: SubmitRequest) -> views.JobView:
        self.asked.append(request)
        job = read_job(request.text, sets=request.sets)
        if job.limits.cost > self.balance:
            raise OverBudget("the job may cost more than there is", fix="--set limits.cost=1")
        return job_view(request.name, state="preparing")

    async def run(self, request: RunRequest) -> views.JobView:
        self.asked.append(request)
        return job_view("run", state="preparing")

    async def cancel(self, job: str) -> views.JobView:
        self.asked.append(("cancel", job))
        self.end = ("cancelled", "asked")
        return self._known(job)

    async def transfer(self, request: TransferRequest) -> views.TransferView:
        self.asked.append(request)
        assert request.memo != "bug", "a broken invariant"
        if len(request.to) != 64:
            raise Misuse("`to` is not a node id", fix="64 hex digits, from dpin peers --json")
        return views.TransferView(transaction="66" * 32, height=121, detail="ok", free=5)

    async def pay(self, request: PayRequest) -> views.TransferView:
        self.asked.append(request)
        return views.TransferView(transaction="66" * 32, height=121, detail="ok", free=5)

    def account(self, account: str) -> views.Money:
        assert len(account) == 64
        return views.Money(free=7_000_000, stake=0, locked=0, credit=0, sequence=3)

    async def prepare(self, request: PrepareRequest) -> views.PreparedView:
        self.asked.append(request)
        [payment] = request.payments
        gift = Transfer(NodeId(bytes.fromhex(payment.to)), parse_tokens(payment.amount), b"")
        sender, chain = NodeId(bytes.fromhex(request.account)), ChainId(bytes(32))
        transaction = Transaction(1, chain, sender, 4, 2, MicroTokens(300), (gift,))
        return views.PreparedView(
            transaction=encode(transaction).hex(), account=request.account, sequence=4,
            valid_until_epoch=2, epoch=0, max_fee=300, free=7_000_000,
        )  # fmt: skip

    async def carry(self, request: SignedRequest) -> views.TransferView:
        self.asked.append(request)
        return views.TransferView(transaction="66" * 32, height=121, detail="ok", free=5)

    async def validate(self, request: ValidatorRequest) -> views.TransferView:
        self.asked.append(request)
        if request.action == "withdraw":
            raise Misuse("this node is a validator", fix="dpin validator retire")
        return views.TransferView(transaction="66" * 32, height=121, detail="ok", free=5)

    def validators(self) -> views.ValidatorsView:
        return views.ValidatorsView(
            epoch=3, epoch_ends_ms=9_000, checkpoints=5, bond_min=100_000_000,
            validators=[
                views.ValidatorView(
                    node_id=NODE_ID, name="swift-yak", bond=100_000_000, weight=1,
                    registered=True, ready=False, cosigned=4, faults=1, jailed_until=0,
                    free_from=6,
                ),
                views.ValidatorView(
                    node_id="cd" * 32, name="tame-elk", bond=50_000_000, weight=0,
                    registered=False, ready=False, cosigned=0, faults=0, jailed_until=7,
                    free_from=7,
                ),
            ],
        )  # fmt: skip

    async def invite(self, grant: str, to: str) -> views.InviteView:
        self.asked.append(("invite", grant, to))
        return views.InviteView(network="garden", invite="dpin1:xyz", addresses=["/ip4/1.2.3.4"])

    def network(self) -> netviews.NetworkView:
        delays = netviews.HistogramView(
            bounds=[1_000, 10_000], counts=[3, 1, 0], total=9_000, p50=1_000, p99=10_000
        )
        return netviews.NetworkView(
            network="garden", chain="77" * 32, node_id=NODE_ID, is_open=True, problem="",
            restarts=1, addresses=["/ip4/1.2.3.4/tcp/4610/p2p/x"], peers=1,
            reach=netviews.ReachView(
                verdict="outbound only", scope="nowhere", seen_at="1.2.3.4",
                detail="dials to 1.2.3.4 port 4610 get no answer", fix="forward TCP port 4610",
                trials=[
                    netviews.TrialView(
                        node_id=NODE_ID, seen_at="1.2.3.4", port=4610, outcome="silent",
                        proven=False, at_ms=NOW_MS,
                    )
                ],
            ),
            clock_ahead_ms=12, bytes_in={"control": 5, "gossip": 6}, bytes_out={"control": 7},
            mesh={"dpin/presence/77": 1}, dials={"connected": 1, "refused": 2},
            dropped={"outbox-full": 0}, announcement_delay=delays, round_trip=delays,
            dialled=[
                netviews.DialView(
                    address="/ip4/1.2.3.5/tcp/1/p2p/y", outcome="refused",
                    reason="nobody listens there", at_ms=NOW_MS, took_ms=3,
                )
            ],
            directory=netviews.DirectoryView(
                nodes=5, buckets=[4, 0, 1], explored_ms=NOW_MS, kept=7,
                own=[
                    netviews.CopyView(what="addresses", by="messages", copies=4, at_ms=NOW_MS),
                    netviews.CopyView(what="ab" * 32, by="messages", copies=0, at_ms=NOW_MS),
                    netviews.CopyView(what="addresses", by="kad", copies=1, at_ms=NOW_MS),
                ],
            ),
        )  # fmt: skip

    def links(self) -> list[netviews.LinkView]:
        return [
            netviews.LinkView(
                node_id="11" * 32, name="swift-yak", path="direct", seen_at="1.2.3.5",
                version="0.1.0", protocol=1, round_trip=1_500, clock_ahead_ms=-3,
                bytes_in={"control": 5, "gossip": 6}, bytes_out={"control": 7, "gossip": 0},
                blame=0,
            )
        ]  # fmt: skip

    def _linked(self, node: str) -> str:
        if node not in {"swift-yak", "11" * 32}:
            raise NotFound(f"no node is known that goes by {node!r}", fix="dpin net peers")
        return "11" * 32

    def bans(self) -> list[netviews.BanView]:
        return [] if self.lifted else [
            netviews.BanView(
                subject="11" * 32, name="swift-yak", until_ms=NOW_MS + 600_000, offences=2,
                reason="sent a frame that is too long",
            )
        ]  # fmt: skip

    def lift(self, request: LiftRequest) -> netviews.BanView:
        self._linked(request.subject)
        [ban] = self.bans()
        self.lifted = True
        return ban

    async def ping(self, request: PingRequest) -> netviews.PingView:
        node = self._linked(request.node)
        trips = [1_500, None, 1_700, 1_600][: request.count]
        return netviews.PingView(node_id=node, name="swift-yak", round_trips=trips)

    async def trace(self, request: TraceRequest) -> netviews.TraceView:
        node = self._linked(request.node)
        steps = [
            netviews.StepView(name="dial", ok=False, took=3_000, detail="nobody listens there"),
        ]
        fix = "start dpin on that machine"
        return netviews.TraceView(node_id=node, name="swift-yak", steps=steps, fix=fix)

    async def drain(self) -> views.RestView:
        self.drained = True
        return self._rests("draining")

    async def pause(self, request: PauseRequest) -> views.RestView:
        self.asked.append(request)
        return self._rests("paused")

    async def resume(self) -> views.RestView:
        self.drained = False
        return self._rests("")

    def _rests(self, state: str) -> views.RestView:
        self.rest = views.RestView(state=state, why="until 18:30" if state else "")
        return self.rest

    async def stop(self) -> None:
        self.on_stop()

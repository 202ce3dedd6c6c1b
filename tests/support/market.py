"""A requester's job and its providers' words, on a real ledger."""

from dpin.base.ids import JobId
from dpin.base.units import Instant, MicroTokens, Tick, seconds
from dpin.compute.task import Prepared
from dpin.compute.work import WorkerId
from dpin.ledger.transactions import Bid, SignedBid, sign_bid
from dpin.ledger.wishes import Wish
from dpin.market.engagement import Fault
from dpin.market.messages import Decline, Reason
from dpin.market.orders import InferOrder, TrainOrder
from dpin.market.ownjob import OwnJob
from dpin.market.provider import Choice
from tests.support.jobs import INNER, MODEL, OUTER, TOKENS, at, infer_manifest
from tests.support.ledgers import FINGERPRINT, JOB, PRICE, STAKE, START, Ledger

BUDGET = MicroTokens(100_000_000)
PREPARED = Prepared(
    shards=("/p/shard 0", "/p/shard 1"),
    holdout="/p/holdout",
    initial="/p/initial",
    state_hash=START,
    parameters=1_000,
    fingerprint=FINGERPRINT,
)
CHOICE = Choice("maker", provides=True, price=PRICE, stake=STAKE, leases_max=1, fault=Fault.NONE)


def train_order(*, seats: int = 1, rounds: int = 1) -> TrainOrder:
    """An order whose job is like JOB."""
    return TrainOrder(
        name="poems",
        corpus="/corpus",
        suffixes=(".txt",),
        bytes_max=1 << 20,
        holdout_ppm=50_000,
        model=MODEL,
        inner=INNER,
        outer=OUTER,
        seats=seats,
        rounds=rounds,
        windows=JOB.windows,
        quorum=0,
        memory_bytes=0,
        budget=BUDGET,
        time_limit=seconds(3_600),
        output="/out",
        seed=b"",
    )


def infer_order() -> InferOrder:
    """An order whose manifest is `infer_manifest`."""
    wanted = infer_manifest()
    return InferOrder(
        name="story",
        model_file="/model/model.safetensors",
        config=wanted.config,
        state_hash=wanted.state_hash,
        prompt=wanted.prompt,
        tokens=TOKENS,
        temperature_ppm=0,
        seed=b"",
        memory_bytes=0,
        budget=BUDGET,
        time_limit=seconds(3_600),
        output="/out",
    )


def own_job(ledger: Ledger, job: JobId, submitted: Instant = at(0)) -> OwnJob:
    """The requester's side of a job on the ledger."""
    own = OwnJob("j-1", train_order(), submitted)
    own.job = ledger.state.jobs[job]
    own.propose = own.job.propose
    return own


def worker_of(ledger: Ledger, job: JobId, number: int = 0) -> WorkerId:
    """The worker of a job's lease."""
    return WorkerId(f"lease-{ledger.state.jobs[job].leases[number].hex()[:16]}")


def offer(ledger: Ledger, job: JobId, who: str, price: int, until: int = 3_000) -> SignedBid:
    """Somebody's signed bid."""
    bid = Bid(job, ledger.id(who), MicroTokens(price), Tick(until))
    return sign_bid(ledger.keys[who], ledger.executor.chain, bid)


def refused(job: JobId, code: Reason = Reason.BUSY) -> Decline:
    """A provider's refusal."""
    return Decline(job, code, "because")


def do(ledger: Ledger, who: str, wish: Wish) -> None:
    """Have a wish done that the ledger must take."""
    assert ledger.do(who, wish.operation) == "ok", wish

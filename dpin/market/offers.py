"""Whether a job fits a provider, at what price; and what a job will cost."""

from dataclasses import dataclass, field

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import ChainId, Digest, NodeId
from dpin.base.units import MILLION, Instant, MicroTokens, Tick, ceil_div, format_tokens
from dpin.compute.task import TrainManifest
from dpin.ledger.accounts import Account, Job
from dpin.ledger.params import Params
from dpin.ledger.transactions import BID_TAG, Bid, Propose, SignedBid
from dpin.market.messages import Reason

REFERENCE_FLOPS_PER_MS = 5_000_000  # what a requester expects of one slow core
HANDLING_NS = 200  # a parameter, likewise
NANOS_PER_MILLI = 1_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What a provider works for and with; the operator's choice and the device's nature."""

    me: NodeId
    provides: bool
    draining: bool
    price: MicroTokens  # for one unit; the truth pays best under the second price
    memory_bytes: int
    fingerprint: Digest
    disk_left: int | None  # for this job; None: no limit
    leases: int  # held now
    leases_max: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason code and the figures behind it."""

    code: Reason
    detail: str


@dataclass(slots=True)
class Answered:
    """What was last said about a job, and when it may be said again."""

    code: str
    again_at: Instant


@dataclass(slots=True)
class Offers:
    """Counts for people."""

    seen: int = 0
    taken: int = 0
    declined: dict[str, int] = field(default_factory=dict)


def refusal(job: Job, account: Account, terms: Terms, params: Params) -> Refusal | None:
    """Why this provider does not bid on this job, or None where it does."""
    propose = job.propose
    unlocked = account.stake - account.locked
    bond = params.bond_multiple * terms.price
    rules = (
        (job.requester == terms.me, Reason.OWN_JOB, "a node does not work for itself"),
        (not terms.provides, Reason.NOT_PROVIDING, "this node takes no jobs"),
        (terms.draining, Reason.DRAINING, "this node takes nothing new"),
        (
            terms.leases >= terms.leases_max,
            Reason.BUSY,
            f"{terms.leases} of {terms.leases_max} leases taken",
        ),
        (
            propose.fingerprint != terms.fingerprint,
            Reason.FINGERPRINT,
            "another numeric class: torch build, instruction set or device kind differ",
        ),
        (
            propose.memory_bytes > terms.memory_bytes,
            Reason.MEMORY,
            f"needs {propose.memory_bytes >> 20} MiB, has {terms.memory_bytes >> 20} MiB",
        ),
        (
            is_short(job, terms.disk_left),
            Reason.DISK,
            _of_disk(propose.disk_bytes, terms.disk_left or 0),
        ),
        (
            propose.price_cap < terms.price,
            Reason.PRICE,
            f"offers at most {format_tokens(propose.price_cap)} a unit, "
            f"asked {format_tokens(terms.price)}",
        ),
        (
            unlocked < bond,
            Reason.STAKE,
            f"the bond is {format_tokens(bond)}, unlocked stake {format_tokens(unlocked)}",
        ),
    )
    for applies, code, detail in rules:
        if applies:
            return Refusal(code, detail)
    return None


def is_short(job: Job, left: int | None) -> bool:
    """Whether a disk of which so much is left has no room for a job."""
    return left is not None and job.propose.disk_bytes > left


def _of_disk(needed: int, left: int) -> str:
    return f"needs {-(-needed >> 20)} MiB of disk, has {max(0, left) >> 20} MiB left of share.disk"


def sign_bid(
    key: SigningKey, chain: ChainId, job: Job, price: MicroTokens, until: Tick
) -> SignedBid:
    """An offer for one seat of the job."""
    bid = Bid(job.id, key.node_id, price, until)
    return SignedBid(bid, key.sign(BID_TAG, chain, digest(BID_TAG, encode(bid))))


def verifier_fee(params: Params, propose: Propose, price: int) -> MicroTokens:
    """What the checks of one unit cost: one window and the encode step, for each verifier."""
    parts = params.verifier_cost_ppm * propose.verifiers * price * 2
    return MicroTokens(ceil_div(parts, propose.windows * MILLION))


def cost_max(params: Params, propose: Propose) -> MicroTokens:
    """What a job takes into escrow."""
    unit = propose.price_cap + verifier_fee(params, propose, propose.price_cap)
    return MicroTokens(propose.seats * propose.rounds * unit)


def price_cap_for(params: Params, propose: Propose, budget: int) -> MicroTokens:
    """The highest unit price at which the whole job still fits the budget."""
    low, high = 0, budget
    while low < high:
        middle = (low + high + 1) // 2
        unit = middle + verifier_fee(params, propose, middle)
        if propose.seats * propose.rounds * unit <= budget:
            low = middle
        else:
            high = middle - 1
    return MicroTokens(low)


def expected_unit_ms(parameters: int, manifest: TrainManifest) -> int:
    """Time of a unit on the reference core: 6 FLOP a parameter and byte (forward and backward)."""
    inner = manifest.inner
    flops = 6 * parameters * inner.batch * manifest.model.context * inner.steps
    return ceil_div(flops, REFERENCE_FLOPS_PER_MS)


def handling_ms(parameters: int) -> int:
    """Time of what a unit and its round take beside training: hashing, encoding, merging."""
    return ceil_div(parameters * HANDLING_NS, NANOS_PER_MILLI)

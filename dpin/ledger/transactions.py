"""What can be asked of the ledger: operations as data, and the transaction that carries them.

Wire structures are final. Rules live in `rules.py`; this file only says what the words are; those
of validators are in `candidacy.py`, evidence against them in `offences.py`.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SIGNATURE_BYTES, SigningKey, digest
from dpin.base.ids import NO_DIGEST, BlobId, ChainId, Digest, JobId, NodeId, Round
from dpin.base.units import MicroTokens, Tick
from dpin.ledger.candidacy import (
    BondValidator,
    ReadyValidator,
    RegisterValidator,
    RetireValidator,
    WithdrawBond,
)
from dpin.ledger.offences import CheckpointContradiction, CheckpointFork, Equivocation

TRANSACTION_TAG: Final = "dpin/tx/v1"
BID_TAG: Final = "dpin/bid/v1"
LEASE_TAG: Final = "dpin/lease/v1"
JOB_TAG: Final = "dpin/job/v1"
SEALED_TAG: Final = "dpin/verify-commit/v1"
VERSION: Final = 1
OPERATIONS_MAX: Final = 16
TRANSACTION_BYTES_MAX: Final = 4_096
READ_MAX: Final = 256  # transactions that need not be read again soon, some KB each
MEMO_BYTES_MAX: Final = 64
EPOCHS_AHEAD: Final = 2  # a transaction is valid until at most so many epochs from now
TRAIN: Final = 1  # Propose.kind
INFER: Final = 2
EVAL: Final = 3

# A signed transaction is an array of two: the transaction, and 64 bytes behind a header of two.
_BODY: Final = slice(1, -(SIGNATURE_BYTES + 2))


class Transfer(Wire, frozen=True, tag=1):
    """Give tokens away."""

    to: NodeId
    amount: MicroTokens
    memo: bytes


class Register(Wire, frozen=True, tag=2):
    """Announce a provider (again: replaces what was said before).

    `anchor` renews a validator's hash chain of reveals from round `anchor_round` on; NO_DIGEST
    leaves it alone.
    """

    name: str
    device: str
    memory_bytes: int
    fingerprint: Digest
    provides: bool  # takes jobs
    anchor: Digest
    anchor_round: Round


class Stake(Wire, frozen=True, tag=3):
    """Set free tokens aside; bonds are locked out of stake."""

    amount: MicroTokens


class Unstake(Wire, frozen=True, tag=4):
    """Take unlocked stake back."""

    amount: MicroTokens


class Propose(Wire, frozen=True, tag=5):
    """Open a job and fund all of it, from credit first. See `job_id` for the job's id.

    Escrow: seats * rounds * (price_cap + VerifierFee(price_cap)). `quorum` is how many of the
    roster close a round (0: half of the roster, at least 1). `unit_ms` is the expected time of a
    unit on the requester's reckoning.
    """

    kind: int
    manifest: BlobId
    state_hash: Digest  # of the state that round 0 starts from
    fingerprint: Digest
    seats: int
    rounds: int
    steps: int  # work of a full unit
    windows: int  # S
    verifiers: int  # k1: 2, or 1 for inference; 0: scored, nobody else could replay it
    quorum: int
    unit_ms: int
    memory_bytes: int
    disk_bytes: int  # that all files of the job take at whoever works on it, at most
    price_cap: MicroTokens  # for one unit


class Bid(Wire, frozen=True):
    """A provider's signed offer for one seat of one job: consent to an award until `until`."""

    job: JobId
    provider: NodeId
    price: MicroTokens  # for one unit
    until: Tick


class SignedBid(Wire, frozen=True):
    """A bid with its signature (BID_TAG)."""

    bid: Bid
    signature: bytes


class Award(Wire, frozen=True, tag=6):
    """Fill a job's open seats from these bids; who wins at what price is computed, not claimed."""

    job: JobId
    bids: tuple[SignedBid, ...]


class Ready(Wire, frozen=True, tag=7):
    """The provider of a lease holds data and state and can start."""

    lease: Digest


class LeafPath(Wire, frozen=True):
    """An opened leaf of a unit: encoded `base.leaf.Leaf` and its inclusion path."""

    leaf: bytes
    path: tuple[Digest, ...]


class Commit(Wire, frozen=True, tag=8):
    """A unit is done (S1, H1): the root over its leaves, leaf 0 opened, the update's id."""

    lease: Digest
    round: Round
    root: Digest
    leaves: int  # windows finished + 1
    steps: int
    first: LeafPath
    update: BlobId  # train: encoded update; infer: digest of the output
    error_buffer: Digest = NO_DIGEST  # root of what the update could not say


class Have(Wire, frozen=True, tag=9):
    """A roster member holds the updates of these leases for this round."""

    lease: Digest
    round: Round
    held: tuple[Digest, ...]  # leases, ascending


class OpenLeaf(Wire, frozen=True, tag=10):
    """After the verify-commits: open the leaf that ends the checked window, and the last leaf."""

    lease: Digest
    round: Round
    checked: LeafPath
    last: LeafPath


class VerifyCommit(Wire, frozen=True, tag=11):
    """A seated verifier binds itself to what it found; see `seal`."""

    lease: Digest
    round: Round
    sealed: Digest


class VerifyReveal(Wire, frozen=True, tag=12):
    """Open a verify-commit: the leaf digest found; and the update as re-encoded.

    `update` is NO_BLOB where `found` already differs from the provider's leaf.
    """

    lease: Digest
    round: Round
    found: Digest
    update: BlobId
    salt: bytes


class Stop(Wire, frozen=True, tag=13):
    """The requester ends a lease; a unit under way may still be committed by its deadline."""

    lease: Digest


class Cancel(Wire, frozen=True, tag=14):
    """The requester ends a job: no further rounds; what was done is settled and paid."""

    job: JobId


class Credit(Wire, frozen=True, tag=15):
    """Turn tokens into somebody's compute credit: it pays for jobs, and for nothing else."""

    to: NodeId
    amount: MicroTokens
    memo: bytes


class LastState(Wire, frozen=True, tag=24):
    """Whoever had a seat to the end says what the job's last round led to: no round shows it."""

    lease: Digest
    state_hash: Digest


Operation = (
    Transfer
    | Register
    | Stake
    | Unstake
    | Propose
    | Award
    | Ready
    | Commit
    | Have
    | OpenLeaf
    | VerifyCommit
    | VerifyReveal
    | Stop
    | Cancel
    | Credit
    | LastState
    | BondValidator
    | RegisterValidator
    | RetireValidator
    | WithdrawBond
    | ReadyValidator
    | Equivocation
    | CheckpointFork
    | CheckpointContradiction
)


class Transaction(Wire, frozen=True):
    """Operations that one account asks for, in order, all or none."""

    version: int
    chain: ChainId
    sender: NodeId
    sequence: int
    valid_until_epoch: int
    max_fee: MicroTokens
    operations: tuple[Operation, ...]


class SignedTransaction(Wire, frozen=True):
    """A transaction with its sender's signature over its id (TRANSACTION_TAG)."""

    transaction: Transaction
    signature: bytes


def transaction_id(transaction: Transaction) -> Digest:
    """Names a transaction; does not cover the signature, so nobody can rename it."""
    return digest(TRANSACTION_TAG, encode(transaction))


@lru_cache(maxsize=READ_MAX)  # Who takes a transaction asks several times, one after the other.
def read_transaction(data: bytes) -> tuple[Digest, SignedTransaction]:
    """A signed transaction and its id; raises PeerFault. Its signature is not checked."""
    signed = decode(SignedTransaction, data, TRANSACTION_BYTES_MAX)
    if len(signed.signature) != SIGNATURE_BYTES:
        return transaction_id(signed.transaction), signed
    return digest(TRANSACTION_TAG, data[_BODY]), signed


class Terms(NamedTuple):
    """Until when a transaction holds, and the most that its sender pays for it."""

    valid_until_epoch: int
    max_fee: MicroTokens


OPENING: Final = Terms(EPOCHS_AHEAD, MicroTokens(0))  # while a network without fees is young


def sign(
    key: SigningKey,
    chain: ChainId,
    sequence: int,
    operations: Operation | tuple[Operation, ...],
    terms: Terms = OPENING,
) -> SignedTransaction:
    """One operation, or several that are done together or not at all, as their sender signs them.

    `fees.terms` gives the terms that fit the present state.
    """
    listed = operations if isinstance(operations, tuple) else (operations,)
    transaction = Transaction(VERSION, chain, key.node_id, sequence, *terms, listed)
    signature = key.sign(TRANSACTION_TAG, chain, transaction_id(transaction))
    return SignedTransaction(transaction, signature)


def job_id(transaction: Digest, place: int) -> JobId:
    """Names the job that the operation at this place of a transaction opens.

    The first operation's is the id of the transaction.
    """
    return JobId(digest(JOB_TAG, encode([transaction, place])) if place else transaction)


def lease_id(job: JobId, provider: NodeId, number: int) -> Digest:
    """Names the `number`th lease of a job."""
    return digest(LEASE_TAG, encode([job, provider, number]))


def seal(lease: Digest, round_: Round, verifier: NodeId, found: Digest, salt: bytes) -> Digest:
    """What a verifier commits to: bound to itself, so that copying a commit is useless.

    The update is not sealed: it can be re-encoded only after the last leaf was opened.
    """
    return digest(SEALED_TAG, encode([lease, round_, verifier, found, salt]))


def bid_digest(bid: Bid) -> Digest:
    """What a provider signs to make an offer (BID_TAG); also breaks ties between equal prices."""
    return digest(BID_TAG, encode(bid))


def sign_bid(key: SigningKey, chain: ChainId, bid: Bid) -> SignedBid:
    """An offer as its provider signs it."""
    return SignedBid(bid, key.sign(BID_TAG, chain, bid_digest(bid)))

"""What a transaction costs: by its bytes and operations, at a price that follows demand.

    fee = ceil(multiplier * (fee_base + fee_byte * size + fee_operation * operations) / 10^6)

The multiplier moves at every checkpoint by at most 1/8, up when the commits since the last one were
more than half full, down when they were less, as EIP-1559 does a block; it never falls below 1. A
commit is full when it carries as many bytes of transactions as one block may.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from dpin.base.codec import encode
from dpin.base.crypto import SIGNATURE_BYTES
from dpin.base.ids import NO_DIGEST, ChainId, NodeId
from dpin.base.units import MILLION, MicroTokens, ceil_div
from dpin.ledger.accounts import State
from dpin.ledger.params import Params
from dpin.ledger.transactions import (
    EPOCHS_AHEAD,
    VERSION,
    Operation,
    SignedTransaction,
    Terms,
    Transaction,
)

STEP: Final = 8  # the multiplier moves by at most one part in so many
MULTIPLIER_MAX: Final = MILLION * MILLION  # ppm: keeps every fee below 2^63
MARGIN: Final = 2  # what a sender offers, times the present fee: it holds for five checkpoints
_NUMBER_MAX: Final = 2**63 - 1


class Split(NamedTuple):
    """Where a fee goes."""

    burned: MicroTokens
    pooled: MicroTokens  # to the treasury


def fee(params: Params, multiplier: int, size: int, operations: int) -> MicroTokens:
    """The fee of a signed transaction of so many bytes and operations, rounded up."""
    plain = params.fee_base + params.fee_byte * size + params.fee_operation * operations
    return MicroTokens(ceil_div(plain * multiplier, MILLION)) if plain else MicroTokens(0)


def split(amount: MicroTokens) -> Split:
    """One half burns, the rest goes to the pool that validators are paid from."""
    burned = MicroTokens(amount // 2)
    return Split(burned, MicroTokens(amount - burned))


def note(state: State, transactions: Sequence[bytes]) -> None:
    """A commit carries these: they count whether they can be applied or not."""
    state.fee_commits += 1
    state.fee_bytes += sum(map(len, transactions))


def move(state: State, params: Params) -> None:
    """At a checkpoint: let the price follow what the commits since the last one carried."""
    target = max(1, state.fee_commits * params.consensus.block_bytes_max // 2)
    state.fee_multiplier = moved(state.fee_multiplier, state.fee_bytes, target)
    state.fee_commits = state.fee_bytes = 0


def moved(multiplier: int, used: int, target: int) -> int:
    """The next multiplier in ppm, where `used` bytes were carried and half full is `target`.

    Source: EIP-1559's base fee, with at least 1 ppm upwards as there.
    """
    off = min(used, 2 * target) - target
    if off > 0:
        step = max(1, multiplier * off // (target * STEP))
        return min(MULTIPLIER_MAX, multiplier + step)
    return max(MILLION, multiplier - multiplier * -off // (target * STEP))


def terms(state: State, params: Params, operations: Sequence[Operation]) -> Terms:
    """What a sender signs now: valid as long as can be, at up to twice the present fee."""
    until = state.epoch + EPOCHS_AHEAD
    now = fee(params, state.fee_multiplier, size_max(operations), len(operations))
    return Terms(until, MicroTokens(MARGIN * now))


def size_max(operations: Sequence[Operation]) -> int:
    """Bytes of a signed transaction with these operations, whatever its numbers turn out to be."""
    widest = Transaction(
        VERSION,
        ChainId(NO_DIGEST),
        NodeId(NO_DIGEST),
        _NUMBER_MAX,
        _NUMBER_MAX,
        MicroTokens(_NUMBER_MAX),
        tuple(operations),
    )
    return len(encode(SignedTransaction(widest, bytes(SIGNATURE_BYTES))))

"""What a network has agreed on: frozen in its genesis, the same on every node.

Presets give every value; nothing here has a default.
"""

from typing import Final

from dpin.base.codec import Wire
from dpin.base.errors import Misuse
from dpin.base.units import MILLION, MicroTokens, Tick

GRACE_PARTS: Final = 10  # of a round's time: docs/protocol/ledger.md
ROUND_MARGIN_MAX: Final = 20  # C4: an ancestor is at most this many rounds older than its block


class Consensus(Wire, frozen=True):
    """Rules and pace of the block DAG (`ledger.md` 2.1 as corrected)."""

    gc_depth: int  # rounds
    block_bytes_max: int
    block_transactions_max: int
    root_every: int  # commits between two state roots
    time_step_max_ms: int  # C5: ledger time moves at most this far a commit
    min_round_delay_ms: int
    leader_timeout_ms: int
    idle_round_ms: int  # pace while nothing is pending but a deadline


class Params(Wire, frozen=True):
    """Every network-wide choice. Times are in ticks of `tick_ms` of ledger time."""

    preset: str
    development: bool  # allows faults on purpose; its tokens are worthless
    consensus: Consensus
    tick_ms: int
    award_ticks: int  # open seats without an award: EXPIRED
    ready_ticks: int  # an award without ready: LAPSED0
    commit_ticks: int  # plus expected unit time * commit_expected_ppm: LAPSED
    commit_expected_ppm: int
    grace_ticks: int  # at least, from a quorum of commits to the end of a round's inner phase
    have_ticks: int  # from the end of the inner phase to the close of the round
    verify_commit_ticks: int  # plus expected window time * verify_window_ppm
    verify_window_ppm: int
    leaf_ticks: int
    reveal_ticks: int
    work_min_ppm: int  # H3: a unit with less of its work done has lapsed
    fee_ppm: int  # of each payment to a provider
    burn_ppm: int  # of the fee; the rest goes to the treasury
    bond_multiple: int  # a lease locks this many unit prices
    verifier_cost_ppm: int  # VerifierFee = ceil(this * verifiers * price * (windows + 1) / S)
    verifier_bond_multiple: int  # H6: times a verifier's pay
    absent_burn_ppm: int  # of the unit price, from an absent verifier
    slash_burn_ppm: int  # of what a conviction takes
    founder_grant: MicroTokens
    epoch_ms: int  # of ledger time, from the opening of an epoch to its closing commit
    epoch_commits_min: int  # an epoch has at least so many commits
    validators_max: int
    validator_bond_min: MicroTokens  # H11: a bucket of its own, never touched by units
    unbonding_epochs: int  # before a retired bond can be withdrawn
    jail_epochs: int  # after a consensus fault, before a validator may be seated again
    cosigned_min_ppm: int  # H7: of the last epoch's checkpoints, to be seated again
    slash_min_ppm: int  # of a validator's bond for equivocation; correlated faults cost more
    reporter_ppm: int  # of what a consensus slash takes, to whoever showed the evidence
    fee_base: MicroTokens  # of a transaction, at the opening price
    fee_byte: MicroTokens
    fee_operation: MicroTokens


def _consensus(*, min_round_delay_ms: int, leader_timeout_ms: int, idle_round_ms: int) -> Consensus:
    return Consensus(
        gc_depth=60,
        block_bytes_max=512 * 1024,
        block_transactions_max=2_000,
        root_every=10,
        time_step_max_ms=2_000,
        min_round_delay_ms=min_round_delay_ms,
        leader_timeout_ms=leader_timeout_ms,
        idle_round_ms=idle_round_ms,
    )


DEVELOPMENT: Final = Params(
    preset="development",
    development=True,
    consensus=_consensus(min_round_delay_ms=50, leader_timeout_ms=250, idle_round_ms=1_000),
    tick_ms=200,
    award_ticks=25,
    ready_ticks=50,  # whoever joins late loads torch first: docs/decisions/0008
    commit_ticks=50,
    commit_expected_ppm=2 * MILLION,
    grace_ticks=10,
    have_ticks=15,
    verify_commit_ticks=50,
    verify_window_ppm=3 * MILLION,
    leaf_ticks=100,  # a machine that stalls is no liar: docs/decisions/0055
    reveal_ticks=50,  # the last state is fetched and encoded again: docs/decisions/0009
    work_min_ppm=200_000,
    fee_ppm=30_000,
    burn_ppm=700_000,
    bond_multiple=5,
    verifier_cost_ppm=1_500_000,
    verifier_bond_multiple=10,
    absent_burn_ppm=100_000,
    slash_burn_ppm=200_000,
    founder_grant=MicroTokens(10_000 * MILLION),
    epoch_ms=60_000,
    epoch_commits_min=20,
    validators_max=31,
    validator_bond_min=MicroTokens(100 * MILLION),
    unbonding_epochs=2,
    jail_epochs=2,
    cosigned_min_ppm=900_000,
    slash_min_ppm=50_000,
    reporter_ppm=62_500,
    fee_base=MicroTokens(0),
    fee_byte=MicroTokens(0),
    fee_operation=MicroTokens(0),
)

PUBLIC: Final = Params(
    preset="public",
    development=False,
    consensus=_consensus(min_round_delay_ms=100, leader_timeout_ms=250, idle_round_ms=1_000),
    tick_ms=2_000,
    award_ticks=60,
    ready_ticks=30,
    commit_ticks=60,
    commit_expected_ppm=1_500_000,
    grace_ticks=15,
    have_ticks=30,
    verify_commit_ticks=30,
    verify_window_ppm=2 * MILLION,
    leaf_ticks=1_800,
    reveal_ticks=15,
    work_min_ppm=200_000,
    fee_ppm=30_000,
    burn_ppm=700_000,
    bond_multiple=5,
    verifier_cost_ppm=1_500_000,
    verifier_bond_multiple=10,
    absent_burn_ppm=100_000,
    slash_burn_ppm=200_000,
    founder_grant=MicroTokens(10_000 * MILLION),
    epoch_ms=3_600_000,
    epoch_commits_min=100,
    validators_max=31,
    validator_bond_min=MicroTokens(1_000 * MILLION),
    unbonding_epochs=336,  # 14 days
    jail_epochs=24,
    cosigned_min_ppm=900_000,
    slash_min_ppm=50_000,
    reporter_ppm=62_500,
    fee_base=MicroTokens(100),
    fee_byte=MicroTokens(1),
    fee_operation=MicroTokens(50),
)

PRESETS: Final = {params.preset: params for params in (DEVELOPMENT, PUBLIC)}


def preset(name: str) -> Params:
    """The params of that name; raises Misuse for a name nobody gave."""
    if name not in PRESETS:
        raise Misuse(f"there is no preset {name!r}", fix=f"use one of: {', '.join(PRESETS)}")
    return PRESETS[name]


def ticks_for(params: Params, base: int, expected_ms: int, factor_ppm: int) -> Tick:
    """`base` ticks plus an expected time scaled by `factor_ppm`, rounded up."""
    return Tick(base + -(-expected_ms * factor_ppm // (MILLION * params.tick_ms)))


def grace_for(least: int, took: int) -> Tick:
    """Ticks to wait for the slow once a quorum is there: a tenth of what it took, if that is more.

    `least` is Params.grace_ticks, `took` the ticks from the begin of the round to its quorum.
    """
    return Tick(max(least, -(-took // GRACE_PARTS)))

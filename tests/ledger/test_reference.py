"""The ledger's money against a second, naive reckoning of it: same balances, same words."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, ChainId, NodeId
from dpin.base.units import MicroTokens
from dpin.ledger import admission, atomic, cosigning, fees, money
from dpin.ledger.params import DEVELOPMENT, Params
from dpin.ledger.standing import Epoch
from dpin.ledger.transactions import (
    TRANSACTION_TAG,
    VERSION,
    Credit,
    Operation,
    SignedTransaction,
    Stake,
    Transaction,
    Transfer,
    Unstake,
    transaction_id,
)
from tests.support.ledgers import CREATED_MS, Ledger, registration
from tests.support.reference import Purse, Reference

GRANT = MicroTokens(100_000)
BUSY: Params = msgspec.structs.replace(
    DEVELOPMENT,
    consensus=msgspec.structs.replace(DEVELOPMENT.consensus, root_every=3, block_bytes_max=301),
    founder_grant=GRANT,
    validator_bond_min=MicroTokens(1_000),
    epoch_ms=4_000,
    epoch_commits_min=4,
    fee_base=MicroTokens(101),
    fee_byte=MicroTokens(1),
    fee_operation=MicroTokens(7),
)
FOUNDERS = ("ann", "bob", "cat", "dan")
STRANGERS = ("eve", "fay")
SHORT = NodeId(bytes(31))

who = st.sampled_from([*FOUNDERS, *FOUNDERS, *STRANGERS])
AMOUNTS = (-1, 0, 1, 2, 3, 3, 500, 20_000, GRANT - 400, GRANT, 10**15, 2**63 - 1)
amounts = st.sampled_from(AMOUNTS)
MEMOS = (b"", b"for the work", bytes(64), bytes(65))
memos = st.sampled_from(MEMOS)
targets = who | st.just("")  # "": an id that is too short


HARMS = ("signature", "chain", "version", "cut")
SEEDS = range(30)
STEPS = 100


class Manner(NamedTuple):
    """How a transaction is made: what is strange about it."""

    gap: int = 1  # from the newest sequence number
    until: int = 2  # epochs from now
    offer: int = 1_000  # above what it costs
    harm: str = ""


GAPS = (1, 2, 63, 64, 65, 65_536, 65_537, 0, -1, -61, -62, -63, -63, -64, -64, -65)
gaps = st.sampled_from(GAPS)
strange = st.one_of(
    gaps.map(lambda gap: Manner(gap=gap)),
    gaps.map(lambda gap: Manner(gap=gap)),
    st.sampled_from([0, 1, 3, -1]).map(lambda until: Manner(until=until)),
    st.sampled_from([0, -1]).map(lambda offer: Manner(offer=offer)),
    st.sampled_from(HARMS).map(lambda it: Manner(harm=it)),
)
manners = st.one_of(st.just(Manner()), st.just(Manner()), strange)
WAITS = (1, 1, 1, 700, 2_000, 3_600_000)
waits = st.sampled_from(WAITS)


def key_of(name: str) -> SigningKey:
    return SigningKey(digest("test/key", name.encode()))


def operations() -> st.SearchStrategy[Operation]:
    gifts = st.tuples(targets, amounts.map(MicroTokens), memos)
    return st.one_of(
        gifts.map(lambda it: Transfer(place(it[0]), it[1], it[2])),
        gifts.map(lambda it: Transfer(place(it[0]), it[1], it[2])),
        gifts.map(lambda it: Credit(place(it[0]), it[1], it[2])),
        amounts.map(lambda it: Stake(MicroTokens(it))),
        amounts.map(lambda it: Unstake(MicroTokens(it))),
        st.sampled_from(["node", 64 * "x", 65 * "x"]).map(
            lambda it: msgspec.structs.replace(registration(), name=it)
        ),
    )


def listed(low: int, high: int) -> st.SearchStrategy[list[Operation]]:
    return st.lists(operations(), min_size=low, max_size=high)


def place(name: str) -> NodeId:
    return key_of(name).node_id if name else SHORT


lists = st.one_of(listed(1, 1), listed(2, 3), listed(2, 3), listed(0, 17))


class Both(RuleBasedStateMachine):
    """One ledger and one reference, told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(*FOUNDERS, params=BUSY)
        state, keys = self.ledger.state, self.ledger.keys
        self.reference = Reference(
            params=BUSY,
            chain=self.ledger.executor.chain,
            purses={key.node_id: Purse(free=GRANT) for key in keys.values()},
            reserve=10**15 - len(keys) * (GRANT + BUSY.validator_bond_min),
            validators=[key.node_id for key in keys.values()],
            clock_ms=CREATED_MS,
        )
        assert state.reserve == self.reference.reserve
        self.bonds = len(keys) * BUSY.validator_bond_min
        self.pending: list[bytes] = []
        self.past: list[bytes] = []

    @rule(
        name=who,
        listed=lists,
        manner=manners,
    )
    def ask(self, name: str, listed: list[Operation], manner: Manner) -> None:
        """Somebody signs something, now and then something strange."""
        reference, key = self.reference, key_of(name)
        purse = reference.purses.get(key.node_id, Purse())
        made = Transaction(
            VERSION + (manner.harm == "version"),
            ChainId(NO_DIGEST) if manner.harm == "chain" else reference.chain,
            key.node_id,
            max(purse.used, default=0) + manner.gap + self.waiting(key.node_id),
            reference.epoch + manner.until,
            MicroTokens(0),
            tuple(listed),
        )
        for _ in range(3):  # A fee that is a byte longer makes a transaction that costs more.
            fee = reference.fee(signed(key, made), len(listed)) + manner.offer
            made = msgspec.structs.replace(made, max_fee=MicroTokens(max(0, fee)))
        self.pending.append(harmed(signed(key, made), manner.harm))

    def waiting(self, node: NodeId) -> int:
        """How many of somebody's are on their way."""
        return sum(1 for data in self.pending if data.find(node) >= 0)

    @rule(number=st.integers(0, 1 << 20))
    def again(self, number: int) -> None:
        """An old one comes once more."""
        if self.past:
            self.pending.append(self.past[number % len(self.past)])

    @rule(wait=waits)
    def commit(self, wait: int) -> None:
        """What was asked is committed, so long after the last commit."""
        for data in self.pending:
            assert self.ledger.executor.check(data) == self.reference.check(data)
        applied = self.ledger.commit(*self.pending, after_ms=wait)
        expected = self.reference.commit(self.ledger.now_ms, self.pending)
        assert [(one.subject, one.detail) for one in applied.receipts] == expected
        self.past += self.pending
        self.pending = []

    @invariant()
    def both_hold_the_same(self) -> None:
        """Every balance, both pools, the price and the time."""
        state = self.ledger.state
        accounts = [
            [node, one.free, one.stake, one.credit, one.sequence_high]
            for node, one in sorted(state.accounts.items())
        ]
        numbers = [state.reserve, state.treasury, state.fee_multiplier, state.epoch, state.time]
        assert encode([accounts, *numbers]) == self.reference.described()
        assert self.reference.total() + self.bonds == money.MAX_SUPPLY
        assert not any(one.locked for one in state.accounts.values())


def signed(key: SigningKey, made: Transaction) -> bytes:
    """A transaction as its sender sends it."""
    signature = key.sign(TRANSACTION_TAG, made.chain, transaction_id(made))
    return encode(SignedTransaction(made, signature))


def harmed(data: bytes, harm: str) -> bytes:
    """What becomes of these bytes on their way."""
    if harm == "signature":
        return bytes([*data[:-1], data[-1] ^ 1])
    return data[:-1] if harm == "cut" else data


Both.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


TestBoth = Both.TestCase


# --- the same by plain dice: quick, and the same dice whatever hypothesis thinks of -------------


def dice_operation(dice: Random) -> Operation:
    amount = MicroTokens(dice.choice(AMOUNTS))
    to = place(dice.choice([*FOUNDERS, *STRANGERS, ""]))
    memo = dice.choice(MEMOS)
    possible: list[Operation] = [
        Transfer(to, amount, memo),
        Transfer(to, MicroTokens(3), memo),
        Credit(to, amount, memo),
        Stake(amount),
        Unstake(amount),
        registration(),
    ]
    return dice.choice(possible)


def dice_manner(dice: Random) -> Manner:
    strange = [
        Manner(gap=dice.choice(GAPS)),
        Manner(gap=dice.choice(GAPS)),
        Manner(until=dice.choice([0, 1, 3, -1])),
        Manner(offer=dice.choice([0, -1])),
        Manner(harm=dice.choice(HARMS)),
    ]
    return dice.choice([Manner(), Manner(), dice.choice(strange)])


def play(seed: int, look: Callable[[Both], None] = lambda _both: None) -> None:
    """Some people do something, a hundred times over."""
    dice, both = Random(seed), Both()  # noqa: S311  Draws test cases, no secrets.
    for _ in range(STEPS):
        kind = dice.randrange(4)
        if kind == 0:
            look(both)
            both.commit(dice.choice(WAITS))
        elif kind == 1 and dice.randrange(4) == 0:
            both.again(dice.randrange(1 << 20))
        else:
            count = dice.choice([1, 1, 2, 3, 17, 0])
            names = [*FOUNDERS, *FOUNDERS, *STRANGERS]
            operations_ = [dice_operation(dice) for _ in range(count)]
            both.ask(dice.choice(names), operations_, dice_manner(dice))
        both.both_hold_the_same()


def test_plain_dice_find_no_difference_and_meet_every_word_of_a_rejection() -> None:
    met: set[str] = set()

    def look(both: Both) -> None:
        met.update(both.ledger.executor.check(data) or "ok" for data in both.pending)

    for seed in SEEDS:
        play(seed, look)
    rejections = {"expired", "valid-for-too-long", "unknown-account", "sequence-used"}
    rejections |= {"fee-too-low", "cannot-pay-fee", "wrong-signature", "wrong-network", "malformed"}
    assert met >= {*rejections, "unknown-version", "not-1-to-16-operations", "ok"}


def fails(seed: int) -> bool:
    try:
        play(seed)
    except AssertionError:
        return True
    return False


def keep_the_odd_one(amount: MicroTokens) -> fees.Split:
    return fees.Split(MicroTokens(amount - amount // 2), MicroTokens(amount // 2))


def revert_nothing(attempt: atomic.Attempt) -> None:
    attempt.stand()


def everybody(epoch: Epoch, least_ppm: int) -> list[bool]:
    del least_ppm
    return [True for _ in epoch.seated]


def plant(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    module, attribute, value = FAULTS[name]
    return lambda patch: patch.setattr(module, attribute, value)


FAULTS: dict[str, tuple[object, str, object]] = {
    "the window is one number shorter": (admission, "SEQUENCE_WINDOW", 63),
    "numbers may run further ahead": (admission, "SEQUENCE_AHEAD", (1 << 16) + 1),
    "transactions hold an epoch longer": (admission, "EPOCHS_AHEAD", 3),
    "the odd micro-token of a fee burns": (fees, "split", keep_the_odd_one),
    "the price moves by a ninth": (fees, "STEP", 9),
    "what failed is not taken back": (atomic.Attempt, "revert", revert_nothing),
    "validators are paid although they sign nothing": (cosigning, "live", everybody),
    "memos may be longer": (money, "MEMO_BYTES_MAX", 65),
    "seventeen operations pass": (admission, "OPERATIONS_MAX", 17),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(fault)(monkeypatch)
    assert any(fails(seed) for seed in SEEDS)

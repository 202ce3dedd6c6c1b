"""Signatures checked elsewhere: the same ledger as when they are checked here, whatever happens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import Received, Tick
from dpin.base.units import Instant, Micros, MicroTokens
from dpin.ledger import offload
from dpin.ledger.admission import REFUTED_MAX, Gate, Invalid
from dpin.ledger.claims import CLAIM_BYTES, verdicts
from dpin.ledger.execute import Executor
from dpin.ledger.genesis import chain_id
from dpin.ledger.identity import Identity
from dpin.ledger.messages import SubmitTransaction
from dpin.ledger.offload import (
    BATCH_MAX,
    BATCHES_EACH,
    WORTH_IT,
    CheckSignatures,
    Offload,
    SignaturesChecked,
)
from dpin.ledger.order import Receipt
from dpin.ledger.replica import Applied, Effect, Event, Refused, Replica, Submit
from dpin.ledger.transactions import SignedTransaction, Transfer, sign
from tests.support.cluster import START, network
from tests.support.ledgers import Ledger

STEP = Micros(50_000)
COUNT = 3 * WORTH_IT
PAY = Transfer(SigningKey(digest("test/payee", b"")).node_id, MicroTokens(1), b"")

Answer = Callable[[CheckSignatures, bytes], SignaturesChecked | None]


def told(effect: CheckSignatures, bits: bytes) -> SignaturesChecked:
    """A worker that does its work."""
    return SignaturesChecked(effect.batch, bits)


def lost(effect: CheckSignatures, _: bytes) -> SignaturesChecked:
    """A worker that died over it."""
    return SignaturesChecked(effect.batch, b"", lost=True)


@dataclass
class Solo:
    """The only validator of a network, with workers that answer as a test likes."""

    workers: int
    answer: Answer = told
    receipts: list[Receipt] = field(default_factory=list)
    refused: dict[Digest, str] = field(default_factory=dict)
    roots: list[Digest | None] = field(default_factory=list)
    asked: list[CheckSignatures] = field(default_factory=list)
    held: list[SignaturesChecked] = field(default_factory=list)  # answers that are late
    late: bool = False
    now: Instant = START

    def __post_init__(self) -> None:
        self.genesis, [self.key] = network(1)
        self.chain = chain_id(self.genesis)
        self.executor = Executor(self.genesis)
        self.replica = Replica(self.genesis, Identity(self.key), self.executor, [])
        if self.workers:
            self.replica.engine.offload = Offload(self.executor.gate, self.workers)

    def feed(self, event: Event) -> None:
        self._perform(self.replica.step(event, self.now))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Applied():
                    self.receipts += effect.receipts
                    self.roots.append(effect.state_root)
                case Refused(identity, reason):
                    self.refused[identity] = reason
                case CheckSignatures():
                    self.asked.append(effect)
                    answer = self.answer(effect, verdicts(self.chain, effect.claims))
                    self.held += [answer] if answer is not None else []
                case _:
                    pass
        while self.held and not self.late:
            self.feed(self.held.pop(0))

    def wait(self, steps: int = 40) -> None:
        for _ in range(steps):
            self.now = Instant(self.now + STEP)
            self.feed(Tick())

    def pay(self, sequence: int, *, forged: bool = False) -> bytes:
        """A transfer of the validator's, or one that it did not sign."""
        signed = sign(self.key, self.chain, sequence, PAY)
        if forged:
            signed = SignedTransaction(signed.transaction, bytes(64))
        return encode(signed)


def run(solo: Solo, forged: frozenset[int]) -> None:
    for number in range(COUNT):
        solo.feed(Submit(solo.pay(number + 1, forged=number in forged)))
    solo.wait()


@settings(max_examples=10)
@given(
    forged=st.frozensets(st.integers(0, COUNT - 1), max_size=9),
    answer=st.sampled_from([told, lost]),
)
def test_receipts_and_roots_are_those_of_a_node_without_workers(
    forged: frozenset[int], answer: Answer
) -> None:
    inline, outside = Solo(0), Solo(2, answer)
    for solo in (inline, outside):
        run(solo, forged)
    assert not inline.asked
    assert outside.asked
    assert [one.subject for one in outside.receipts] == [one.subject for one in inline.receipts]
    assert outside.refused == inline.refused
    assert {*outside.refused.values()} <= {"wrong-signature", "account-has-too-many-waiting"}
    assert outside.executor.state.accounts == inline.executor.state.accounts


def test_a_submitted_transaction_waits_for_its_signature_and_no_longer() -> None:
    solo = Solo(1)
    solo.late = True
    for number in range(WORTH_IT + 8):
        solo.feed(Submit(solo.pay(number + 1)))
    mempool = solo.replica.engine.mempool
    assert mempool.queued == WORTH_IT  # One is in a block already, seven are held.
    solo.late = False
    solo.feed(solo.held.pop(0))
    assert mempool.queued == WORTH_IT + 7


def test_what_is_no_transaction_is_still_the_fault_of_whoever_sent_it() -> None:
    solo = Solo(1)
    for number in range(WORTH_IT + 1):
        solo.feed(Submit(solo.pay(number + 1)))
    effects = solo.replica.step(
        Received(NodeId(bytes(32)), encode(SubmitTransaction(b"\xc1"))), solo.now
    )
    assert [str(effect) for effect in effects if "no transaction" in str(effect)]


def commits_of(ledger: Ledger, count: int) -> list[bytes]:
    return [ledger.signed("ann", PAY) for _ in range(count)]


def test_a_commit_is_executed_when_its_last_signature_is_settled() -> None:
    ledger = Ledger("ann")
    body = commits_of(ledger, WORTH_IT)
    outside = Offload(ledger.executor.gate, 1)
    outside.want(body)
    [asked] = outside.batches()
    assert len(asked.claims) == WORTH_IT * CLAIM_BYTES
    commit = ledger.commit()
    order = ledger.commits[-1]
    assert commit.receipts == ()
    assert outside.ready(order)
    order.transactions.extend(body)  # type: ignore[attr-defined]  # A list, here.
    other = Offload(ledger.executor.gate, 1)
    assert not other.ready(order)
    outside.checked(SignaturesChecked(asked.batch, verdicts(ledger.executor.chain, asked.claims)))
    assert other.ready(order)


@pytest.mark.parametrize("answer", [b"", b"\xff", bytes(100)])
def test_an_answer_that_is_too_short_decides_nothing(answer: bytes) -> None:
    ledger = Ledger("ann")
    body = commits_of(ledger, WORTH_IT)
    outside = Offload(ledger.executor.gate, 1)
    outside.want(body)
    [asked] = outside.batches()
    outside.checked(SignaturesChecked(asked.batch, answer[: WORTH_IT // 8 - 1]))
    assert not any(ledger.executor.gate.claimed(one) for one in body)
    assert len(ledger.commit(*body).receipts) == WORTH_IT


def test_few_signatures_are_not_worth_a_message() -> None:
    ledger = Ledger("ann")
    outside = Offload(ledger.executor.gate, 1)
    outside.want(commits_of(ledger, WORTH_IT - 1))
    assert outside.batches() == []


def test_batches_and_those_under_way_are_bounded() -> None:
    ledger = Ledger("ann")
    outside = Offload(ledger.executor.gate, 1)
    outside.want(commits_of(ledger, (BATCHES_EACH + 1) * BATCH_MAX))
    first = outside.batches()
    assert [len(one.claims) for one in first] == [BATCH_MAX * CLAIM_BYTES] * BATCHES_EACH
    assert outside.batches() == []
    found = verdicts(ledger.executor.chain, first[0].claims)
    outside.checked(SignaturesChecked(first[0].batch, found))
    assert len(outside.batches()) == 1


def test_claims_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "WAITING_MAX", 40)
    ledger = Ledger("ann")
    body = commits_of(ledger, 64)
    outside = Offload(ledger.executor.gate, 1)
    outside.want(body)
    assert [ledger.executor.gate.claimed(one) for one in body] == [True] * 40 + [False] * 24
    assert len(ledger.commit(*body[40:]).receipts) == 24  # They are checked when they are read.


def test_without_workers_left_nothing_is_asked_and_nothing_waits() -> None:
    ledger = Ledger("ann")
    body = commits_of(ledger, 600)
    outside = Offload(ledger.executor.gate, 1)
    outside.want(body)
    for asked in outside.batches():
        outside.checked(SignaturesChecked(asked.batch, b"", lost=True))
    assert outside.batches() == []
    assert not any(ledger.executor.gate.claimed(one) for one in body)
    outside.want(commits_of(ledger, 64))
    assert outside.batches() == []


def test_wrong_signatures_are_remembered_up_to_a_limit() -> None:
    ledger = Ledger("ann")
    gate = Gate(ledger.executor.chain)
    first = data = b""
    for number in range(REFUTED_MAX + 1):
        signed = sign(ledger.keys["ann"], ledger.executor.chain, number + 1, PAY)
        data = encode(SignedTransaction(signed.transaction, bytes(64)))
        first = first or data
        assert gate.claim(data) is not None
        gate.settle(data, good=False)
    assert gate.claim(first) is not None  # forgotten; it is asked again
    assert gate.claim(data) is None
    with pytest.raises(Invalid, match="wrong-signature"):
        gate.read(data)

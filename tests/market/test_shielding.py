"""What a lease remembers of masked rounds: enough for who is late, and no more."""

from dataclasses import replace

import pytest

from dpin.base.ids import Round
from dpin.base.machine import Send
from dpin.compute.safety import PrivacySpec
from dpin.compute.secagg.settling import settle
from dpin.compute.work import WorkerId
from dpin.market.shielding import REVEALS_MAX, ROUNDS_KEPT, Shielding
from dpin.market.unveiling import circles_of
from tests.support.jobs import at, market, only, training
from tests.support.ledgers import Ledger, lease_of

MASKED = PrivacySpec("secagg")


class Masked:
    """One of two leases of a masked job, through as many rounds as are asked for."""

    def __init__(self) -> None:
        self.ledger: Ledger = market()
        self.job = self.ledger.state.jobs[training(self.ledger, "buyer", "maker", "one")]
        lease = lease_of(self.ledger, self.job.id, "maker")
        key = self.ledger.keys["maker"]
        self.shielding = Shielding(key, self.job, lease, WorkerId("w"), MASKED)

    def begin(self, round_: int) -> None:
        record = replace(self.job.rounds[0], round=Round(round_))
        list(self.shielding.follow(record, self.ledger.state, at(round_)))

    def reveals(self, round_: int) -> bool:
        """Whether shares about a round in which nobody's update came are told."""
        record = replace(self.job.rounds[0], round=Round(round_))
        [circle] = circles_of(self.job, record, self.ledger.state, MASKED)
        return self.shielding.reveal([settle(circle, {})]) is not None

    def answers(self, round_: int) -> int:
        asked = self.shielding.asked(self.ledger.id("one"), Round(round_))
        return len(only(Send, asked))


def test_the_secrets_of_rounds_long_over_are_forgotten() -> None:
    masked = Masked()
    for round_ in range(3 * ROUNDS_KEPT):
        masked.begin(round_)
    assert len(masked.shielding._members) == ROUNDS_KEPT
    assert masked.reveals(2 * ROUNDS_KEPT)
    assert not masked.reveals(2 * ROUNDS_KEPT - 1)


def test_what_was_told_of_a_round_is_told_again_after_its_secrets_are_gone() -> None:
    masked = Masked()
    masked.begin(0)
    assert masked.reveals(0)
    masked.begin(ROUNDS_KEPT)
    assert len(masked.shielding._members) == 1
    assert (masked.answers(0), masked.reveals(0)) == (1, True)


def test_of_too_many_rounds_the_oldest_are_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpin.market.shielding.REVEALS_MAX", 4)
    assert REVEALS_MAX > ROUNDS_KEPT
    masked = Masked()
    for round_ in range(10):
        masked.begin(round_)
        assert masked.reveals(round_)
    assert [masked.answers(round_) for round_ in (4, 5, 6, 9)] == [0, 1, 1, 1]

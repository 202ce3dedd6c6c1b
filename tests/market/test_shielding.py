"""What a lease remembers of masked rounds, and for whom it waits before it masks."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from dpin.base.codec import decode
from dpin.base.errors import PeerFault
from dpin.base.ids import Round
from dpin.base.machine import Send, Wake
from dpin.compute.safety import PrivacySpec
from dpin.compute.secagg.orders import Shield
from dpin.compute.secagg.settling import settle
from dpin.compute.task import Trained
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import LeaseState
from dpin.market.merging import Merging
from dpin.market.messages import MarketMessage, MaskMail
from dpin.market.shielding import HURRY_TICKS, REVEALS_MAX, ROUNDS_KEPT, Effect, Shielding
from dpin.market.unveiling import circles_of
from dpin.market.veil import Veil
from dpin.storage.wanted import Keep
from dpin.verify.defender import Produced
from dpin.verify.jobfiles import JobFiles
from tests.support.jobs import at, market, only, train_manifest, training
from tests.support.ledgers import Ledger, key_of, lease_of, work

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


def mail_in(letter: Send) -> MaskMail:
    mail: MarketMessage = decode(MarketMessage, letter.payload)
    assert isinstance(mail, MaskMail)
    return mail


class Circle:
    """The first round of a masked job, and the shields of all its leases; `quiet` are not heard."""

    def __init__(self, *names: str) -> None:
        self.ledger: Ledger = market("three")
        self.orders: list[tuple[str, object]] = []
        self.job = self.ledger.state.jobs[training(self.ledger, "buyer", *names)]
        self.shields = {
            name: Shielding(
                self.ledger.keys[name],
                self.job,
                lease_of(self.ledger, self.job.id, name),
                WorkerId(name),
                MASKED,
            )
            for name in names
        }

    def follow(self, name: str, moment: float) -> list[Effect]:
        found = [*self.shields[name].follow(self.job.rounds[0], self.ledger.state, at(moment))]
        self.orders += [(name, order.command) for order in only(Order, found)]
        return found

    def talk(self, *names: str, since: float = 0, lost: int = -1) -> None:
        """These hear each other's keys, and that they were heard; one letter may be lost."""
        by_id = {self.ledger.id(name): name for name in names}
        number = 0
        for moment in range(3):
            post = [(name, it) for name in names for it in self.letters(name, since + 2 * moment)]
            while post:
                (sender, letter), number = post.pop(0), number + 1
                reader = by_id.get(letter.peer)
                if reader is not None and number - 1 != lost:
                    heard = self.shields[reader].heard(self.ledger.id(sender), mail_in(letter))
                    post += [(reader, answer) for answer in only(Send, heard)]
            assert number < 50

    def letters(self, name: str, moment: float) -> list[Send]:
        return only(Send, self.follow(name, moment))

    def trained(self, name: str) -> None:
        leaves = work(self.ledger, key_of(self.ledger, self.job.id, name)).leaves
        lease = self.shields[name].lease.id
        self.shields[name].trained(Trained(lease, Round(0), leaves, (), "/update", "", 1, 1, 1))

    def shielded(self, name: str, moment: float) -> int | None:
        """With how many partners the update is masked at that moment; None: it waits."""
        self.follow(name, moment)
        if not self.orders:
            return None
        [(whose, command)] = self.orders
        assert whose == name
        assert isinstance(command, Shield)
        assert command.head is not None
        return len(command.head.partners)

    def until_hurry(self) -> None:
        record = self.job.rounds[0]
        self.ledger.wait(record.deadline - self.ledger.state.tick - HURRY_TICKS)


def test_who_has_heard_all_masks_at_once() -> None:
    circle = Circle("maker", "one", "two")
    circle.talk("maker", "one", "two")
    circle.trained("maker")
    assert circle.shielded("maker", 10) == 2


def test_a_neighbour_without_whom_the_sum_holds_nothing_has_as_long_as_the_unit() -> None:
    circle = Circle("maker", "one", "two")
    circle.talk("maker", "one")
    circle.trained("maker")
    assert circle.shielded("maker", 10) is None
    assert circle.shielded("maker", 40) is None
    circle.talk("maker", "one", "two", since=50)
    assert circle.shielded("maker", 60) == 2


def test_before_its_time_is_over_a_unit_is_masked_with_whoever_has_answered() -> None:
    circle = Circle("maker", "one", "two")
    circle.talk("maker", "one")
    circle.trained("maker")
    assert circle.shielded("maker", 10) is None
    circle.until_hurry()
    assert circle.shielded("maker", 40) == 1


def test_a_neighbour_that_can_be_spared_has_five_seconds() -> None:
    circle = Circle("maker", "one", "two", "three")
    circle.talk("maker", "one", "two")
    circle.trained("maker")
    [wake] = [it for it in only(Wake, circle.follow("maker", 10)) if it.at == at(15)]
    assert wake.at == at(15)
    assert circle.shielded("maker", 14.9) is None
    assert circle.shielded("maker", 15) == 2


def test_nobody_waits_for_a_neighbour_whose_lease_has_ended() -> None:
    circle = Circle("maker", "one", "two")
    circle.talk("maker", "one")
    circle.trained("maker")
    assert circle.shielded("maker", 10) is None
    circle.shields["two"].lease.state = LeaseState.ENDED
    assert circle.shielded("maker", 14) is None
    assert circle.shielded("maker", 15) == 1


def test_a_mask_key_in_another_s_name_is_its_sender_s_fault() -> None:
    circle = Circle("maker", "one", "two")
    circle.follow("maker", 0)
    maker, two = circle.ledger.id("maker"), circle.ledger.id("two")
    [letter] = [letter for letter in circle.letters("one", 0) if letter.peer == maker]
    with pytest.raises(PeerFault, match="another's name"):
        list(circle.shields["maker"].heard(two, mail_in(letter)))
    assert circle.shields["maker"]._members[Round(0)].heard == {}


@pytest.mark.parametrize("lost", range(8))
def test_a_lost_letter_is_made_up_for_whichever_it_is(lost: int) -> None:
    circle = Circle("maker", "one", "two")
    circle.talk("maker", "one", "two", lost=lost)
    assert [shield._members[Round(0)].waiting for shield in circle.shields.values()] == [()] * 3


class Veiled:
    """A lease whose job's manifest says this about privacy."""

    def __init__(self, mode: str) -> None:
        circle = Circle("maker", "one", "two")
        lease = circle.shields["maker"].lease
        merging = Merging(circle.job, WorkerId("w"), JobFiles(circle.job))
        self.veil = Veil(circle.ledger.keys["maker"], circle.job, lease, merging)
        self.veil.take(changed(train_manifest(seats=3), privacy=PrivacySpec(mode)))
        leaves = work(circle.ledger, key_of(circle.ledger, circle.job.id, "maker")).leaves
        report = Trained(lease.id, Round(0), leaves, ("/state",), "/update", "", 1, 1, 1)
        self.shown = [type(effect) for effect in self.veil.trained(report)]


def test_what_was_trained_in_private_is_shown_to_nobody_before_it_is_shielded() -> None:
    for mode in ("secagg", "dp", "secagg+dp"):
        assert Veiled(mode).shown == []
    for mode in ("none", "sealed"):
        assert Veiled(mode).shown == [Produced, Keep]

"""What a provider keeps of a job that is over, until its requester has the result."""

import pytest

from dpin.base.codec import decode, encode
from dpin.base.ids import BlobId, JobId, NodeId, Round
from dpin.base.machine import Send, Store
from dpin.compute.safety import PrivacySpec
from dpin.compute.task import Merged, Opened
from dpin.compute.work import WorkerId
from dpin.ledger.accounts import Job
from dpin.market.legacy import BEQUESTS_MAX, KEPT_FOR, OFFER_AGAIN, Legacy
from dpin.market.merging import Merging
from dpin.market.messages import CheckpointOffer, MarketMessage
from dpin.market.orders import Bequest
from dpin.node.ownrecords import remembered
from dpin.storage.wanted import Allow, Keep, Kept, Purpose
from dpin.verify.jobfiles import JobFiles
from tests.support.buyers import Run
from tests.support.jobs import at, file_id, only
from tests.support.ledgers import OTHER, START, UPDATE

STATE = file_id("state before the last round")
MASKED = PrivacySpec("secagg")


class Ended:
    """A job of three rounds that is over; its provider held the state before the last one."""

    def __init__(self) -> None:
        self.run = Run(3)
        self.job: Job = self.run.ledger.state.jobs[self.run.job]
        self.buyer = self.run.ledger.id("buyer")
        self.merging = Merging(self.job, WorkerId("w"), JobFiles(self.job))
        self.legacy = Legacy()
        self.merging.opened(Opened(Round(2), START), "/w/2")

    def left(self) -> list[Keep]:
        return list(self.legacy.leave(self.job, self.merging, at(1)))

    def kept(self) -> list[bytes]:
        stores = self.legacy.kept(Kept("/w/2", STATE, 1_000))
        return [store.record for store in stores]

    def offers(self, moment: float) -> list[Send]:
        return only(Send, self.legacy.follow(at(moment)))


def offer_of(send: Send) -> MarketMessage:
    message: MarketMessage = decode(MarketMessage, send.payload)
    return message


def test_the_state_before_the_last_round_stays_with_what_that_took_and_is_offered() -> None:
    ended = Ended()
    assert ended.left() == [Keep("/w/2", Purpose.MODEL, None)]
    assert [*ended.legacy.needed] == [UPDATE]  # Already while the state is hashed.
    ended.kept()
    assert {*ended.legacy.needed} == {UPDATE, STATE}
    assert [*ended.legacy.claims] == [(ended.job.id, 2_000)]
    [send] = ended.offers(2)
    assert send.peer == ended.buyer
    assert offer_of(send) == CheckpointOffer(ended.job.id, Round(2), STATE)
    assert ended.offers(3) == []
    assert len(ended.offers(2 + OFFER_AGAIN / 1_000_000)) == 1


def test_whoever_has_merged_the_last_round_keeps_the_state_before_it_all_the_same() -> None:
    ended = Ended()
    ended.merging.merged(Merged(Round(3), OTHER, "/w/3"))
    assert ended.left() == [Keep("/w/2", Purpose.MODEL, None)]


def test_of_a_masked_job_it_is_the_last_state() -> None:
    ended = Ended()
    ended.merging.privacy = MASKED
    assert ended.left() == []
    ended.merging.merged(Merged(Round(3), OTHER, "/w/3"))
    assert ended.left() == [Keep("/w/3", Purpose.MODEL, None)]
    assert [*ended.legacy.needed] == []


def test_of_a_job_that_came_to_no_end_nothing_is_kept() -> None:
    ended = Ended()
    ended.job.cancelled = True
    assert ended.left() == []
    ended.job.cancelled = False
    ended.job.rounds.pop()
    assert ended.left() == []


def test_the_requester_alone_asks_for_it_and_has_it_dropped() -> None:
    ended = Ended()
    ended.left()
    ended.kept()
    stranger = ended.run.ledger.id("maker")
    assert list(ended.legacy.asked(stranger, ended.job.id)) == []
    assert len(list(ended.legacy.asked(ended.buyer, ended.job.id))) == 1
    ended.legacy.taken(stranger, ended.job.id)
    assert ended.legacy.held
    ended.legacy.taken(ended.buyer, ended.job.id)
    assert not ended.legacy.held
    assert ended.offers(200) == []


def test_after_a_day_it_is_kept_no_more() -> None:
    ended = Ended()
    ended.left()
    ended.kept()
    day = KEPT_FOR / 1_000_000
    ended.offers(day)
    assert ended.legacy.held
    ended.offers(day + 1)
    assert [*ended.legacy.needed] == []


def test_it_is_kept_and_may_be_read_after_a_restart() -> None:
    ended = Ended()
    ended.left()
    [record] = ended.kept()
    again = Legacy()
    again.restore(decode(Bequest, record))
    effects = list(again.follow(at(2)))
    assert only(Allow, effects) == [Allow(STATE, None), Allow(UPDATE, None)]
    assert len(only(Send, effects)) == 1
    assert remembered([record], ()) == []  # The log's new beginning takes it from `held`.


def test_so_many_jobs_are_kept_and_the_oldest_goes() -> None:
    legacy = Legacy()
    for number in range(BEQUESTS_MAX + 1):
        job = JobId(bytes([number]) * 32)
        legacy.restore(Bequest(job, NodeId(bytes(32)), Round(0), BlobId(job), 1, (), 1 << 40))
    assert len(legacy.held) == BEQUESTS_MAX
    assert JobId(bytes(32)) not in legacy.held


@pytest.mark.parametrize("number", [BEQUESTS_MAX + 1])
def test_states_that_are_not_hashed_yet_are_bounded_too(number: int) -> None:
    ended = Ended()
    for one in range(number):
        ended.merging.opened(Opened(Round(2), START), f"/w/{one}")
        ended.left()
    assert len([*ended.legacy.needed]) == BEQUESTS_MAX
    assert list(ended.legacy.kept(Kept("/w/0", STATE, 1))) == []
    [store] = ended.legacy.kept(Kept("/w/1", STATE, 1))
    assert isinstance(store, Store)
    assert encode(ended.legacy.held[ended.job.id]) == store.record


def test_a_state_for_which_there_was_no_room_is_tried_again_for_a_day() -> None:
    ended = Ended()
    ended.left()
    assert only(Keep, ended.legacy.follow(at(2))) == []
    assert len(only(Keep, ended.legacy.follow(at(62)))) == 1
    ended.offers(KEPT_FOR / 1_000_000 + 2)
    assert [*ended.legacy.needed] == []

"""What a lease needs before its first unit; whoever joins late begins with somebody's state."""

from dpin.base.codec import decode
from dpin.base.ids import BlobId, NodeId, Round
from dpin.base.machine import Send
from dpin.compute.task import Opened, OpenJob
from dpin.compute.work import Dismiss, Hire, Order, WorkerId
from dpin.ledger.transactions import Stop
from dpin.market.loading import Effect, Loading, proven, reject
from dpin.market.messages import AskCheckpoint, CheckpointOffer, MarketMessage
from dpin.storage.wanted import Fetch, Purpose
from tests.support.jobs import (
    at,
    file_id,
    files_of,
    generating,
    here,
    infer_manifest,
    manifest_blob,
    market,
    only,
    path_of,
    too_large,
    train_manifest,
    training,
)
from tests.support.ledgers import OTHER, PRICE, START, award, exchange, finish, lease_of

W = WorkerId("w")
HELD = file_id("state after round 0")


class Joining:
    """A provider in a job of two seats; `late` after a round was closed without it."""

    def __init__(self, *, late: bool) -> None:
        self.ledger = market()
        ledger = self.ledger
        self.job_id = training(ledger, "buyer", "maker", "one", rounds=3)
        self.who = "one"
        if late:
            finish(ledger, self.job_id, "maker", "one")
            exchange(ledger, self.job_id, "maker", "one")
            assert ledger.do("buyer", Stop(lease_of(ledger, self.job_id, "one").id)) == "ok"
            assert award(ledger, self.job_id, two=PRICE) == "ok"
            self.who = "two"
        job = ledger.state.jobs[self.job_id]
        self.loading = Loading(job, ledger.id(self.who), W)

    def prepare(self, moment: float) -> list[Effect]:
        return list(self.loading.prepare(self.ledger.state, at(moment)))

    def load(self, moment: float) -> list[Effect]:
        """All that the manifest names arrives."""
        effects = self.prepare(moment)
        for event in files_of(train_manifest(seats=2, rounds=3)):
            self.loading.fetched(event)
            effects = self.prepare(moment)
        return effects

    def offer(self, who: str, round_: int = 1, blob: BlobId = HELD) -> None:
        self.loading.offered(self.ledger.id(who), CheckpointOffer(self.job_id, Round(round_), blob))

    def asked(self, effects: list[Effect]) -> list[str]:
        """Who was asked for a checkpoint."""
        sends = only(Send, effects)
        for send in sends:
            message: MarketMessage = decode(MarketMessage, send.payload)
            assert message == AskCheckpoint(self.job_id)
        return [self.ledger.name(send.peer) for send in sends]


def opened(effects: list[Effect]) -> list[OpenJob]:
    return only(OpenJob, [order.command for order in only(Order, effects)])


def test_a_worker_is_hired_once_and_files_are_asked_for_again() -> None:
    joining = Joining(late=False)
    assert only(Hire, joining.prepare(0)) == [Hire(W)]
    assert joining.prepare(0.5) == []
    again = joining.prepare(1)
    assert only(Hire, again) == []
    assert [fetch.blob for fetch in only(Fetch, again)] == [
        manifest_blob(train_manifest(seats=2, rounds=3))
    ]


def test_at_the_start_a_job_is_loaded_from_its_initial_state() -> None:
    joining = Joining(late=False)
    assert joining.loading.start is None
    [command] = opened(joining.load(0))
    assert (command.checkpoint, command.round) == (path_of(file_id("initial")), 0)
    assert opened(joining.prepare(1)) == []
    assert joining.asked(joining.prepare(2)) == []


def test_whoever_joins_late_asks_for_a_checkpoint_and_starts_from_it() -> None:
    joining = Joining(late=True)
    assert {*joining.asked(joining.prepare(0))} == {"buyer", "maker", "one"}
    assert opened(joining.load(0)) == []
    joining.offer("maker")
    [fetch] = only(Fetch, joining.prepare(0))
    assert (fetch.blob, fetch.purpose) == (HELD, Purpose.MODEL)
    joining.loading.fetched(here(HELD))
    [command] = opened(joining.prepare(0))
    assert (command.checkpoint, command.round) == (path_of(HELD), 1)


def test_the_first_offer_counts() -> None:
    joining = Joining(late=True)
    joining.load(0)
    joining.offer("maker")
    joining.offer("buyer", blob=file_id("another"))
    assert [fetch.blob for fetch in only(Fetch, joining.prepare(1))] == [HELD]


def test_an_offered_state_too_large_to_be_one_is_refused_and_another_is_taken() -> None:
    joining = Joining(late=True)
    joining.load(0)
    joining.offer("maker")
    [fetch] = only(Fetch, joining.prepare(1))
    [blame] = joining.loading.fetched(too_large(HELD, fetch.bytes_max + 1))
    assert blame.peer == joining.ledger.id("maker")
    assert "maker" not in joining.asked(joining.prepare(2))
    joining.offer("maker")
    assert joining.loading.seeking.found is None
    joining.offer("buyer", blob=file_id("another"))
    assert [fetch.blob for fetch in only(Fetch, joining.prepare(3))] == [file_id("another")]


def test_offers_of_strangers_are_ignored() -> None:
    joining = Joining(late=True)
    joining.load(0)
    joining.loading.offered(
        NodeId(bytes(32)),
        CheckpointOffer(joining.job_id, Round(1), file_id("trap")),
    )
    assert only(Fetch, joining.prepare(1)) == []
    assert joining.asked(joining.prepare(2)) != []


def test_offers_of_rounds_that_were_not_are_ignored() -> None:
    joining = Joining(late=True)
    joining.load(0)
    rounds = len(joining.ledger.state.jobs[joining.job_id].rounds)
    joining.offer("maker", -1)
    joining.offer("maker", rounds + 1)
    assert only(Fetch, joining.prepare(1)) == []


def test_a_checkpoint_that_nobody_has_makes_room_for_another_offer() -> None:
    joining = Joining(late=True)
    joining.load(0)
    joining.offer("maker", blob=file_id("trap"))
    joining.loading.missing(file_id("other"))
    assert [fetch.blob for fetch in only(Fetch, joining.prepare(0))] == [file_id("trap")]
    joining.loading.missing(file_id("trap"))
    joining.offer("buyer")
    assert [fetch.blob for fetch in only(Fetch, joining.prepare(0))] == [HELD]


def test_a_late_joiner_compares_what_it_loaded_with_what_the_others_began_with() -> None:
    joining = Joining(late=True)
    joining.load(0)
    joining.offer("maker")
    joining.prepare(0)
    joining.loading.fetched(here(HELD))
    assert opened(joining.prepare(0))
    assert proven(joining.loading) is None
    joining.loading.merging.opened(Opened(Round(1), OTHER), path_of(HELD))
    assert proven(joining.loading) is None  # Nobody has committed in this round yet.
    job = joining.ledger.state.jobs[joining.job_id]
    job.rounds[1].state_hash = OTHER
    assert proven(joining.loading) is True
    job.rounds[1].state_hash = START
    assert proven(joining.loading) is False


def test_of_who_offered_a_false_checkpoint_no_other_is_taken() -> None:
    joining = Joining(late=True)
    joining.load(0)
    joining.offer("maker", blob=file_id("trap"))
    joining.loading.fetched(here(file_id("trap")))
    assert opened(joining.prepare(0))
    joining.loading.merging.opened(Opened(Round(1), OTHER), path_of(file_id("trap")))
    assert list(reject(joining.loading)) == [Dismiss(W)]
    assert joining.loading.merging.holding is None
    effects = joining.prepare(2)
    assert only(Hire, effects) == [Hire(W)]
    assert joining.asked(effects) == ["buyer", "one"]
    joining.offer("maker")
    joining.offer("buyer")
    assert [fetch.blob for fetch in only(Fetch, joining.prepare(4))] == [HELD]
    joining.loading.fetched(here(HELD))
    assert [it.checkpoint for it in opened(joining.prepare(4))] == [path_of(HELD)]


def test_a_worker_that_is_gone_is_replaced_and_told_again() -> None:
    joining = Joining(late=False)
    joining.load(0)
    joining.loading.restarted()
    effects = joining.prepare(1)
    assert only(Hire, effects) == [Hire(W)]
    assert len(opened(effects)) == 1


def test_a_generation_is_ready_with_its_model_and_nothing_is_loaded() -> None:
    ledger = market()
    job = ledger.state.jobs[generating(ledger, "buyer", "maker")]
    loading = Loading(job, ledger.id("maker"), W)
    effects: list[Effect] = []
    for event in files_of(infer_manifest()):
        effects += loading.prepare(ledger.state, at(0))
        loading.fetched(event)
    assert loading.start == (0, path_of(infer_manifest().model))
    assert only(Order, [*effects, *loading.prepare(ledger.state, at(0))]) == []


def test_the_worker_is_dismissed_once() -> None:
    joining = Joining(late=False)
    assert list(joining.loading.dismiss()) == []
    joining.prepare(0)
    assert list(joining.loading.dismiss()) == [Dismiss(W)]
    assert list(joining.loading.dismiss()) == []

"""A worker's global state follows what the ledger has closed, round by round."""

from dpin.base.codec import decode
from dpin.base.ids import BlobId, NodeId, Round
from dpin.base.machine import Send
from dpin.base.units import Instant, seconds
from dpin.compute.task import Contribution, Merged, MergeRound, Opened
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import Job, Phase, RoundRecord
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import Have
from dpin.ledger.views import offers
from dpin.market.merging import ASKERS_MAX, REFUSED, Effect, Merging
from dpin.market.messages import CheckpointOffer, MarketMessage
from dpin.storage.wanted import Fetch, Keep, Kept
from dpin.verify.jobfiles import JobFiles
from tests.support.jobs import (
    at,
    file_id,
    files_of,
    here,
    market,
    only,
    path_of,
    too_large,
    train_manifest,
    training,
)
from tests.support.ledgers import (
    OTHER,
    START,
    UPDATE,
    Work,
    exchange,
    finish,
    key_of,
    lease_of,
    work,
)

W = WorkerId("w")


def merging_of(job: Job) -> Merging:
    """Of a node that has the job's files."""
    files = JobFiles(job)
    for event in files_of(train_manifest(seats=job.propose.seats, rounds=job.propose.rounds)):
        files.arrived(event)
    assert files.ready
    return Merging(job, W, files)


class Round0:
    """Two providers in the first of two rounds; `merging` is the requester's."""

    def __init__(self) -> None:
        self.ledger = market()
        self.job_id = training(self.ledger, "buyer", "maker", "one", rounds=2)
        self.merging = merging_of(self.ledger.state.jobs[self.job_id])

    @property
    def record(self) -> RoundRecord:
        return self.ledger.state.jobs[self.job_id].rounds[0]

    def commit(self) -> dict[str, BlobId]:
        """Both commit; their updates by name."""
        updates = {}
        for who in ("maker", "one"):
            done = work(self.ledger, key_of(self.ledger, self.job_id, who))
            updates[who] = file_id(f"update of {who}")
            commit = Work(done.leaves, updates[who]).commit()
            assert self.ledger.do(who, commit) == "ok"
        assert self.record.phase == Phase.EXCHANGE
        return updates

    def follow(self, moment: float = 0) -> list[Effect]:
        return list(self.merging.follow(self.ledger.state, at(moment)))

    def close(self) -> None:
        exchange(self.ledger, self.job_id, "maker", "one")
        assert self.record.closed


def merges(effects: list[Effect]) -> list[object]:
    return [order.command for order in only(Order, effects)]


def test_nothing_is_fetched_while_a_round_trains() -> None:
    assert Round0().follow() == []


def test_updates_are_fetched_as_soon_as_they_may_be_read() -> None:
    scene = Round0()
    updates = scene.commit()
    fetches = only(Fetch, scene.follow())
    assert {fetch.blob for fetch in fetches} == {*updates.values()}
    maker = next(fetch for fetch in fetches if fetch.blob == updates["maker"])
    ids = scene.ledger.id
    assert maker.sources == (ids("maker"), ids("buyer"), ids("one"))
    assert scene.follow(0.5) == []
    assert len(only(Fetch, scene.follow(1))) == 2


def test_what_its_maker_does_not_show_yet_is_asked_for_again_soon_and_then_less_often() -> None:
    scene = Round0()
    updates = scene.commit()
    update, other = updates["maker"], updates["one"]
    scene.follow()
    assert [*scene.merging.asking.missing(file_id("something else"), at(0.01))] == []
    moment, pauses = 0.0, []
    for _ in range(9):
        [wake] = scene.merging.asking.missing(update, at(moment))
        assert [*scene.merging.asking.missing(other, at(moment))] == []  # one pause for both
        assert scene.follow(moment) == []
        pauses.append((wake.at - at(moment)) / seconds(1))
        moment += pauses[-1]
        assert update in {fetch.blob for fetch in only(Fetch, scene.follow(moment))}
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1]
    assert scene.merging.arrived(here(file_id("update of one"))) == []
    scene.follow(moment)
    [wake] = scene.merging.asking.missing(update, at(moment))
    assert wake.at == at(moment + 0.01)


def test_a_closed_round_is_merged_once_with_what_it_took() -> None:
    scene = Round0()
    scene.merging.opened(Opened(Round(0), START), "/initial")
    updates = scene.commit()
    scene.follow()
    assert scene.merging.arrived(here(updates["maker"])) == []
    scene.close()
    assert merges(scene.follow()) == []
    assert scene.merging.arrived(here(updates["one"])) == []
    expected = [
        Contribution(path_of(one.update), one.steps, maker="node") for one in scene.record.included
    ]
    assert merges(scene.follow()) == [MergeRound(Round(0), tuple(expected))]
    assert scene.follow(5) == []
    scene.merging.merged(Merged(Round(1), OTHER, "/one"))
    assert (scene.merging.holding, scene.merging.state_hash) == (1, OTHER)
    assert scene.follow(9) == []


def bound(scene: Round0) -> int:
    """The bytes of the largest update that is fetched."""
    [size] = {fetch.bytes_max for fetch in only(Fetch, scene.follow())}
    return size


def test_an_update_too_large_to_be_one_counts_for_nothing_and_the_round_goes_on() -> None:
    scene = Round0()
    scene.merging.opened(Opened(Round(0), START), "/initial")
    updates = scene.commit()
    most = bound(scene)
    assert scene.merging.arrived(here(updates["maker"])) == []
    [blame] = scene.merging.arrived(too_large(updates["one"], most + 1))
    assert blame.peer == scene.ledger.id("one")
    scene.close()
    [merge] = merges(scene.follow(5))
    assert isinstance(merge, MergeRound)
    assert {one.update for one in merge.contributions} == {path_of(updates["maker"]), REFUSED}


def test_an_update_too_large_for_somebody_else_is_asked_for_again() -> None:
    scene = Round0()
    updates = scene.commit()
    most = bound(scene)
    assert scene.merging.arrived(too_large(updates["one"], most)) == []
    again = only(Fetch, scene.follow(5))
    assert {fetch.blob for fetch in again} == {*updates.values()}


def test_blobs_that_nobody_asked_for_are_not_remembered() -> None:
    scene = Round0()
    scene.commit()
    scene.follow()
    assert scene.merging.arrived(here(file_id("a shard of another job"))) == []
    assert scene.merging.paths == {}


def test_nothing_is_merged_before_the_job_is_loaded() -> None:
    scene = Round0()
    updates = scene.commit()
    scene.follow()
    for update in updates.values():
        assert scene.merging.arrived(here(update)) == []
    scene.close()
    assert merges(scene.follow()) == []


def test_a_round_that_took_nothing_is_merged_all_the_same() -> None:
    scene = Round0()
    scene.merging.opened(Opened(Round(0), START), "/initial")
    while not scene.record.closed:
        scene.ledger.wait(5)
    assert scene.record.included == []
    assert merges(scene.follow()) == [MergeRound(Round(0), ())]


def test_a_new_worker_merges_again_from_where_it_begins() -> None:
    scene = Round0()
    scene.merging.opened(Opened(Round(0), START), "/initial")
    updates = scene.commit()
    scene.follow()
    for update in updates.values():
        assert scene.merging.arrived(here(update)) == []
    scene.close()
    [first] = merges(scene.follow())
    scene.merging.restarted()
    assert merges(scene.follow(1)) == []
    scene.merging.opened(Opened(Round(0), START), "/initial")
    again = {fetch.blob for fetch in only(Fetch, scene.follow(3))}
    assert again == {*updates.values()}  # Since they were merged they may have made room.
    for update in updates.values():
        assert scene.merging.arrived(here(update)) == []
    assert merges(scene.follow(4)) == [first]


def test_a_late_update_is_fetched_with_the_next_round_and_merged_with_its_age() -> None:
    ledger = market()
    job_id = training(ledger, "buyer", "maker", "one", rounds=3)
    merging = merging_of(ledger.state.jobs[job_id])
    merging.opened(Opened(Round(1), START), "/one")
    behind = key_of(ledger, job_id, "one")
    finish(ledger, job_id, "maker")
    ledger.wait(DEVELOPMENT.grace_ticks)
    exchange(ledger, job_id, "maker", "one")
    late = work(ledger, behind)
    commit = Work(late.leaves, file_id("late")).commit()
    assert ledger.do("one", commit) == "ok"
    ledger.wait(1)
    finish(ledger, job_id, "maker", "one")
    record = ledger.state.jobs[job_id].rounds[1]
    assert record.late == [behind]
    fetches = {it.blob: it for it in only(Fetch, merging.follow(ledger.state, at(0)))}
    assert fetches.keys() == {UPDATE, file_id("late")}
    assert fetches[file_id("late")].sources[0] == ledger.id("one")
    for blob in fetches:
        assert merging.arrived(here(blob)) == []
    everything = tuple(sorted(offers(record)))
    for who in ("maker", "one"):
        lease = lease_of(ledger, job_id, who).id
        assert ledger.do(who, Have(lease, Round(1), everything)) == "ok"
    [order] = merges(list(merging.follow(ledger.state, at(1))))
    assert isinstance(order, MergeRound)
    ages = [(part.update, part.age) for part in order.contributions]
    assert ages == [(path_of(file_id("late")), 1), *[(path_of(UPDATE), 0)] * 2]


def test_where_the_updates_of_rounds_long_merged_lie_is_forgotten() -> None:
    ledger = market()
    job_id = training(ledger, "buyer", "maker", rounds=8)
    merging = merging_of(ledger.state.jobs[job_id])
    merging.opened(Opened(Round(0), START), "/initial")
    for number in range(8):
        update = file_id(f"update {number}")
        done = work(ledger, key_of(ledger, job_id, "maker"))
        assert ledger.do("maker", Work(done.leaves, update).commit()) == "ok"
        assert only(Fetch, merging.follow(ledger.state, at(2 * number)))
        assert merging.arrived(here(update)) == []
        exchange(ledger, job_id, "maker")
        assert len(merges([*merging.follow(ledger.state, at(2 * number + 1))])) == 1
        merging.merged(Merged(Round(number + 1), OTHER, f"/{number}"))
    assert [*merging.follow(ledger.state, at(20))] == []
    assert merging.paths.keys() == {file_id("update 6"), file_id("update 7")}
    merging.restarted()
    merging.opened(Opened(Round(0), START), "/initial")
    again = only(Fetch, merging.follow(ledger.state, at(30)))
    assert {one.blob for one in again} == {file_id(f"update {number}") for number in range(8)}


def asked(merging: Merging, peer: int, now: Instant) -> list[Effect]:
    return list(merging.asked(NodeId(bytes([peer]) * 32), now))


def test_whoever_joins_late_is_offered_the_state_held() -> None:
    scene = Round0()
    assert asked(scene.merging, 1, at(0)) == []
    scene.merging.opened(Opened(Round(0), START), "/initial")
    [keep] = asked(scene.merging, 1, at(0))
    assert isinstance(keep, Keep)
    assert (keep.path, keep.readers) == ("/initial", None)
    [send] = scene.merging.kept(Kept("/initial", file_id("initial"), 1_000))
    assert isinstance(send, Send)
    message: MarketMessage = decode(MarketMessage, send.payload)
    assert message == CheckpointOffer(scene.job_id, Round(0), file_id("initial"))
    assert list(scene.merging.kept(Kept("/initial", file_id("initial"), 1_000))) == []


def test_a_state_that_has_moved_on_is_not_offered() -> None:
    scene = Round0()
    scene.merging.opened(Opened(Round(0), START), "/initial")
    asked(scene.merging, 1, at(0))
    scene.merging.merged(Merged(Round(1), OTHER, "/one"))
    assert list(scene.merging.kept(Kept("/initial", file_id("initial"), 1_000))) == []
    [send] = scene.merging.kept(Kept("/one", file_id("one"), 1_000))
    assert isinstance(send, Send)


def test_the_state_is_hashed_once_a_second_however_many_ask() -> None:
    scene = Round0()
    scene.merging.opened(Opened(Round(0), START), "/initial")
    effects = [effect for peer in range(200) for effect in asked(scene.merging, peer, at(0.5))]
    assert len(effects) == 1
    assert len(asked(scene.merging, 1, at(1.5))) == 1
    answers = list(scene.merging.kept(Kept("/initial", file_id("initial"), 1_000)))
    assert len(answers) == ASKERS_MAX


def test_an_update_too_large_is_passed_over_though_somebody_else_has_fetched_it() -> None:
    scene = Round0()
    updates = scene.commit()
    scene.follow()
    most = scene.merging.files.update_bytes_max
    assert most is not None
    [blame] = scene.merging.arrived(here(updates["maker"], length=most + 1))
    assert blame.peer == scene.ledger.id("maker")
    assert scene.merging.paths[updates["maker"]] == REFUSED

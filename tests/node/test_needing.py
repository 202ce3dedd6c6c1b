"""Which blobs a node's jobs need: said when it changes, found again by whoever starts anew."""

from collections.abc import Iterable

from dpin.base.ids import BlobId
from dpin.ledger.accounts import State
from dpin.ledger.wishes import Follow
from dpin.market.ownjob import Stage
from dpin.market.provider import Probe, Provider
from dpin.market.requester import Requester
from dpin.node.needing import Needing
from dpin.storage.wanted import Fetched, Need
from dpin.verify.commitment import commit_of
from dpin.verify.defender import Defender
from dpin.verify.messages import Opening
from dpin.verify.verifier import Told, Verifier
from tests.support.checking import STATE, CheckedUnit
from tests.support.jobs import (
    PROBED,
    at,
    files_of,
    manifest_blob,
    market,
    train_manifest,
    training,
)
from tests.support.ledgers import UPDATE, Ledger, key_of, work
from tests.support.market import CHOICE, own_job

FILES = files_of(train_manifest())
Said = tuple[frozenset[BlobId], bool]  # what is needed, and whether that is all
NAMED = frozenset(file.blob for file in FILES)


class House:
    """The machines of one node, which follow one ledger."""

    def __init__(self, ledger: Ledger, who: str) -> None:
        key, chain, params = ledger.keys[who], ledger.executor.chain, ledger.genesis.params
        self.ledger = ledger
        self.provider = Provider(key, chain, params, CHOICE)
        self.requester = Requester(key.node_id, chain, params)
        self.verifier = Verifier(key.node_id, b"secret")
        self.defender = Defender(key.node_id)
        self.provider.step(Probe(PROBED), at(0))
        self.needing = Needing(self.provider, self.requester, self.verifier, self.defender)

    @property
    def state(self) -> State:
        return self.ledger.state

    def follow(self) -> list[Said]:
        self.provider.step(Follow(self.state), at(0))
        self.verifier.step(Follow(self.state), at(0))
        return told(self.needing.look(self.state))

    def arrive(self, file: Fetched) -> list[Said]:
        self.provider.step(file, at(0))
        self.verifier.step(file, at(0))
        return told(self.needing.again(self.state))


def told(needs: Iterable[Need]) -> list[Said]:
    return [(one.blobs, one.settled) for one in needs]


def need(*blobs: BlobId, settled: bool = True) -> list[Said]:
    return [(frozenset(blobs), settled)]


def test_a_lease_needs_its_files_from_the_award_to_the_end_of_its_job() -> None:
    ledger = market()
    house = House(ledger, "maker")
    assert house.follow() == need()
    job = training(ledger, "buyer", "maker")
    manifest = manifest_blob(train_manifest())
    assert house.follow() == need(manifest, settled=False)  # What it names nobody knows yet.
    assert house.arrive(FILES[0]) == need(*NAMED)
    assert house.arrive(FILES[1]) == []  # Nothing has changed.
    ledger.wait(3_000)  # Nobody works: the job expires.
    assert job not in ledger.state.live_jobs
    assert house.follow() == need()


def test_an_update_is_needed_before_and_after_the_ledger_knows_of_it() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker", rounds=2)
    house = House(ledger, "maker")
    house.follow()
    house.arrive(files_of(train_manifest(rounds=2))[0])
    done = work(ledger, key_of(ledger, job, "maker"))
    [engagement] = house.provider.engagements.values()
    named = frozenset(engagement.files.needed)
    commit = commit_of(done.leaves, UPDATE)
    engagement.commits.keep(done.leaves[0].round, commit)
    assert told(house.needing.look(ledger.state)) == need(*named, UPDATE)
    assert ledger.do("maker", commit) == "ok"
    engagement.commits.made.clear()
    assert house.follow() == []  # It is the ledger's now, and is needed still.


def test_whoever_starts_anew_comes_to_the_same_list() -> None:
    ledger = market()
    training(ledger, "buyer", "maker")
    before = House(ledger, "maker")
    before.follow()
    known = before.arrive(FILES[0])
    again = House(ledger, "maker")
    [(_, is_settled)] = again.follow()
    assert not is_settled
    assert again.arrive(FILES[0]) == known


def test_a_lease_that_is_lost_needs_nothing_any_more() -> None:
    ledger = market()
    training(ledger, "buyer", "maker")
    house = House(ledger, "maker")
    house.follow()
    [engagement] = house.provider.engagements.values()
    engagement.failed = "the worker died"
    assert told(house.needing.look(ledger.state)) == need()


def test_a_seat_needs_the_files_of_its_job_and_what_the_provider_shows() -> None:
    checked = CheckedUnit()
    house = House(checked.ledger, checked.ledger.name(checked.unit.seats[0].verifier))
    house.follow()
    assert house.arrive(FILES[0]) == need(*NAMED)
    provider = checked.ledger.id("maker")
    opening: Opening = checked.opening(final=False)
    house.verifier.step(Told(provider, opening), at(0))
    assert told(house.needing.again(checked.ledger.state)) == need(*NAMED, STATE)
    checked.seal(checked.unit.seats[0].verifier)
    checked.seal(checked.unit.seats[1].verifier)
    checked.open_leaves()
    checked.ledger.wait(1_000)
    assert house.follow() == need()  # The unit is settled, and nobody has a seat in it.


def test_an_own_job_needs_what_others_fetch_from_here_until_it_is_over() -> None:
    ledger = market()
    house = House(ledger, "buyer")
    job = training(ledger, "buyer", "maker")
    own = own_job(ledger, job)
    own.manifest = train_manifest()
    own.kept = {"/p/early": STATE}
    house.requester.jobs["j-1"] = own
    assert told(house.needing.look(ledger.state)) == need(*NAMED, STATE)
    own.stage = Stage.FAILED
    assert told(house.needing.look(ledger.state)) == []  # Those who work on it still fetch.
    ledger.wait(3_000)  # Nobody works: the job expires.
    assert job not in ledger.state.live_jobs
    assert told(house.needing.look(ledger.state)) == need()


def test_before_the_ledger_was_followed_nothing_is_said() -> None:
    house = House(market(), "maker")
    assert told(house.needing.again(house.state)) == []

"""Nodes without a part in a job are drawn to score its updates as well, and sign what they find."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from dpin.base.codec import decode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, JobId, NodeId, Round
from dpin.base.machine import Send
from dpin.compute.hubspec import TEXT, PrivateSpec
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.scores import WITNESSES_MAX, Score, Scored, ScoreRound
from dpin.compute.statements import Signed, Statement, check, stated
from dpin.compute.task import Failed, Merged, MergeRound, Opened, OpenJob, TrainManifest
from dpin.compute.work import Dismiss, Exited, Hire, Order, Reported
from dpin.ledger.accounts import Job
from dpin.market.appraising import differing
from dpin.market.mail import Mail
from dpin.market.messages import AskCheckpoint, MarketMessage, ScoresMail
from dpin.market.ownjob import RoundTimes
from dpin.market.story import tell
from dpin.market.witness import BEHIND_MAX, LOOKS_MAX, Witnesses, drawn
from dpin.storage.wanted import Fetch
from tests.support.jobs import at, files_of, here, market, only, train_manifest, training_with
from tests.support.ledgers import (
    FINGERPRINT,
    OTHER,
    START,
    Ledger,
    exchange,
    finish,
    lease_of,
    running,
)
from tests.support.market import own_job

PEOPLE = ("three", "four", "five", "six")
WITNESSED = RobustSpec(witnesses=WITNESSES_MAX)


class Watched:
    """A job of `maker` and `one`, whose first round has closed, and one of its witnesses."""

    def __init__(self, manifest: TrainManifest | None = None, rounds: int = 3) -> None:
        self.ledger: Ledger = market(*PEOPLE)
        made = train_manifest(seats=2, rounds=rounds)
        self.manifest = manifest or replace(made, robust=WITNESSED)
        self.job_id = training_with(self.ledger, "buyer", "maker", "one", manifest=self.manifest)
        self.close()
        self.name = self.ledger.name(drawn(self.job, self.ledger.state)[0])
        key = self.ledger.keys[self.name]
        self.witnesses = Witnesses(key, self.ledger.executor.chain)

    @property
    def job(self) -> Job:
        return self.ledger.state.jobs[self.job_id]

    def close(self) -> None:
        """The next round, to its end."""
        finish(self.ledger, self.job_id, "maker", "one")
        exchange(self.ledger, self.job_id, "maker", "one")

    def follow(self, moment: float = 0) -> list[object]:
        return list(self.witnesses.follow(self.ledger.state, FINGERPRINT, at(moment)))

    def load(self) -> list[object]:
        """Fetch manifest and files; what it does once they are here."""
        effects = self.follow()
        for event in files_of(self.manifest):
            self.take(event)
            effects += self.follow()
        return [*effects, *self.follow(1)]

    def take(self, event: object, moment: float = 0) -> list[object]:
        return list(self.witnesses.take(event, at(moment)))  # type: ignore[arg-type]

    def report(self, report: object, moment: float = 0) -> list[object]:
        worker = self.witnesses.held[self.job_id].loading.worker
        return self.take(Reported(worker, report), moment)  # type: ignore[arg-type]


def commands(effects: Iterable[object], kind: type[object]) -> list[object]:
    return [one.command for one in only(Order, effects) if isinstance(one.command, kind)]


def mails(effects: Iterable[object]) -> list[Signed]:
    found = []
    for send in only(Send, effects):
        message: MarketMessage = decode(MarketMessage, send.payload)
        if isinstance(message, ScoresMail):
            found.append(message.signed)
    return found


def test_witnesses_are_drawn_by_the_first_beacon_from_those_without_a_part() -> None:
    ledger = market(*PEOPLE)
    job = ledger.state.jobs[running(ledger, "buyer", "maker", "one", rounds=2)]
    assert drawn(job, ledger.state) == []  # Nobody knows them before updates are committed.
    finish(ledger, job.id, "maker", "one")
    exchange(ledger, job.id, "maker", "one")
    found = drawn(job, ledger.state)
    assert len(found) == WITNESSES_MAX
    assert not {ledger.id(name) for name in ("buyer", "maker", "one")} & {*found}
    gone = ledger.state.accounts[found[0]]
    gone.registration = None
    assert drawn(job, ledger.state)[:-1] == found[1:]  # Nobody else has moved.


def test_a_witness_loads_the_job_scores_before_it_merges_and_signs_what_it_found() -> None:
    watched = Watched()
    effects = watched.load()
    assert only(Hire, effects)
    [opened] = commands(effects, OpenJob)
    assert isinstance(opened, OpenJob)
    assert opened.round == 0
    watched.report(Opened(Round(0), START))
    for fetch in only(Fetch, watched.follow(3)):
        watched.take(here(fetch.blob))
    effects = watched.follow(4)
    orders = [one.command for one in only(Order, effects)]
    assert [type(one) for one in orders] == [ScoreRound, MergeRound]
    score = orders[0]
    assert isinstance(score, ScoreRound)
    assert score.beacon == watched.job.rounds[0].beacon
    found = tuple(Score(one.lease, 5, 4) for one in score.updates)
    [signed] = mails(watched.report(Scored(Round(0), found), 5))
    check(signed, watched.ledger.executor.chain)
    assert signed.node == watched.ledger.id(watched.name)
    assert signed.statement == Statement(watched.job_id, Round(0), FINGERPRINT, found)
    assert mails(watched.follow(6)) == []
    assert mails(watched.follow(25)) == [signed]  # The requester may have been away.
    watched.report(Merged(Round(1), OTHER, "/next"))
    assert commands(watched.follow(26), MergeRound) == []


def test_where_the_witness_comes_to_another_state_than_the_ledger_it_scores_nothing() -> None:
    watched = Watched()
    watched.load()
    watched.report(Opened(Round(0), OTHER))
    for fetch in only(Fetch, watched.follow(3)):
        watched.take(here(fetch.blob))
    effects = watched.follow(4)
    assert commands(effects, ScoreRound) == []
    assert len(commands(effects, MergeRound)) == 1


def test_a_witness_that_comes_late_starts_from_a_checkpoint() -> None:
    watched = Watched(rounds=BEHIND_MAX + 2)
    for _ in range(BEHIND_MAX):
        watched.close()
    sends = only(Send, watched.load())
    asked = {send.peer for send in sends if isinstance(_read(send), AskCheckpoint)}
    assert watched.ledger.id("maker") in asked


def _read(send: Send) -> MarketMessage:
    message: MarketMessage = decode(MarketMessage, send.payload)
    return message


@pytest.mark.parametrize(
    "change",
    [
        {"robust": RobustSpec()},
        {"privacy": PrivacySpec("secagg")},
        {"privacy": PrivacySpec("sealed", reader=bytes(32))},
        {"private": PrivateSpec("letters", TEXT)},
        {"model": ModuleSpec("build", 16)},
    ],
)
def test_where_no_witness_is_asked_for_or_nothing_can_be_seen_there_is_none(
    change: dict[str, object],
) -> None:
    made = replace(train_manifest(seats=2, rounds=3), robust=WITNESSED)
    watched = Watched(replace(made, **change))
    effects = watched.load()
    assert only(Hire, effects) == []
    assert watched.witnesses.held == {}


def test_one_job_at_a_time_and_a_worker_that_fails_or_dies_ends_it() -> None:
    watched = Watched()
    watched.load()
    failed = Failed("OpenJob", "out of memory")
    watched.report(failed)
    assert only(Dismiss, watched.follow(3))
    assert watched.witnesses.held == {}
    assert watched.follow(4) == []  # It is not tried again.
    other = Watched()
    other.load()
    other.take(Exited(other.witnesses.held[other.job_id].loading.worker, "killed"))
    assert only(Dismiss, other.follow(3)) == []
    assert other.witnesses.held == {}


def test_a_manifest_that_nobody_gives_is_not_looked_for_for_ever() -> None:
    watched = Watched()
    asked = [moment for moment in range(2 * LOOKS_MAX) if only(Fetch, watched.follow(moment))]
    assert LOOKS_MAX <= len(asked) <= LOOKS_MAX + 1
    assert watched.witnesses.held == {}


def test_a_witness_goes_a_while_after_the_job() -> None:
    watched = Watched()
    watched.load()
    watched.ledger.state.live_jobs.discard(watched.job_id)
    watched.follow(10)
    assert watched.witnesses.held
    assert only(Dismiss, watched.follow(100))


# --- the requester's side ------------------------------------------------------------------------


class Desk:
    """The requester of a watched job, with scores of its own."""

    def __init__(self) -> None:
        self.watched = Watched()
        ledger = self.watched.ledger
        self.own = own_job(ledger, self.watched.job_id)
        self.scores = (Score(lease_of(ledger, self.watched.job_id, "maker").id, 9, 3),)
        self.times = RoundTimes(at(0), scores=self.scores)
        self.own.rounds[Round(0)] = self.times
        self.mail = Mail({"j-1": self.own}, ledger.executor.chain, ledger.genesis.params)

    def signed(
        self, name: str, scores: tuple[Score, ...] = (), fingerprint: Digest = FINGERPRINT
    ) -> Signed:
        said = Statement(self.watched.job_id, Round(0), fingerprint, scores or self.scores)
        return stated(self.watched.ledger.keys[name], self.watched.ledger.executor.chain, said)

    def told(self, peer: NodeId, signed: Signed) -> None:
        list(self.mail.told(peer, ScoresMail(signed), self.watched.ledger.state, at(1)))


def test_what_a_witness_says_stands_beside_the_own_scores_and_changes_none() -> None:
    desk = Desk()
    ledger, (first, second, third, _) = (
        desk.watched.ledger,
        drawn(desk.watched.job, desk.watched.ledger.state),
    )
    lie = (Score(desk.scores[0].lease, 999, 0),)
    desk.told(first, desk.signed(ledger.name(first)))
    desk.told(second, desk.signed(ledger.name(second), lie))
    desk.told(second, desk.signed(ledger.name(second)))  # Its first word stands.
    desk.told(third, desk.signed(ledger.name(third), lie, OTHER))
    assert differing(desk.times, desk.watched.job) == {first: False, second: True}
    assert desk.times.scores == desk.scores
    notes = list(tell(desk.own, ledger.state, at(2)))
    told = {note.kind for note in notes if "a witness" in note.text}
    assert told == {"progress", "warning"}
    assert any("finds other scores" in note.text for note in notes)


def test_who_was_not_drawn_or_did_not_sign_is_not_heard() -> None:
    desk = Desk()
    ledger = desk.watched.ledger
    desk.told(ledger.id("maker"), desk.signed("maker"))
    assert desk.times.signed == {}
    [first, second, *_] = drawn(desk.watched.job, ledger.state)
    with pytest.raises(PeerFault, match="another has signed"):
        desk.told(first, desk.signed(ledger.name(second)))
    forged = Signed(first, desk.signed(ledger.name(first)).statement, bytes(64))
    with pytest.raises(PeerFault, match="not signed by"):
        desk.told(first, forged)
    elsewhere = Statement(JobId(bytes(32)), Round(0), FINGERPRINT, ())
    signed = stated(ledger.keys[ledger.name(first)], ledger.executor.chain, elsewhere)
    desk.told(first, signed)
    assert desk.times.signed == {}

"""A job's log: each fact of the ledger once, in words."""

from msgspec.structs import replace

from dpin.base.ids import Round
from dpin.compute.scores import Score, Scored
from dpin.ledger.transactions import Stop
from dpin.ledger.views import name_of
from dpin.market.appraising import appraised
from dpin.market.messages import Reason
from dpin.market.ownjob import OwnJob
from dpin.market.story import TRACE, Note, offered, tell, verdicts
from tests.support.jobs import at, market, proposed, training
from tests.support.ledgers import (
    PRICE,
    Ledger,
    award,
    check_honestly,
    exchange,
    finish,
    key_of,
    lease_of,
)
from tests.support.market import own_job, refused


def heard(own: OwnJob, ledger: Ledger, moment: float = 0) -> list[Note]:
    return [note for note in tell(own, ledger.state, at(moment)) if note.kind != TRACE]


def hops(own: OwnJob, ledger: Ledger) -> list[str]:
    return [str(note.data["hop"]) for note in tell(own, ledger.state, at(0)) if note.kind == TRACE]


def test_a_timeline_has_each_hop_of_a_unit_once_and_in_order() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker")
    own, terms = own_job(ledger, job), ledger.state.jobs[job]
    provider = lease_of(ledger, job, "maker").provider
    [offer] = [*offered(own, terms, provider, 1_000_000, ledger.state)]
    assert (offer.data["hop"], offer.text) == ("offered", "node offers at 1 a unit")
    assert [*offered(own, terms, provider, 1_000_000, ledger.state)] == []
    assert hops(own, ledger) == ["state fetched", "started"]
    finish(ledger, job, "maker")
    exchange(ledger, job, "maker")
    assert "update published" in hops(own, ledger)
    check_honestly(ledger, key_of(ledger, job, "maker"))
    assert set(hops(own, ledger)) <= {"verifiers seated", "window drawn"}
    assert hops(own, ledger) == []


def test_what_was_told_of_settled_rounds_is_forgotten_and_not_told_again() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker", rounds=6)
    own, sizes = own_job(ledger, job), []
    texts: list[str] = []
    for _ in range(6):
        key = key_of(ledger, job, "maker")
        finish(ledger, job, "maker")
        texts += [note.text for note in tell(own, ledger.state, at(0))]
        check_honestly(ledger, key)
        exchange(ledger, job, "maker")
        texts += [note.text for note in tell(own, ledger.state, at(0))]
        sizes.append(len(own.told))
    assert len(texts) == len(set(texts))
    assert sum("PAID" in text for text in texts) == 6
    assert sizes[-1] <= sizes[1] + 1  # The end of the lease.


def test_a_job_of_one_round_is_told_from_award_to_pay_each_fact_once() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker")
    own = own_job(ledger, job)
    texts = [note.text for note in heard(own, ledger)]
    assert texts == ["node takes seat 0 at 1 a unit", "round 1/1 with node"]
    assert heard(own, ledger) == []
    finish(ledger, job, "maker")
    assert heard(own, ledger, 3) == []
    assert own.rounds[Round(0)].exchange == at(3)
    exchange(ledger, job, "maker")
    texts = [note.text for note in heard(own, ledger, 4)]
    assert texts == ["lease of node ended: done", "round 1 closed with 1 of 1 updates"]
    assert own.rounds[Round(0)].closed == at(4)
    check_honestly(ledger, key_of(ledger, job, "maker"))
    [paid] = [note for note in heard(own, ledger, 9) if note.kind == "verify"]
    assert paid.text == "round 1 of node: PAID (verified), paid 0.97"
    assert paid.data["verdict"] == "PAID"
    assert heard(own, ledger, 10) == []
    assert verdicts(ledger.state.jobs[job], ledger.state) == {"PAID:verified": 1}


def test_scores_are_told_once_and_who_does_not_help_its_own_data_is_named() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker", rounds=3)
    own, lease = own_job(ledger, job), lease_of(ledger, job, "maker").id
    last = ""
    for number in range(3):
        heard(own, ledger)
        finish(ledger, job, "maker")
        exchange(ledger, job, "maker")
        appraised(own, Scored(Round(number), (Score(lease, 12 - number, 10 + number),)))
        [note] = [note for note in heard(own, ledger) if "idle" in note.data]
        last = note.text
        said = f"round {number + 1}: updates alone gain node {12 - number}/{10 + number} milli-nats"
        assert note.text.startswith(said)
        assert note.data["idle"] == (number == 2)
    assert "over the last rounds node helped own data no more than others'" in last
    assert [note for note in heard(own, ledger) if "idle" in note.data] == []


def test_what_went_wrong_is_told_with_what_it_cost() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker", "one")
    own = own_job(ledger, job)
    heard(own, ledger)
    assert ledger.do("buyer", Stop(lease_of(ledger, job, "one").id)) == "ok"
    texts = [note.text for note in heard(own, ledger)]
    assert "node was lost: its seat is open again" in texts
    assert "lease of node ended: stopped" in texts
    while job in ledger.state.live_jobs:
        ledger.wait(5)
    lost = [note.text for note in heard(own, ledger) if note.kind == "verify"]
    assert lost == ["round 1 of node: LAPSED (not-committed), lost 0.5"] * 2


def test_an_award_that_lapses_is_told_in_words_that_say_what_it_means() -> None:
    ledger = market()
    job = proposed(ledger, "buyer")
    award(ledger, job, maker=PRICE)
    own = own_job(ledger, job)
    heard(own, ledger)
    ledger.wait(ledger.genesis.params.ready_ticks)
    [note] = heard(own, ledger)
    assert note.text.startswith("lease of node ended: never-ready (it did not say in time")


def test_why_a_provider_gives_a_job_up_is_told_and_can_do_nothing_to_a_terminal() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker", "one")
    own = own_job(ledger, job)
    heard(own, ledger)
    said = replace(refused(job, Reason.FAULTY), detail="out of memory\x1b[2J" + 400 * "!")
    own.supply.declines[ledger.id("one")] = said
    assert ledger.do("buyer", Stop(lease_of(ledger, job, "one").id)) == "ok"
    [text] = [note.text for note in heard(own, ledger) if "seat is open again" in note.text]
    assert text.startswith("node gave the job up (out of memory?[2J!!!")
    assert len(text) < 240


def test_a_job_that_is_not_on_the_ledger_has_no_story() -> None:
    ledger = market()
    own = own_job(ledger, training(ledger, "buyer", "maker"))
    own.job = None
    assert heard(own, ledger) == []


def test_whoever_has_not_registered_goes_by_the_start_of_its_id() -> None:
    ledger = Ledger("buyer", "maker", "one", "two")
    assert ledger.id("maker").hex().startswith(name_of(ledger.state, ledger.id("maker")))

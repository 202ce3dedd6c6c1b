"""What the owner of a provider reads in its log: each thing once, in order, and to its end."""

from dpin.base.ids import Round
from dpin.base.units import Tick, format_tokens
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import Stop
from dpin.market.chronicle import Chronicle, Deed
from dpin.market.engagement import Engagement, Fault
from dpin.market.story import Value
from tests.support.jobs import market, proposed, training
from tests.support.ledgers import (
    PRICE,
    Ledger,
    award,
    check_honestly,
    exchange,
    finish,
    key_of,
    lease_of,
    peopled,
    running,
    unit_of,
)


def engagement_of(ledger: Ledger, name: str) -> Engagement:
    """Of the only job."""
    [job] = ledger.state.jobs.values()
    lease = lease_of(ledger, job.id, name)
    return Engagement(job, lease, Fault.NONE, DEVELOPMENT.tick_ms)


def heard(chronicle: Chronicle, ledger: Ledger, *engagements: Engagement) -> list[Deed]:
    return [*chronicle.follow(ledger.state, {one.lease.id: one for one in engagements})]


def test_a_lease_is_told_from_its_award_to_its_pay() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann", rounds=1)
    chronicle, engagement = Chronicle(), engagement_of(ledger, "ann")
    [lease, round_] = heard(chronicle, ledger, engagement)
    price = format_tokens(PRICE)
    told: dict[str, Value] = {"requester": "node", "seat": 0, "rounds": 1, "price": price}
    assert lease == Deed("job-lease", job, told)
    assert round_ == Deed("job-round", job, {"round": 1})
    finish(ledger, job, "ann")
    assert heard(chronicle, ledger) == []
    check_honestly(ledger, (unit_of(ledger, job, "ann").lease, Round(0)))
    [paid] = heard(chronicle, ledger)
    assert paid == Deed("job-paid", job, {"round": 1, "reason": "verified", "paid": "0.97"})
    ledger.wait(100)
    [ended] = heard(chronicle, ledger)
    assert (ended.event, ended.data["reason"]) == ("job-ended", "done")
    assert (ended.data["unsettled"], ended.data["earned"]) == (0, "0.97")
    assert heard(chronicle, ledger) == []
    assert chronicle.followed == 0


def test_what_has_been_told_of_settled_rounds_is_forgotten_and_not_told_again() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann", rounds=6)
    chronicle, engagement = Chronicle(), engagement_of(ledger, "ann")
    deeds = heard(chronicle, ledger, engagement)
    for _ in range(6):
        key = key_of(ledger, job, "ann")
        finish(ledger, job, "ann")
        deeds += heard(chronicle, ledger, engagement)
        check_honestly(ledger, key)
        exchange(ledger, job, "ann")
        deeds += heard(chronicle, ledger, engagement)
        assert all(len(told.units) <= 1 for told in chronicle._leases.values())
    paid = [deed.data["round"] for deed in deeds if deed.event == "job-paid"]
    assert paid == [1, 2, 3, 4, 5, 6]
    [ended] = [deed for deed in deeds if deed.event == "job-ended"]
    assert ended.data["earned"] == "5.82"


def test_what_is_lost_is_told_with_its_reason() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann", rounds=1)
    chronicle, engagement = Chronicle(), engagement_of(ledger, "ann")
    heard(chronicle, ledger, engagement)
    unit = unit_of(ledger, job, "ann")
    ledger.wait(Tick(unit.deadline - ledger.state.tick))
    told = {deed.event: deed.data for deed in heard(chronicle, ledger, engagement)}
    assert told["job-fined"]["reason"] == unit.reason
    assert told["job-fined"]["lost"] == format_tokens(unit.lost) != "0"
    assert told["job-ended"]["reason"]


def test_an_award_that_lapses_is_told() -> None:
    ledger = market()
    job = proposed(ledger, "buyer")
    award(ledger, job, maker=PRICE)
    chronicle, engagement = Chronicle(), engagement_of(ledger, "maker")
    assert [deed.event for deed in heard(chronicle, ledger, engagement)] == ["job-lease"]
    ledger.wait(DEVELOPMENT.ready_ticks)
    [ended] = heard(chronicle, ledger)
    assert (ended.event, ended.data["reason"]) == ("job-ended", "never-ready")


def test_what_this_node_gives_up_is_told_once_and_on_one_line() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker")
    chronicle, engagement = Chronicle(), engagement_of(ledger, "maker")
    heard(chronicle, ledger, engagement)
    engagement.failed = "no room\nat all" + "!" * 1_000
    [deed] = heard(chronicle, ledger, engagement)
    assert (deed.event, deed.job) == ("job-given-up", job)
    assert str(deed.data["reason"]).startswith("no room?at all!")
    assert len(str(deed.data["reason"])) == 160
    assert heard(chronicle, ledger, engagement) == []


def test_after_a_restart_what_was_settled_before_is_not_told_again() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann", rounds=2)
    finish(ledger, job, "ann")
    ledger.wait(1)
    check_honestly(ledger, (unit_of(ledger, job, "ann").lease, Round(0)))
    ledger.wait(100)
    chronicle = Chronicle()
    told = heard(chronicle, ledger, engagement_of(ledger, "ann"))
    assert "job-paid" not in [deed.event for deed in told]


def test_an_offer_is_told_once_a_job() -> None:
    ledger = market()
    job = ledger.state.jobs[proposed(ledger, "buyer")]
    chronicle = Chronicle()
    [deed] = chronicle.bid(job, PRICE, ledger.state)
    assert deed == Deed("job-bid", job.id, {"requester": "node", "price": format_tokens(PRICE)})
    assert [*chronicle.bid(job, PRICE, ledger.state)] == []


def test_a_stopped_lease_is_followed_until_its_unit_is_settled() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker")
    chronicle, engagement = Chronicle(), engagement_of(ledger, "maker")
    heard(chronicle, ledger, engagement)
    assert ledger.do("buyer", Stop(lease_of(ledger, job, "maker").id)) == "ok"
    assert chronicle.followed == 1
    unit = unit_of(ledger, job, "maker")
    ledger.wait(Tick(unit.deadline - ledger.state.tick))
    assert "job-fined" in [deed.event for deed in heard(chronicle, ledger)]
    assert chronicle.followed == 0

"""What the owner of a provider sees of the jobs that it serves."""

from dpin.base.ids import Round
from dpin.cli.pictures import job_text, jobs_text
from dpin.node.portrait import kind_of
from dpin.node.served import Mine, Served
from tests.support.ledgers import check_honestly, finish, peopled, running, unit_of


def test_what_was_earned_is_shown_after_the_work_has_ended() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann", rounds=1)
    finish(ledger, job, "ann")
    ledger.wait(1)
    check_honestly(ledger, (unit_of(ledger, job, "ann").lease, Round(0)))
    ledger.wait(100)
    served = Served(ledger.state, Mine(ledger.id("ann"), 0, {}))
    [view] = served.views()
    assert (view.role, view.state, view.id) == ("served", "ended", f"j-{job.hex()[:8]}")
    assert view.earned == unit_of(ledger, job, "ann").paid > 0
    assert "earned 0.97" in jobs_text([view])
    detail = served.detail(view.id)
    assert detail is not None
    assert [len(lease.units) for lease in detail.leases] == [1]
    assert "earned 0.97" in job_text(detail)
    assert served.detail(job.hex()) == detail
    assert served.detail("j-none") is None
    assert Served(ledger.state, Mine(ledger.id("bob"), 0, {})).views() == []


def test_a_job_that_none_can_replay_is_shown_as_the_federated_job_it_is() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    jobs = [running(ledger, "req", name, verifiers=n) for name, n in (("ann", 2), ("bob", 0))]
    assert [kind_of(ledger.state.jobs[job].propose) for job in jobs] == ["train", "federated"]
    [view] = Served(ledger.state, Mine(ledger.id("bob"), 0, {})).views()
    assert view.kind == "federated"

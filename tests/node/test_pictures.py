"""What people see of jobs: lists, one job whole, and why it waits."""

import pytest

from dpin.base.errors import NotFound
from dpin.cli.pictures import jobs_text
from dpin.market.messages import Decline, Reason
from dpin.market.provider import Probe
from dpin.market.requester import Start
from dpin.market.story import Note, name_of_job
from dpin.node.pictures import Gallery
from dpin.node.portrait import Portrait
from dpin.storage.wanted import Kept
from tests.support.alone import Alone
from tests.support.jobs import PROBED, file_id
from tests.support.market import infer_order


class Shown:
    """A node with one own job that waits for a provider."""

    def __init__(self) -> None:
        self.node = Alone()
        self.node.step(Probe(PROBED))
        self.node.step(Start("j-abc", infer_order()))
        self.node.step(Kept(infer_order().model_file, file_id("model"), 1_000))
        self.told = [*self.node.wait(1)]

    @property
    def gallery(self) -> Gallery:
        return Gallery(self.node.peer, self.node.now)

    @property
    def portrait(self) -> Portrait:
        return self.gallery.portrait(self.gallery.own("j-abc"))


def test_a_job_goes_by_any_start_of_its_ids() -> None:
    shown = Shown()
    own = shown.gallery.own("j-a")
    assert own.job is not None
    for name in (own.job.id.hex()[:6].upper(), name_of_job(own.job.id), own.job.id.hex()):
        assert shown.gallery.own(name) is own
    with pytest.raises(NotFound, match="no job 'nothing'"):
        shown.gallery.own("nothing")


def test_both_sides_see_the_one_id_that_a_job_has_on_the_ledger() -> None:
    shown = Shown()
    own = shown.gallery.own("j-abc")
    assert own.job is not None
    shared = own.job.id.hex()[:8]
    assert name_of_job(own.job.id) == f"j-{shared}"
    head, row = jobs_text(shown.gallery.jobs()).splitlines()
    assert row[head.index("SHARED ID") :].startswith(f"{shared} ")
    assert row.startswith("j-abc ")
    told = [item.text for item in shown.told if isinstance(item, Note)]
    assert any(text.startswith("match: ") and f"j-{shared}" in text for text in told)


def test_a_prefix_of_two_jobs_names_neither() -> None:
    shown = Shown()
    shown.node.step(Start("j-abd", infer_order()))
    with pytest.raises(NotFound, match="2 jobs go by 'j-ab'"):
        shown.gallery.own("j-ab")


def test_the_list_has_own_jobs_with_what_they_may_cost() -> None:
    [view] = Shown().gallery.jobs()
    assert (view.id, view.kind, view.role, view.state) == (
        "j-abc",
        "inference",
        "mine",
        "matching",
    )
    assert view.cost == 0 < view.cost_max <= infer_order().budget


def test_phases_are_done_or_running_and_the_last_of_a_failed_job_has_failed() -> None:
    shown = Shown()
    states = [(phase.name, phase.state) for phase in shown.portrait.detail().phases]
    assert states == [("plan", "done"), ("match", "running")]
    shown.node.wait(15)
    states = [(phase.name, phase.state) for phase in shown.portrait.detail().phases]
    assert states[0] == ("plan", "done")
    assert states[-1][1] == "failed"


def test_why_a_job_waits_is_said_with_every_refusal_and_its_remedy() -> None:
    shown = Shown()
    own = shown.gallery.own("j-abc")
    assert own.job is not None
    declines = own.supply.declines
    declines[shown.node.key.node_id] = Decline(own.job.id, Reason.PRICE, "offers 1, asked 2")
    view = shown.portrait.explain()
    assert view.summary.startswith("1 of 1 seats are open: 0 providers known, 0 offer, 1 decline")
    [decline] = view.declines
    assert (decline.code, decline.fix) == (
        "price-below-floor",
        "raise limits.cost, or lower args.rounds",
    )


def test_a_reason_that_this_version_does_not_know_is_shown_as_it_came() -> None:
    shown = Shown()
    own = shown.gallery.own("j-abc")
    assert own.job is not None
    own.supply.declines[shown.node.key.node_id] = Decline(own.job.id, "too-cold", "brr")
    [decline] = shown.portrait.explain().declines
    assert (decline.code, decline.detail, decline.fix) == ("too-cold", "brr", "")


def test_an_ended_job_says_why_it_ended() -> None:
    shown = Shown()
    shown.node.wait(15)
    assert shown.portrait.explain().summary == "no-provider"


def test_a_job_that_offered_too_little_says_what_it_takes() -> None:
    shown = Shown()
    own = shown.gallery.own("j-abc")
    assert own.job is not None
    dear = Decline(own.job.id, Reason.PRICE, "offers at most 1 a unit, asked 90,000")
    own.supply.declines[shown.node.key.node_id] = dear
    shown.node.wait(15)
    view = shown.portrait.explain()
    assert view.summary.startswith("no-provider: the only provider known asks at least 90,000 a")
    assert view.next_step.startswith("limits.cost: ")


def test_the_files_of_a_result_are_named_within_their_folder() -> None:
    shown, folder = Shown(), infer_order().output
    shown.gallery.own("j-abc").output_files = (f"{folder}/model.safetensors", f"{folder}/a/b")
    assert shown.portrait.detail().files == ["model.safetensors", "a/b"]

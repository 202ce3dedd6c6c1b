"""What rounds have merged and left out, as their owner reads it."""

from dataclasses import replace

from msgspec.structs import replace as changed

from dpin.base.ids import Round
from dpin.compute.safety import PrivacySpec
from dpin.compute.task import Merged
from dpin.ledger.accounts import Included, Job
from dpin.market.merging import called
from dpin.market.ownjob import OwnJob, RoundTimes
from dpin.market.takings import NAMED_MAX, apart, foretold, nothing, privacy_of, spent, told
from tests.support.jobs import at, file_id, market, training
from tests.support.ledgers import OTHER, START, Ledger, lease_of
from tests.support.market import own_job

MASKED = PrivacySpec("secagg")


class Told:
    """A job of three seats, whose rounds are told to its owner."""

    def __init__(self, privacy: PrivacySpec = PrivacySpec()) -> None:  # noqa: B008  # It is frozen.
        self.ledger: Ledger = market()
        self.job_id = training(self.ledger, "buyer", "maker", "one", "two")
        self.own: OwnJob = own_job(self.ledger, self.job_id)
        self.own.order = changed(self.own.order, privacy=privacy)
        self.own.rounds[Round(0)] = RoundTimes(at(0))
        self.job.rounds[0].included = [self.update(who) for who in ("maker", "one", "two")]

    def update(self, who: str) -> Included:
        lease = lease_of(self.ledger, self.job_id, who)
        return Included(lease.id, lease.provider, 40, file_id(f"update of {who}"))

    @property
    def job(self) -> Job:
        return self.ledger.state.jobs[self.job_id]

    def merge(self, taken: int, *refused: str) -> list[str]:
        report = Merged(Round(1), OTHER, "/one", refused, taken=taken)
        return [note.text for note in told(self.own, self.job, report)]


def test_a_round_that_has_merged_all_is_told_by_nobody() -> None:
    assert Told().merge(3) == []
    assert Told(MASKED).merge(3) == []


def test_what_noise_has_cost_is_told_after_each_round_and_stays_in_the_record() -> None:
    noise = PrivacySpec("dp", 0, 1 << 20, 1_000_000, 10_000)
    job = Told(noise)
    job.own.rounds[Round(0)].epsilon_milli = 5_126
    [note] = spent(job.own, Merged(Round(1), OTHER, "/one", taken=3, epsilon_milli=5_126))
    assert note.text == "round 1: epsilon 5.13 of 10.00 is spent, at delta 1e-5"
    assert privacy_of(job.own) == {
        "mode": "dp",
        "epsilon_milli": 5_126,
        "epsilon_max_milli": 10_000,
        "delta_digits": 5,
    }
    assert list(spent(Told().own, Merged(Round(1), OTHER, "/one", taken=3))) == []
    assert privacy_of(Told().own) == {"mode": "none"}


def test_what_a_round_has_left_out_is_named_with_its_reason() -> None:
    assert Told().merge(2, "eve: a giant") == ["round 1 has merged 2 of 3 updates: eve: a giant"]
    masked = "round 1 has merged 2 of 3 updates: the masks of the others do not fit"
    assert Told(MASKED).merge(2) == [masked]
    many = Told().merge(1, *(f"liar {at}: a giant" for at in range(NAMED_MAX + 2)))
    assert many[0].endswith(f"liar {NAMED_MAX - 1}: a giant and 2 others")


def test_that_a_requester_has_come_to_another_state_than_its_seats_is_told_once() -> None:
    case = Told()
    times = case.own.rounds[Round(0)]
    second = replace(case.job.rounds[0], round=Round(1))
    case.job.rounds.append(second)
    assert list(apart(case.own, case.job)) == []  # Nothing is merged here.
    times.state_hash = OTHER
    assert list(apart(case.own, case.job)) == []  # Nothing is named there.
    second.state_hash = OTHER
    assert list(apart(case.own, case.job)) == []
    second.state_hash = START
    [note] = apart(case.own, case.job)
    assert (note.kind, note.text.split(":")[0]) == (
        "warning",
        "after round 1 this node's state is not the one that the ledger names",
    )
    assert list(apart(case.own, case.job)) == []


def test_so_it_is_after_the_last_round_where_most_seats_say_another_state() -> None:
    case = Told()
    case.own.rounds[Round(0)].state_hash = OTHER
    seats = [lease_of(case.ledger, case.job_id, who).id for who in ("maker", "one", "two")]
    case.job.said = dict.fromkeys(seats, OTHER) | {seats[0]: START}
    assert list(apart(case.own, case.job)) == []
    case.job.said[seats[1]] = START
    assert len(list(apart(case.own, case.job))) == 1


def test_a_job_has_made_nothing_only_if_no_round_has_merged_an_update() -> None:
    case = Told()
    assert nothing(case.own) == ""  # Nobody knows yet.
    case.job.rounds[0].included = []
    assert case.merge(0) == ["round 1 has merged nothing: no update came in time"]
    assert nothing(case.own).endswith("the last one: no update came in time")
    case.own.rounds[Round(1)] = RoundTimes(at(1), taken=1)
    assert nothing(case.own) == ""


def test_that_too_few_take_part_for_a_sum_under_masks_is_told_at_once_and_once() -> None:
    case = Told(MASKED)
    assert [*foretold(case.own, case.job)] == []
    case.job.rounds[0].roster.pop()
    [note] = foretold(case.own, case.job)
    assert note.text.startswith("round 1 will merge nothing: it has 2 of the 3 participants")
    assert [*foretold(case.own, case.job)] == []
    plain = Told()
    plain.job.rounds[0].roster.pop()
    assert [*foretold(plain.own, plain.job)] == []


def test_a_late_update_is_called_by_its_maker_and_its_round() -> None:
    case = Told()
    one = replace(case.job.rounds[0].included[0], update=file_id("update"))
    state = case.ledger.state
    assert called(one, Round(3), state) == "node"
    assert called(replace(one, age=2), Round(3), state) == "node's of round 2"

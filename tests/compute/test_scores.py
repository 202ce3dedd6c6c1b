"""Single updates are scored on the model, alike by everybody who holds the job's blobs."""

from typing import TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, ChainId, Digest, Round
from dpin.compute.examples import Examples, examples_of
from dpin.compute.probe import settle
from dpin.compute.scores import (
    ROUNDS_MIN,
    SCORE_MAX,
    UPDATES_MAX,
    Judged,
    Score,
    Scored,
    ScoreRound,
    is_untrained,
    milli_nats,
    sampled,
)
from dpin.compute.scoring import Scoring, drawn
from dpin.compute.session import Session
from dpin.compute.statements import Statement, check, stated
from dpin.compute.task import (
    ADAMW,
    INT8,
    Command,
    Contribution,
    EncodingSpec,
    Evaluate,
    Evaluated,
    Failed,
    InnerSpec,
    Merged,
    MergeRound,
    Opened,
    OuterSpec,
    Prepared,
    Trained,
    TrainUnit,
)
from dpin.compute.train import Inner
from tests.support.training import (
    CORPUS,
    JOB,
    SEATS,
    TINY,
    Desk,
    MemoryFiles,
    lease,
    open_job,
    prepare,
)

R = TypeVar("R")
INNER = InnerSpec(3_000, 0, 0, batch=4, steps=8)
OUTER = OuterSpec(1_000_000, 0, nesterov=False)
BEACON = digest("test/beacon", b"1")


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


class Holder:
    """Somebody who holds the job's blobs."""

    def __init__(self, files: MemoryFiles, name: str, outer: OuterSpec = OUTER) -> None:
        files.held["corpus.txt"] = CORPUS
        self.desk = Desk(files)
        self.session = Session(self.desk.door())
        prepared = self.do(prepare("made"), Prepared)
        self.do(open_job(prepared, name, outer, EncodingSpec(INT8), INNER), Opened)

    def do(self, command: Command, kind: type[R]) -> R:
        self.session.run(command)
        report = self.desk.reports[-1]
        assert isinstance(report, kind), report
        return report

    def unit(self, seat: int, round_: int, maker: Digest | None = None) -> Trained:
        order = TrainUnit(maker or lease(seat), seat, Round(round_), True, 0, "")
        return self.do(order, Trained)

    def merge(self, units: list[Trained]) -> Digest:
        parts = tuple(Contribution(unit.update, INNER.steps) for unit in units)
        return self.do(MergeRound(units[0].round, parts), Merged).state_hash

    def score(self, round_: int, judged: list[Judged], beacon: Digest = BEACON) -> Scored:
        return self.do(ScoreRound(Round(round_), beacon, tuple(judged)), Scored)


def judged(unit: Trained, seat: int) -> Judged:
    return Judged(unit.update, lease(seat), seat, INNER.steps)


def test_a_third_node_finds_the_same_scores_and_merges_on() -> None:
    files = MemoryFiles()
    maker = Holder(files, "one")
    first = [maker.unit(seat, 0) for seat in range(SEATS)]
    maker.merge(first)
    second = [maker.unit(seat, 1) for seat in range(SEATS)]
    asked = [judged(unit, seat) for seat, unit in enumerate(second)]
    found = maker.score(1, asked)
    third = Holder(files, "three")
    third.merge(first)
    assert third.score(1, asked) == found
    assert third.score(1, asked, digest("test/beacon", b"2")) != found
    assert third.merge(second) == maker.merge(second)  # A score leaves the state as it was.
    assert [one.lease for one in found.scores] == [lease(seat) for seat in range(SEATS)]


def test_a_score_is_what_an_update_lowers_the_loss_by() -> None:
    holder = Holder(MemoryFiles(), "one")
    unit, other = holder.unit(0, 0), holder.unit(1, 0)
    one = holder.score(0, [judged(unit, 0)]).scores[0]
    assert 0 < one.other <= SCORE_MAX
    before = holder.do(Evaluate(), Evaluated).loss_micronats
    holder.merge([unit])
    gained = (before - holder.do(Evaluate(), Evaluated).loss_micronats) // 1_000
    assert abs(min(gained, SCORE_MAX) - one.other) < SCORE_MAX // 4
    worse = Holder(MemoryFiles(), "two")
    order = TrainUnit(lease(0), 0, Round(0), True, 0, "wrong-weights")
    turned = worse.do(order, Trained)
    assert worse.score(0, [judged(turned, 0)]).scores[0].other < 0
    assert other.update != unit.update


def test_garbage_has_no_score_and_another_round_is_refused() -> None:
    holder = Holder(MemoryFiles(), "one")
    holder.desk.files.held["garbage"] = b"garbage"
    wanted = Judged("garbage", lease(0), 0, INNER.steps)
    assert holder.score(0, [wanted]).scores == (Score(lease(0), 0, 0),)
    failed = holder.do(ScoreRound(Round(1), BEACON, (wanted,)), Failed)
    assert "round 0, not 1" in failed.reason
    away = replace(judged(holder.unit(0, 0), 0), seat=SEATS)
    assert (
        f"seat {SEATS} of a job of"
        in holder.do(ScoreRound(Round(0), BEACON, (away,)), Failed).reason
    )


def test_where_updates_are_gradients_they_are_not_scored() -> None:
    holder = Holder(MemoryFiles(), "one", OuterSpec(1_000_000, 0, nesterov=False, rule=ADAMW))
    reason = holder.do(ScoreRound(Round(0), BEACON, ()), Failed).reason
    assert "where they move parameters" in reason


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_a_score_is_the_nearest_milli_nat_within_its_bounds(before: int, after: int) -> None:
    score = milli_nats(before, after)
    assert abs(score) <= SCORE_MAX
    if abs(before - after) < SCORE_MAX * 1_000:
        assert abs(score * 1_000 - (before - after)) <= 500


@given(st.lists(st.integers(0, 30), max_size=12, unique=True), st.binary(min_size=32, max_size=32))
def test_the_beacon_draws_at_most_so_many_updates_in_whatever_order(
    numbers: list[int], beacon: bytes
) -> None:
    leases = [lease(number) for number in numbers]
    chosen = sampled(Digest(beacon), leases)
    assert chosen == sampled(Digest(beacon), leases[::-1])
    assert len(chosen) == min(UPDATES_MAX, len(leases))
    assert set(chosen) <= set(leases)


def test_the_steps_looked_at_follow_from_the_beacon_and_are_of_the_unit() -> None:
    one = Judged("file", lease(0), 0, 5)
    steps = [
        drawn(ScoreRound(Round(0), digest("test/b", bytes([n])), (one,)), one) for n in range(9)
    ]
    assert len({tuple(found) for found in steps}) > 1
    assert {step for found in steps for step in found} <= set(range(5))


def history(*pairs: tuple[int, int]) -> list[Score]:
    return [Score(lease(0), own, other) for own, other in pairs]


def test_who_helps_its_own_data_no_more_than_others_is_idle_after_three_rounds() -> None:
    assert not is_untrained(history(*[(10, 10)] * (ROUNDS_MIN - 1)))
    assert is_untrained(history(*[(10, 10)] * ROUNDS_MIN))
    assert not is_untrained(history((40, 10), (5, 10), (9, 10)))
    assert is_untrained(history((-50, -10), (-50, -10), (60, 20)))  # Two minuses are no plus.
    assert is_untrained(history((900, 0), *[(10, 20)] * 8))  # Long ago is forgotten.


def test_own_data_are_not_what_others_are_measured_on() -> None:
    assert not is_untrained(history((10, 10), (10, 10)))  # Two may be chance.
    holder = Holder(MemoryFiles(), "one")
    texts = holder.session._held._shards  # type: ignore[union-attr]
    asked: list[int] = []

    def text(seat: int) -> Examples:
        asked.append(seat)
        return examples_of(TINY, texts[seat : seat + 1])

    manifest = holder.session._held._manifest  # type: ignore[union-attr]
    scoring = Scoring(JOB, manifest, cast("Inner", None), holder.desk.door(), text)
    one = Judged("file", lease(1), 1, INNER.steps)
    scoring._others(ScoreRound(Round(0), BEACON, (one,)), one)
    assert 1 not in asked
    assert asked


def test_scores_out_of_bounds_or_too_many_are_no_scorer_s() -> None:
    key, chain = SigningKey(b"k" * 32), ChainId(b"c" * 32)
    many = tuple(Score(lease(at), 1, 1) for at in range(UPDATES_MAX + 1))
    for scores in (many, (Score(lease(0), SCORE_MAX + 1, 0),), (Score(lease(0), 0, -2_000),)):
        lie = stated(key, chain, Statement(JOB, Round(0), NO_DIGEST, scores))
        with pytest.raises(PeerFault, match="no scorer"):
            check(lie, chain)

"""An order that leaves the steps of a round to the node: chosen once a step was timed, and told."""

from msgspec.structs import replace

from dpin.compute.presets import QUICK, SPARSELOCO
from dpin.compute.reporting import Preparing
from dpin.compute.task import INT4, INT8, SPARSE, EncodingSpec
from dpin.market import workshop
from dpin.market.orders import TrainOrder, TuneSpec
from dpin.market.ownjob import OwnJob
from dpin.market.preparing import prepare_command
from dpin.market.story import Note
from tests.support.jobs import INNER, at, only
from tests.support.market import PREPARED, train_order

FREE = TuneSpec(1_000_000, 10_000_000, encoding=True, outer=True)


def tuned(order: TrainOrder, step_us: int, parameters: int) -> tuple[TrainOrder, Note]:
    own = OwnJob("j-1", order, at(0))
    prepared = replace(PREPARED, step_us=step_us, parameters=parameters)
    notes = only(Note, workshop.keep_prepared(own, prepared))
    assert isinstance(own.order, TrainOrder)
    assert own.order.tune is None
    choice, hashing = notes
    assert hashing.text == "plan: hashing 4 files, under which others find them"
    return own.order, choice


def test_a_small_model_on_a_quick_link_merges_often_and_densely() -> None:
    order = replace(train_order(rounds=6), tune=FREE)
    found, note = tuned(order, 200_000, 10_000)
    assert (found.inner.steps, found.encoding, found.outer) == (10, EncodingSpec(INT8), QUICK)
    assert found.rounds * 10 == 6 * INNER.steps
    assert "every 10 steps" in note.text
    assert note.data["encoding"] == INT8


def test_a_large_model_on_a_slow_link_merges_seldom_and_sparsely() -> None:
    order = replace(train_order(rounds=50), tune=FREE)
    found, note = tuned(order, 200_000, 50_000_000)
    assert found.encoding.name == SPARSE
    assert found.outer == SPARSELOCO
    assert 10 < found.inner.steps <= 500
    assert found.rounds == -(-50 * INNER.steps // found.inner.steps)
    assert note.data["share_ppm"] in range(50_001)


def test_an_encoding_that_was_ordered_stays() -> None:
    tune = replace(FREE, encoding=False, outer=False)
    order = replace(train_order(rounds=50), tune=tune, encoding=EncodingSpec(INT4))
    found, _ = tuned(order, 200_000, 50_000_000)
    assert (found.encoding, found.outer) == (EncodingSpec(INT4), order.outer)
    assert found.windows <= found.inner.steps


def test_a_step_is_timed_only_where_the_time_matters() -> None:
    assert prepare_command(train_order(), "f").timed_batch == 0
    assert prepare_command(replace(train_order(), tune=FREE), "f").timed_batch == INNER.batch


def test_a_plan_says_what_it_does_at_the_moment() -> None:
    own = OwnJob("j-1", train_order(), at(0))
    began = only(Note, workshop.begin(own, at(1)))
    assert [note.text for note in began] == [
        "plan: starting a worker; the first one has to load torch"
    ]
    said = only(Note, workshop.reported(own, Preparing("reading /corpus"), at(2)))
    assert [(note.kind, note.text) for note in said] == [("phase", "plan: reading /corpus")]
    assert [(phase.name, phase.detail) for phase in own.phases] == [("plan", "reading /corpus")]

"""The links that a choice reckons with: declared, measured, or assumed."""

from msgspec.structs import replace

from dpin.market.orders import TrainOrder, TuneSpec
from dpin.market.preparing import tuned
from dpin.node.linkspeeds import DOWN, UP, with_links
from dpin.node.presence import Presence
from tests.support.market import PREPARED, train_order

OPEN = TuneSpec(0, 0, encoding=True, outer=True)
MEASURED = [Presence("p", "1", (), 0, up, 10 * up) for up in (4_000_000, 1_000_000, 3_000_000)]


def tune_of(tune: TuneSpec, presences: list[Presence]) -> TuneSpec:
    found = with_links(replace(train_order(), tune=tune), presences)
    assert isinstance(found, TrainOrder)
    assert found.tune is not None
    return found.tune


def test_the_slowest_provider_counts() -> None:
    found = tune_of(OPEN, MEASURED)
    assert (found.up, found.down) == (1_000_000, 10_000_000)
    assert found.links == "up measured by 3 providers, down measured by 3 providers"


def test_one_in_four_cannot_have_everybody_wait() -> None:
    liar = Presence("liar", "1", (), 0, 1, 1)
    assert tune_of(OPEN, [*MEASURED, liar]).up == 1_000_000


def test_what_a_file_declares_stands_and_what_nobody_knows_is_assumed() -> None:
    found = tune_of(replace(OPEN, up=77), MEASURED)
    assert (found.up, found.links) == (77, "up declared, down measured by 3 providers")
    unknown = tune_of(OPEN, [Presence("p", "1", (), 0)])
    assert (unknown.up, unknown.down) == (UP, DOWN)
    assert unknown.links == "up assumed, down assumed"


def test_the_choice_follows_the_links_and_says_whence_they_are_known() -> None:
    prepared = replace(PREPARED, step_us=200_000, parameters=10_000_000)
    chosen = []
    for presences in (MEASURED, [replace(one, up=one.up // 10) for one in MEASURED]):
        order = with_links(replace(train_order(rounds=6), tune=OPEN), presences)
        assert isinstance(order, TrainOrder)
        made, choice, why = tuned(order, prepared)
        assert "links: up measured by 3 providers" in why
        assert choice.share_ppm <= 50_000
        chosen.append((made.inner.steps, made.encoding.name))
    assert chosen[0] != chosen[1]

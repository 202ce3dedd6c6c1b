"""Counters: histograms by their bounds, dials by how they ended."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.units import Instant, Micros
from dpin.net.tally import ADDRESSES_MAX, CONNECTED, DELAYS, Dialled, Histogram, Tally


@given(st.lists(st.integers(0, 20_000_000)))
def test_every_value_is_counted_in_the_one_bucket_it_belongs_to(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert histogram.count == len(values)
    assert histogram.total == sum(values)
    below = 0
    for bound, count in zip(DELAYS, histogram.counts, strict=False):
        below += count
        assert below == sum(value <= bound for value in values)


@given(st.lists(st.integers(0, 20_000_000), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_a_bound_that_so_many_values_keep(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    bound = histogram.quantile(share)
    kept = len(values) if bound is None else sum(value <= bound for value in values)
    assert kept >= share * len(values) or bound is None
    assert Histogram().quantile(share) is None


def test_the_last_end_of_each_of_few_addresses_is_kept() -> None:
    tally = Tally()
    for number in range(ADDRESSES_MAX + 5):
        tally.dialled(f"/a/{number}", Dialled(Instant(number), "refused", "no", Micros(1)))
    tally.dialled("/a/9", Dialled(Instant(99), CONNECTED, "", Micros(1)))
    assert len(tally.addresses) == ADDRESSES_MAX
    assert "/a/0" not in tally.addresses
    assert list(tally.addresses)[-1] == "/a/9"
    assert tally.dials == {"refused": ADDRESSES_MAX + 5, CONNECTED: 1}

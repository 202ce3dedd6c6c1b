"""Shares of a masked round: told too early, by strangers, wrong; none of it ends a node."""

import pytest
from msgspec.structs import replace

from dpin.base.errors import PeerFault
from dpin.base.ids import Round
from dpin.base.machine import Send, Wake
from dpin.base.units import Instant, Tick
from dpin.compute.masked import masked_head
from dpin.compute.secagg.orders import Heads, MergeMasked, ReadHeads
from dpin.compute.secagg.settling import settle
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import RoundRecord
from dpin.market.unveiling import Unveiling, _valid
from tests.support.circles import Group, key_of, lease_of
from tests.support.jobs import market, proposed

COUNT = 8
SEATS = range(3)


def begun(group: Group) -> tuple[Unveiling, Heads]:
    """A closed round whose heads are being read, and what will be read."""
    files = {seat: group.update(seat, COUNT) for seat in SEATS}
    ledger = market()
    job = ledger.state.jobs[proposed(ledger, "buyer")]
    record = RoundRecord(Round(0), [lease_of(seat) for seat in SEATS], Tick(9))
    paths = {f"update {seat}": lease_of(seat) for seat in SEATS}
    made = Unveiling(job, record, WorkerId("w"), [group.circle], paths)
    [order] = made.follow(Instant(0))
    assert isinstance(order, Order)
    assert isinstance(order.command, ReadHeads)
    heads = tuple((f"update {seat}", masked_head(data, COUNT)) for seat, data in files.items())
    return made, Heads(Round(0), heads)


def test_what_is_told_before_the_heads_are_read_counts_and_what_is_wrong_of_it_does_not() -> None:
    group = Group(len(SEATS))
    made, heads = begun(group)
    found = {lease_of(seat): head for seat, (_, head) in enumerate(heads.heads) if head is not None}
    settled = settle(group.circle, found)
    first, second, third = (group.members[seat].reveal(settled) for seat in SEATS)
    with pytest.raises(PeerFault, match="another's name"):
        made.told(key_of(9).node_id, first)
    with pytest.raises(PeerFault, match="another's name"):
        made.told(key_of(0).node_id, second)
    made.told(key_of(0).node_id, first)
    made.told(key_of(1).node_id, second)
    owner, kind, _ = third.shares[0]
    made.told(key_of(2).node_id, replace(third, shares=((owner, kind, b"short"),)))
    made.read(heads)
    assert [one.heads.keys() for one in made.settled] == [found.keys()]
    with pytest.raises(PeerFault, match="nobody may tell"):
        made.told(key_of(2).node_id, replace(third, shares=((owner, kind, b"short"),)))
    made.told(key_of(2).node_id, third)
    [order] = made.follow(Instant(1))
    assert isinstance(order, Order)
    assert isinstance(order.command, MergeMasked)


def test_nothing_is_merged_while_a_secret_is_missing_and_it_is_asked_for() -> None:
    group = Group(len(SEATS))
    made, heads = begun(group)
    made.read(heads)
    found = {lease_of(seat): head for seat, (_, head) in enumerate(heads.heads) if head is not None}
    settled = settle(group.circle, found)
    made.told(key_of(0).node_id, group.members[0].reveal(settled))
    effects = [*made.follow(Instant(1))]
    assert [type(effect) for effect in effects] == [Send] * len(SEATS) + [Wake]
    made.told(key_of(1).node_id, group.members[1].reveal(settled))
    [order] = made.follow(Instant(2))
    assert isinstance(order, Order)
    assert [*made.follow(Instant(3))] == []


def test_a_head_that_nobody_honest_writes_counts_as_none() -> None:
    group = Group(4)
    files = {seat: group.update(seat, COUNT) for seat in range(4)}
    found = group.heads(files, COUNT)
    found[lease_of(3)] = replace(found[lease_of(3)], steps=0)
    assert sorted(_valid(group.circle, found)) == [lease_of(seat) for seat in range(3)]
    stranger = {**found, lease_of(9): found[lease_of(0)]}
    assert sorted(_valid(group.circle, stranger)) == [lease_of(seat) for seat in range(3)]

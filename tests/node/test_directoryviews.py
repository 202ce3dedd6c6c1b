"""What is shown of the directory: how full the table is, and who keeps the own records."""

import trio
from trio.testing import MockClock

from dpin.base.ids import BlobId, Digest
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.cli.netpictures import network_view_text
from dpin.net.records import Key
from dpin.node.copies import KEPT_MAX, By, Copies, Copy
from dpin.node.directoryviews import directory_view
from dpin.node.kadcare import EXPLORE_FIRST_SECONDS, PUT_FIRST_SECONDS, PUT_PAUSE_SECONDS
from dpin.node.kaddoor import LOOKUP_SECONDS
from tests.node.test_whereabouts import BLOB, KEYS, now, street
from tests.support.fake_control import FakeControl

UNHEARD = BlobId(bytes([1]) * 32)


def key(number: int) -> Key:
    return Key(Digest(number.to_bytes(32)))


async def test_the_view_says_how_far_lookups_and_own_records_got(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with street() as nodes:
        giver, me = nodes[5].whereabouts, KEYS[5].node_id
        for other in nodes[:2]:  # It dialled them.
            nodes[5].proved[other.host.node_id] = other.host.addresses[0]
        early = directory_view(giver, me)
        assert early.explored_ms is None
        assert {copy.by for copy in early.own} == {"messages"}
        giver.provide(BLOB)
        await trio.sleep(EXPLORE_FIRST_SECONDS + PUT_FIRST_SECONDS)
        await trio.sleep(PUT_PAUSE_SECONDS + 2 * LOOKUP_SECONDS)
        view = directory_view(giver, me)
        assert view.explored_ms is not None
        assert view.explored_ms <= now() // MICROS_PER_MILLI
        assert view.nodes == sum(view.buckets) == len(giver.directory.keeper.table) > 0
        assert view.buckets[-1] > 0
        assert view.kept == len(giver.directory.shelf) > 0
        assert [(copy.what, copy.by) for copy in view.own] == [
            ("addresses", "kad"),
            ("addresses", "messages"),
            (BLOB.hex(), "kad"),
            (BLOB.hex(), "messages"),
        ]
        for copy in view.own:
            assert copy.copies > 0
            assert 0 <= now() // MICROS_PER_MILLI - copy.at_ms < 10 * 60_000


async def test_what_is_no_longer_told_is_no_longer_shown(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with street() as nodes:
        giver, me = nodes[5].whereabouts, KEYS[5].node_id
        giver.provide(BLOB)
        await trio.sleep(1)
        assert BLOB.hex() in {copy.what for copy in directory_view(giver, me).own}
        del giver.provided[BLOB]
        assert {copy.what for copy in directory_view(giver, me).own} == {"addresses"}


def test_of_all_copies_the_newest_are_remembered_once_each() -> None:
    copies = Copies()
    for number in range(KEPT_MAX + 10):
        copies.note(Copy(key(number), By.KAD, 0, Instant(number)))
    copies.note(Copy(key(KEPT_MAX), By.KAD, 3, Instant(KEPT_MAX + 10)))
    kept = list(copies)
    assert len(kept) == KEPT_MAX
    assert kept[0].key == key(10)
    assert [copy.copies for copy in kept if copy.key == key(KEPT_MAX)] == [3]


def test_people_read_it_in_three_lines() -> None:
    lines = network_view_text(FakeControl().network()).splitlines()
    [table] = [line for line in lines if line.startswith("directory")]
    assert "5 nodes reached in 2 of 3 buckets, looked around " in table
    assert table.endswith("; keeps 7 records")
    [told] = [line for line in lines if line.startswith("told ") and "blob" in line]
    assert "addresses kept by 4 nodes, " in told
    assert "0 of 1 blob, the oldest " in told
    assert any(line.startswith("told kad   addresses kept by 1 node, ") for line in lines)

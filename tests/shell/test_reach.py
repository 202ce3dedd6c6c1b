"""How machines connect across routers and firewalls, in network namespaces of the test's own."""

import pytest

from dpin.net.reach import Way
from tests.support.boxes import box, meet
from tests.support.namespaces import Kind, internet, missing

REASON = missing()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.mark.parametrize(
    ("dials", "dialled", "way"),
    [
        (Kind.PUBLIC, Kind.RESTRICTED, Way.DIRECT),
        (Kind.RESTRICTED, Kind.RESTRICTED, Way.PUNCHED),
        (Kind.IPV6_ONLY, Kind.SYMMETRIC, Way.RELAYED),
    ],
)
def test_two_machines_that_know_one_relay_connect(dials: Kind, dialled: Kind, way: Way) -> None:
    # Of a connection that stays relayed one has to see that it does; others end the wait.
    patience = 6.0 if way is Way.RELAYED else 60.0
    with (
        internet() as world,
        box(world, Kind.PUBLIC, 1) as relay,
        box(world, dials, 2) as one,
        box(world, dialled, 3) as other,
    ):
        assert meet(one, other, relay, patience) == way
        assert one.says(other, b"good day")
        assert other.says(one, b"good day to you")

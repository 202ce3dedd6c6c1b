"""The port that a stock router opens: asked for, used from outside, and given back."""

from pathlib import Path

import pytest

from dpin.net.address import node_in
from dpin.net.reach import Way
from tests.support.boxes import box, wait_for
from tests.support.namespaces import Kind, internet, missing
from tests.support.upnp import Mapped, Router, missing_router

PORT = 4610
REASON = missing() or missing_router()
pytestmark = [pytest.mark.process, pytest.mark.skipif(bool(REASON), reason=REASON)]


def test_a_stock_router_lets_in_who_dials_the_port_that_it_was_asked_for(tmp_path: Path) -> None:
    with internet() as world, box(world, Kind.PUBLIC, 1) as outside:
        machine = world.machine(Kind.RESTRICTED)
        router = Router(world.router_of(machine))
        with router.running(tmp_path):
            inside = Mapped(machine)
            try:
                address = inside.address()
                assert router.passes_on(PORT)
                outside.call(outside.host.dial, address)
                node = node_in(address)
                assert node is not None
                assert outside.now(outside.host.routes.way, node) is Way.DIRECT
                outside.now(outside.host.send, node, b"good day")
                assert wait_for(lambda: b"good day" in outside.received, 30.0)
            finally:
                inside.close()
            assert not router.passes_on(PORT)

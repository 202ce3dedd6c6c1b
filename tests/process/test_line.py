"""How fast a line is, as a node finds out from a transfer."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from dpin.client.client import Client
from scripts.demo_network import DemoNode
from tests.support.network import Town, run, told, wait_ready

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(900)]

LIMIT: Final = 2_000_000  # bytes a second
BYTES: Final = 20_000_000


@pytest.fixture
def slow(network: Town) -> Iterator[DemoNode]:
    """A provider whose line takes no more than LIMIT up; as it was afterwards."""
    bea = network.bea
    bea.stop()
    bea.environment["DPIN_NETWORK__UPLOAD"] = f"{LIMIT}B"
    bea.start()
    wait_ready(bea)
    yield bea
    bea.stop()
    del bea.environment["DPIN_NETWORK__UPLOAD"]
    bea.start()
    wait_ready(bea)


def test_both_ends_of_a_transfer_know_the_rate_of_its_line(
    network: Town, slow: DemoNode, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(os.urandom(BYTES))
    blob = told(slow, "blob", "put", str(tmp_path / "big"))["blob"]
    done = run(network.ada, "blob", "get", str(blob), "--from", slow.node_id)
    assert done.returncode == 0, done.stderr
    with Client(slow.home) as giver, Client(network.ada.home) as taker:
        up, down = giver.network().line_up, taker.network().line_down
    # On a busy machine less may come in any four seconds; never much more.
    assert 0.2 * LIMIT < up < 1.3 * LIMIT
    assert 0.2 * LIMIT < down < 1.3 * LIMIT

"""Four real processes go from epoch to epoch, through `kill -9` and a member that is long away."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest

from dpin.base.codec import encode
from dpin.ledger.genesis import read
from dpin.node.status import NodeView
from scripts.demo_network import DemoNode, dpin, invite_to, join, make_nodes, wait_for
from tests.support.network import (
    PATIENCE_SECONDS,
    agreed,
    assert_conserved,
    assert_signed_once,
    pay,
    with_short_chains,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

EPOCH_MS: Final = 6_000
NAMES: Final = ("eva", "fay", "gus", "hal")


def shorten(first: DemoNode) -> None:
    """Epochs of seconds: the command line knows presets alone."""
    genesis = read(first.home.genesis.read_bytes())
    rules = msgspec.structs.replace(genesis.params, epoch_ms=EPOCH_MS)
    first.home.genesis.write_bytes(encode(msgspec.structs.replace(genesis, params=rules)))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[DemoNode]]:
    """Four validators that provide nothing."""
    folder: Path = tmp_path_factory.mktemp("quick")
    with_short_chains(folder, NAMES)
    nodes = make_nodes(folder, [(name, "1", False) for name in NAMES])
    first, others = nodes[0], nodes[1:]
    try:
        cards = [word for node in others for word in ("--validator", node.card)]
        dpin("net", "create", "quick", "--home", first.folder, *cards)
        shorten(first)
        first.start()
        invite = invite_to(first)
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(join, invite=invite), others))
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def in_epoch(node: DemoNode, epoch: int) -> NodeView | None:
    """The node once it is that far and a certificate covers something of that epoch."""
    view = node.look()
    return view if view is not None and view.ledger.epoch >= epoch else None


def wait_epoch(node: DemoNode, epoch: int) -> NodeView:
    found: NodeView = wait_for(
        f"{node.name} is in epoch {epoch}", PATIENCE_SECONDS, partial(in_epoch, node, epoch)
    )
    return found


def test_epochs_end_while_members_are_killed_and_come_back(quick: Sequence[DemoNode]) -> None:
    eva, fay, gus, hal = quick
    first = wait_epoch(eva, 1).ledger.epoch
    pay(eva, fay, "1.5")
    hal.kill()  # It misses the ends of two epochs.
    wait_epoch(eva, first + 1)
    pay(fay, gus, "2.5")
    gus.kill()  # And with two gone there is no quorum,
    gus.start()  # until it is back from its log.
    wait_epoch(gus, first + 2)
    pay(gus, eva, "0.5")
    hal.start()
    assert wait_epoch(hal, first + 2).ledger.validator
    pay(hal, eva, "3")
    views = agreed(quick)
    assert len({(view.ledger.root_height, view.ledger.root) for view in views}) == 1
    for view in views:
        assert_conserved(view)
        assert 0 < view.ledger.certified <= view.ledger.height
    assert_signed_once(quick)

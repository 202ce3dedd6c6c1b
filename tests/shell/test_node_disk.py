"""A whole node whose disk gives up ends at once; started again, it signs nothing twice."""

import errno
import os
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from dpin.base.codec import decode
from dpin.base.errors import Unavailable
from dpin.compute.task import Report
from dpin.ledger.annals import OWN
from dpin.ledger.annals import Record as Logged
from dpin.ledger.blocks import read_block
from dpin.node.control import Control
from dpin.node.driver import NodeOptions, run_node
from dpin.node.foreman import Foreman
from dpin.node.home import Home, home_in, prepare, write_network
from dpin.node.invite import Invite
from dpin.node.ownrecords import Owner
from dpin.node.settings import NetworkSection, Settings
from dpin.storage.frames import scan
from tests.support.cluster import network
from tests.support.files import files_limited_to
from tests.support.hosts import PATIENCE_SECONDS, until

FURTHER = 5  # blocks
SEED = sha256(b"cluster 0").digest()
QUIET = Settings(network=NetworkSection(mdns=False, relay=False, upnp=False))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A network of one, without a device."""

    async def none(*_about: object) -> Report:
        raise Unavailable("no device here")

    monkeypatch.setattr(Foreman, "ask_once", none)
    found = home_in(tmp_path, tmp_path / "config.toml")
    prepare(found)
    write_network(found, Invite(network(1)[0], ()))
    return found


async def run(home: Home) -> None:
    """Run the node until its disk gives up: Unavailable."""

    async def ready(_control: Control) -> None:
        pass

    try:
        with trio.fail_after(PATIENCE_SECONDS):
            await run_node(NodeOptions(home, QUIET, SEED, "", "test"), ready)
    except BaseExceptionGroup as several:
        given_up = several.subgroup(Unavailable)
        if given_up is None:
            raise
        raise Unavailable(str(given_up.exceptions[0])) from several


async def run_on(home: Home) -> None:
    """Run the node until it has signed some more blocks."""
    before = len(rounds(home))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, home)
        await until(lambda: len(rounds(home)) > before + FURTHER)
        nursery.cancel_scope.cancel()


def rounds(home: Home) -> list[int]:
    """Of the own blocks in the log."""
    found = []
    for path in sorted(home.ledger_log.glob("*.log")):
        for record in scan(path.read_bytes()).records:
            if record.body[0] == Owner.LEDGER:
                logged = decode(Logged, record.body[1:])
                if logged.kind == OWN:
                    found.append(int(read_block(logged.body).round))
    return found


def fail_after(count: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every sync but the first ones fails; returns what was synced, as it comes."""
    seen: list[int] = []
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        seen.append(descriptor)
        if len(seen) > count:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return seen


async def test_a_failing_sync_ends_a_node_that_signs_nothing_twice_later(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        seen = fail_after(3, patch)
        with pytest.raises(Unavailable, match="Input/output error"):
            await run(home)
    assert len(seen) == 4  # A sync that has failed is never tried again.
    before = rounds(home)
    assert before
    await run_on(home)
    after = rounds(home)
    assert len(after) > len(before)
    assert after == sorted(set(after))


async def test_a_full_disk_ends_a_node_that_signs_nothing_twice_later(home: Home) -> None:
    await run_on(home)
    before = rounds(home)
    size = sum(path.stat().st_size for path in home.ledger_log.iterdir())
    with files_limited_to(size + 700), pytest.raises(Unavailable, match="cannot write the log"):
        await run(home)
    await run_on(home)
    after = rounds(home)
    assert len(after) > len(before)
    assert after == sorted(set(after))

"""When a node looks for devices: that takes torch, and so seconds and memory."""

from hashlib import sha256
from pathlib import Path

import pytest
import trio
import trio.testing

from dpin.base.errors import Unavailable
from dpin.compute.task import Report
from dpin.node.control import Control
from dpin.node.driver import NodeOptions, run_node
from dpin.node.foreman import Foreman
from dpin.node.home import home_in, prepare, write_network
from dpin.node.invite import Invite
from dpin.node.settings import NetworkSection, Settings, ShareSection
from tests.support.cluster import network
from tests.support.hosts import until

SEED = sha256(b"cluster 0").digest()
QUIET = NetworkSection(mdns=False, relay=False, upnp=False)


@pytest.mark.parametrize(
    ("share", "detail"),
    [
        (ShareSection(provide=True), "no device here"),
        (ShareSection(provide=False), "not looked for until it gives a job"),
    ],
)
async def test_who_provides_nothing_looks_for_no_device_before_it_needs_one(
    share: ShareSection, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def none(_self: Foreman, command: object) -> Report:
        asked.append(command)
        raise Unavailable("no device here")

    monkeypatch.setattr(Foreman, "ask_once", none)
    home = home_in(tmp_path, tmp_path / "config.toml")
    prepare(home)
    write_network(home, Invite(network(1)[0], ()))
    settings = Settings(network=QUIET, share=share)
    said: list[str] = []

    async def ready(control: Control) -> None:
        def about_devices() -> list[str]:
            return [check.detail for check in control.checks() if check.name == "device"]

        await until(lambda: about_devices() == [detail] and len(asked) == share.provide)
        await trio.testing.wait_all_tasks_blocked(0.05)
        said.extend(about_devices())
        scope.cancel()

    with trio.CancelScope() as scope:
        await run_node(NodeOptions(home, settings, SEED, "", "test"), ready)
    assert len(asked) == share.provide
    assert said == [detail]

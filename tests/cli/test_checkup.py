"""What `dpin doctor` finds without a node: each condition is made for real."""

import errno
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dpin.base.errors import Unavailable
from dpin.cli.checkup import all_checks
from dpin.node.home import Home, home_in, prepare, write_config
from dpin.node.status import Check


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = home_in(tmp_path / "home", tmp_path / "home" / "config.toml")
    prepare(made)
    return made


def check(home: Home, name: str) -> Check:
    [found] = [one for one in all_checks(home) if one.name == name]
    return found


def test_a_port_in_use_is_named_with_how_to_find_who_uses_it(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        write_config(home, f'[network]\nlisten = ["/ip4/127.0.0.1/tcp/{port}"]\n')
        found = check(home, "port")
        assert (found.verdict, found.detail) == (
            "fail",
            f"port {port} is in use by another program",
        )
        assert f"sport = :{port}" in found.fix
    assert check(home, "port").detail == f"{port} free"


def test_an_address_that_the_machine_lacks_is_named(home: Home) -> None:
    write_config(home, '[network]\nlisten = ["/ip4/203.0.113.9/tcp/4610"]\n')
    found = check(home, "port")
    assert found.verdict == "fail"
    assert "cannot listen on 203.0.113.9" in found.detail
    assert "network.listen" in found.fix


def test_without_a_fixed_port_none_is_tried(home: Home) -> None:
    assert check(home, "port").verdict == "ok"


def test_what_this_user_may_not_read_is_a_finding_with_a_fix_and_no_end_of_the_others(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_home: Home) -> None:
        raise Unavailable(f"{home.root}: Permission denied") from PermissionError(errno.EACCES, "")

    for name in ("read_config", "key_text", "read_network", "read_running"):
        monkeypatch.setattr(f"dpin.cli.checkup.{name}", refused)
    monkeypatch.setattr("dpin.client.connection.read_running", refused)
    found = {one.name: one for one in all_checks(home)}
    for name in ("config", "key", "network", "port", "node"):
        assert found[name].verdict == "fail"
        assert "chown" in found[name].fix
    assert found["disk"].fix != found["key"].fix


TINY = (
    "mount -t tmpfs -o size=1m tmpfs {folder} && "
    "{python} -m dpin doctor --json --home {folder}/home"
)


def test_a_config_that_is_not_there_is_not_said_to_lie_anywhere(home: Home) -> None:
    assert check(home, "config").detail == "none: every setting is the default"
    write_config(home, "")
    assert check(home, "config").detail == str(home.config)


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare: a file system of 1 MB cannot be mounted")
    line = TINY.format(folder=tmp_path, python=sys.executable)
    done = subprocess.run(  # noqa: S603  # Our own words.
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", line],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if not done.stdout:
        pytest.skip(f"a file system of 1 MB cannot be mounted: {done.stderr.strip()[:200]}")
    [found] = [one for one in json.loads(done.stdout)["checks"] if one["name"] == "disk"]
    assert found["verdict"] == "fail"
    assert found["detail"].startswith("the disk is full: ")
    assert "--home" in found["fix"]

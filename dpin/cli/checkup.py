"""What can be checked without a node, and what its node says. Each part fails alone."""

import errno
import os
import shutil
import socket
import sys
from collections.abc import Callable
from typing import Final

from dpin.base.errors import DpinError, Misuse, Unavailable
from dpin.cli.exits import Known
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.home import Home, key_text, read_config, read_network, read_running
from dpin.node.keyfile import account_of, is_sealed
from dpin.node.settings import Layers, resolve
from dpin.node.status import Check

_PYTHONS: Final = ((3, 11), (3, 13))
_DISK_LOW_BYTES: Final = 5_000_000_000
_DISK_FULL_BYTES: Final = 100_000_000


def all_checks(home: Home) -> list[Check]:
    """Every check there is, the machine's first."""
    local: tuple[tuple[str, Callable[[Home], str]], ...] = (
        ("python", _python),
        ("config", _config),
        ("key", _key),
        ("network", _network),
        ("disk", _disk),
        ("port", _port),
    )
    return [*(_checked(name, look, home) for name, look in local), *_node(home)]


def _checked(name: str, look: Callable[[Home], str], home: Home) -> Check:
    try:
        return Check(name=name, verdict="ok", detail=look(home), fix="")
    except (DpinError, ClientError) as problem:
        return _failed(name, problem)


def _failed(name: str, problem: Known) -> Check:
    fix = problem.fix if isinstance(problem, Misuse | ClientError | Unavailable) else ""
    return Check(name=name, verdict="fail", detail=str(problem), fix=fix)


def _python(_home: Home) -> str:
    found = sys.version_info[:2]
    if not _PYTHONS[0] <= found <= _PYTHONS[1]:
        raise Misuse(f"Python {found[0]}.{found[1]}", fix="use Python 3.11, 3.12 or 3.13")
    return ".".join(map(str, sys.version_info[:3]))


def _config(home: Home) -> str:
    resolve(Layers(read_config(home), str(home.config), os.environ))
    return str(home.config) if home.config.exists() else "none: every setting is the default"


def _key(home: Home) -> str:
    text = key_text(home)
    account_of(text)
    return f"{home.key}, mode 0600, {'encrypted' if is_sealed(text) else 'not encrypted'}"


def _network(home: Home) -> str:
    return read_network(home).genesis.name


def _disk(home: Home) -> str:
    folder = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < _DISK_FULL_BYTES:
        raise Misuse(
            f"the disk is full: {free // 10**6} MB free on {folder}",
            fix="make room there, or move the node: another --home",
        )
    if free < _DISK_LOW_BYTES:
        raise Misuse(f"{free // 10**6} MB free on {folder}", fix="make room, or use another --home")
    return f"{free // 10**9} GB free"


def _port(home: Home) -> str:
    """Whether the node could listen where it is told to; a running one is asked itself."""
    if read_running(home) is not None:
        return "see listening"
    settings = resolve(Layers(read_config(home), str(home.config), os.environ)).settings
    wanted = [address.split("/") for address in settings.network.listen]
    for _, _, ip, _, port in wanted:
        if int(port):
            _try_port(ip, int(port))
    fixed = ", ".join(parts[4] for parts in wanted if int(parts[4]))
    return f"{fixed} free" if fixed else "a free one is taken at each start"


def _try_port(ip: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Misuse(
                    f"cannot listen on {ip}: {error.strerror}",
                    fix="set network.listen to an address of this machine: /ip4/0.0.0.0/tcp/4610",
                ) from None
            raise Misuse(
                f"port {port} is in use by another program",
                fix=f"stop it (ss -ltnp 'sport = :{port}' names it), "
                f"or set another port in network.listen",
            ) from None


def _node(home: Home) -> list[Check]:
    try:
        with Client(home) as node:
            view, checks = node.node(), node.checks()
    except ClientError as problem:
        return [Check(name="node", verdict="warn", detail=str(problem), fix=problem.fix)]
    except Unavailable as problem:  # Its address lies in the home, which cannot be read.
        return [_failed("node", problem)]
    detail = f"{view.state}, {view.peers} peers, {view.api}"
    return [Check(name="node", verdict="ok", detail=detail, fix=""), *checks]

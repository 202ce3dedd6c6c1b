"""What can be checked without a node, and what its node says. Each part fails alone."""

import os
import shutil
import sys
from collections.abc import Callable
from typing import Final

from dpin.base.errors import DpinError, Misuse
from dpin.cli.exits import Known
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.home import Home, key_text, read_config, read_network
from dpin.node.keyfile import account_of, is_sealed
from dpin.node.settings import Layers, resolve
from dpin.node.status import Check

_PYTHONS: Final = ((3, 11), (3, 13))
_DISK_LOW_BYTES: Final = 5_000_000_000


def all_checks(home: Home) -> list[Check]:
    """Every check there is, the machine's first."""
    local: tuple[tuple[str, Callable[[Home], str]], ...] = (
        ("python", _python),
        ("config", _config),
        ("key", _key),
        ("network", _network),
        ("disk", _disk),
    )
    return [*(_checked(name, look, home) for name, look in local), *_node(home)]


def _checked(name: str, look: Callable[[Home], str], home: Home) -> Check:
    try:
        return Check(name=name, verdict="ok", detail=look(home), fix="")
    except (DpinError, ClientError) as problem:
        return _failed(name, problem)


def _failed(name: str, problem: Known) -> Check:
    fix = problem.fix if isinstance(problem, Misuse | ClientError) else ""
    return Check(name=name, verdict="fail", detail=str(problem), fix=fix)


def _python(_home: Home) -> str:
    found = sys.version_info[:2]
    if not _PYTHONS[0] <= found <= _PYTHONS[1]:
        raise Misuse(f"Python {found[0]}.{found[1]}", fix="use Python 3.11, 3.12 or 3.13")
    return ".".join(map(str, sys.version_info[:3]))


def _config(home: Home) -> str:
    resolve(Layers(read_config(home), str(home.config), os.environ))
    return str(home.config)


def _key(home: Home) -> str:
    text = key_text(home)
    account_of(text)
    return f"{home.key}, mode 0600, {'encrypted' if is_sealed(text) else 'not encrypted'}"


def _network(home: Home) -> str:
    return read_network(home).genesis.name


def _disk(home: Home) -> str:
    folder = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < _DISK_LOW_BYTES:
        raise Misuse(f"{free // 10**6} MB free on {folder}", fix="make room, or use another --home")
    return f"{free // 10**9} GB free"


def _node(home: Home) -> list[Check]:
    try:
        with Client(home) as node:
            view, checks = node.node(), node.checks()
    except ClientError as problem:
        return [Check(name="node", verdict="warn", detail=str(problem), fix=problem.fix)]
    detail = f"{view.state}, {view.peers} peers, {view.api}"
    return [Check(name="node", verdict="ok", detail=detail, fix=""), *checks]

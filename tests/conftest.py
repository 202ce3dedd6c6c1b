"""Which tests share a worker when several run at a time."""

from collections.abc import Sequence
from typing import Final

import pytest

SHARED: Final = "network"  # the fixture of the network that most process tests ask


@pytest.hookimpl(tryfirst=True)  # Before xdist takes the groups down.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real processes keep together what they share: a network or a file's fixtures.

    For `--dist loadgroup`. The network's tests come first: they are the longest group.
    """
    for item in items:
        if item.get_closest_marker("process") is not None:
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: SHARED not in _fixtures(item))


def _group(item: pytest.Item) -> str:
    return SHARED if SHARED in _fixtures(item) else item.nodeid.partition("::")[0]


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()

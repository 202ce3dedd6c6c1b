"""One network for all process tests: founding it takes longer than most of them."""

from collections.abc import Iterator

import pytest

from tests.support.network import Town, town


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Four validators; a test that stops one of them starts it again."""
    with town(tmp_path_factory.mktemp("town")) as made:
        yield made

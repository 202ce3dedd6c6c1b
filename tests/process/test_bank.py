"""A bank on four real processes: cut, stalled, stopped and killed; its books are right.

`python -m scripts.bank` does so for as long as one likes.
"""

import time
from pathlib import Path
from typing import Final

import pytest

from tests.support.bank import faults
from tests.support.customers import NAMES, TROUBLES, bank, settle

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

TROUBLE_SECONDS: Final = 2.5
CALM_SECONDS: Final = 1.0


def test_the_books_are_right_whatever_befalls_the_nodes(tmp_path: Path) -> None:
    with bank(tmp_path, seed=1) as made:
        made.open()
        for trouble in TROUBLES:
            trouble(made)
            time.sleep(TROUBLE_SECONDS)
            made.heal()
            time.sleep(CALM_SECONDS)
        settle(made)
    history = made.history
    assert faults(history) == []
    acknowledged = [one for one in history.payments if one.height is not None]
    assert {one.sender for one in acknowledged} == set(NAMES)
    assert all(
        made.detours.carried[one, other] > 0 for one in NAMES for other in NAMES if one != other
    )

"""A bank on four real processes: cut, stalled, stopped and killed; its books are right.

`python -m scripts.bank` does so for as long as one likes.
"""

import time
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from scripts.demo_network import wait_for
from tests.support.bank import faults
from tests.support.customers import NAMES, TROUBLES, Bank, bank, settle
from tests.support.network import PATIENCE_SECONDS

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

TROUBLE_SECONDS: Final = 2.5
CALM_SECONDS: Final = 1.0


def all_served(made: Bank) -> bool | None:
    """Whether each has had a payment acknowledged."""
    acknowledged = [one for one in made.history.payments if one.height is not None]
    return {one.sender for one in acknowledged} == set(NAMES) or None


def test_the_books_are_right_whatever_befalls_the_nodes(tmp_path: Path) -> None:
    with bank(tmp_path, seed=1) as made:
        made.open()
        for trouble in TROUBLES:
            trouble(made)
            time.sleep(TROUBLE_SECONDS)
            made.heal()
            time.sleep(CALM_SECONDS)
        wait_for("every customer has been served", PATIENCE_SECONDS, partial(all_served, made))
        settle(made)
    history = made.history
    assert faults(history) == []
    assert all(
        made.detours.carried[one, other] > 0 for one in NAMES for other in NAMES if one != other
    )

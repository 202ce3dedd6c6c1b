"""100,000 transactions lead to the roots that are in the repository, on every machine.

Where a rule was changed on purpose: `python -m scripts.golden --write`, and say so in a fragment.
"""

import os
import subprocess
import sys

import pytest

from tests.support.golden import FILE, TRANSACTIONS, play

SHORT = "from tests.support.golden import play; print(play(3_000).text)"


def played_under(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", SHORT]
    done = subprocess.run(  # noqa: S603  This interpreter, with a constant for a program.
        command, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_nothing_follows_how_python_hashes() -> None:
    assert played_under("1") == played_under("2") == play(3_000).text + "\n"


@pytest.mark.timeout(600)
def test_the_golden_log_leads_to_the_golden_roots() -> None:
    assert f"transactions {TRANSACTIONS}\n" in FILE.read_text()
    assert play().text == FILE.read_text()

"""Four ledgers under everything that can happen: no divergence, nothing lost, progress after."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpin.base.codec import encode
from dpin.base.errors import Misuse
from dpin.sim.scenarios import NAMES, run

KEPT = [line.split() for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()]
SEEDS = range(1, 4)
PRINT = "from dpin.sim.scenarios import run; print(run('crash', 5).digest)"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_four_ledgers_stay_one_ledger(name: str, seed: int) -> None:
    report = run(name, seed)
    assert report.problems == []
    assert report.figures["committed"] == report.figures["transactions"] > 0


@pytest.mark.parametrize(("name", "seed"), KEPT)
def test_a_seed_that_once_failed_holds(name: str, seed: str) -> None:
    assert run(name, int(seed)).problems == []


def printed_under(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", PRINT]
    done = subprocess.run(  # noqa: S603  This interpreter, with a constant for a program.
        command, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_one_seed_is_one_history_in_every_process() -> None:
    assert printed_under("1") == printed_under("2") != ""


def test_another_seed_is_another_history() -> None:
    assert run("quiet", 1).digest != run("quiet", 2).digest


def test_a_report_can_be_written_down() -> None:
    assert encode(run("quiet", 1))


def test_a_name_that_nobody_gave_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(Misuse, match="no simulation 'war'") as refused:
        run("war", 1)
    assert "quiet" in refused.value.fix

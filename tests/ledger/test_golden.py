"""100,000 transactions lead to the roots that are in the repository, on every machine.

Where a rule was changed on purpose: `python -m scripts.golden --write`, and say so in a fragment.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import golden
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


def test_another_python_that_leads_to_other_roots_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {"3.98": Path("good"), "3.99": Path("bad")}
    roots = {Path("good"): FILE.read_text(), Path("bad"): FILE.read_text().replace("1", "2")}
    monkeypatch.setattr(golden, "found_pythons", others.items)
    monkeypatch.setattr(golden, "played_by", roots.__getitem__)
    assert golden.elsewhere() == 1
    assert capsys.readouterr().out == "Python 3.98: the same roots\nPython 3.99: OTHER ROOTS\n"
    del others["3.99"]
    assert golden.elsewhere() == 0


def test_where_there_is_no_other_python_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(golden, "VERSIONS", ("{}.{}".format(*sys.version_info),))
    assert golden.elsewhere() == 0
    assert "nothing was compared" in capsys.readouterr().out


def test_another_python_has_the_packages_of_the_lock() -> None:
    assert sorted(one.split("==")[0] for one in golden.locked()) == sorted(golden.NEEDED)

"""What `dpin privacy` says of a job is what happens to such a job."""

from pathlib import Path

import pytest

from dpin.base.errors import Misuse
from dpin.cli.sights import NOBODY, OWNED, REPLAY, SCORED, read_privacy

TRAIN = "type: train\ndata: {path: corpus}\n"
OWN_CODE = "type: train\ndata: {path: corpus}\nmodel: {module: net.py:build, context: 8}\n"
FEDERATED = "type: federated\ndata: {dataset: wards, eval: held.txt}\nmodel: tiny\n"
EVAL = "type: eval\nmodel: out\ndata: {path: corpus}\n"
NOISE = "privacy: {mode: dp, noise: 4, epsilon: 1}\nargs: {rounds: 50}\n"


def sights(tmp_path: Path, text: str) -> dict[str, object]:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    return read_privacy(file, [])


def test_the_units_of_an_open_job_are_done_again(tmp_path: Path) -> None:
    found = sights(tmp_path, TRAIN)
    assert found["verification"] == REPLAY
    assert "training loss" in str(found["the requester"])


@pytest.mark.parametrize("privacy", ["none", "secagg"])
def test_data_of_their_owners_are_seen_by_nobody_and_units_on_them_are_not_verified(
    tmp_path: Path, privacy: str
) -> None:
    found = sights(tmp_path, f"{FEDERATED}privacy: {privacy}\n")
    assert found["data"] == OWNED
    assert (found["verifiers"], found["verification"]) == (NOBODY, SCORED)


def test_units_of_own_code_are_not_verified(tmp_path: Path) -> None:
    found = sights(tmp_path, OWN_CODE)
    assert (found["verifiers"], found["verification"]) == (NOBODY, SCORED)


def test_an_evaluation_has_no_updates(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="only training jobs"):
        sights(tmp_path, EVAL)


def test_a_budget_that_does_not_last_is_refused_with_the_rounds_that_it_pays_for(
    tmp_path: Path,
) -> None:
    with pytest.raises(Misuse, match="more than the 1 that privacy"):
        sights(tmp_path, TRAIN + NOISE)

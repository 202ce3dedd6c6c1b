"""Modules of the requester's own that learn from a table and from pictures, by real nodes."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from dpin.compute import confine
from dpin.node.status import JobDetail
from scripts.demo_network import DPIN
from tests.process.test_jobs import job_file, shown, submit
from tests.support.network import PATIENCE_SECONDS, Town, ended, told
from tests.support.own_module import CODE

pytestmark = [
    pytest.mark.process,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(confine.missing()), reason=confine.missing()),
]

ROWS = 400
Rows = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
ARGS = "{rounds: 2, steps_per_round: 20, batch_size: 16, learning_rate: 0.2}"


class Unit(msgspec.Struct):
    """What an audit says of a unit that it has trained again, as far as it is looked at."""

    state: str


class Round(msgspec.Struct):
    """Likewise of a round."""

    state: str
    units: list[Unit]


class Audit(msgspec.Struct):
    """Likewise of a job."""

    verified: bool
    same_class: bool
    rounds: list[Round]


def table(folder: Path) -> Rows:
    """Two floats a row and what they come to, in a file; the rows."""
    folder.mkdir()
    draws = np.random.default_rng(1)
    floats = draws.normal(size=(ROWS, 2)).astype(np.float32)
    due = np.round(5 * floats[:, 0] - 3 * floats[:, 1])
    rows = np.column_stack((floats, due)).astype(np.float64)
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("a", "b", "sum"))
        writer.writerows((float(a), float(b), int(due)) for a, b, due in rows)
    return rows


def pictures(folder: Path) -> None:
    """Reddish pictures in one folder, bluish ones in another."""
    draws = np.random.default_rng(2)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(40):
            pixels = draws.integers(0, 120, size=(6, 5, 3), dtype=np.uint8)
            pixels[..., channel] += 130
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")


def ordered(network: Town, folder: Path, entry: str, data: str) -> str:
    """A job of one seat for a module in `folder`; its id."""
    (folder / "net.py").write_bytes(CODE)
    model, one = f"{{module: net.py:{entry}}}", "{nodes: 1, memory: 200MB}"
    return submit(network.ada, job_file(folder, data=data, model=model, args=ARGS, resources=one))


def assert_learnt(detail: JobDetail) -> None:
    """It is done and paid, unchecked, and the held-out loss has fallen."""
    assert detail.job.state == "done", detail.job.reason
    assert {"PAID:scored"} <= {*detail.verdicts} <= {"PAID:scored", "LAPSED:not-committed"}
    assert detail.holdout_before is not None
    assert detail.holdout_after is not None
    assert detail.holdout_after < 0.9 * detail.holdout_before


def test_modules_learn_from_a_table_and_pictures_and_anybody_does_their_rounds_again(
    network: Town, tmp_path: Path
) -> None:
    ada, dan = network.ada, network.nodes[3]
    rows = table(tmp_path / "rows")
    pictures(tmp_path / "looks")
    lines = ordered(network, tmp_path / "rows", "line", "{path: rows.csv, format: table}")
    looks = ordered(
        network, tmp_path / "looks", "looks", "{path: pictures, format: images, side: 4}"
    )
    for job in (lines, looks):
        assert_learnt(ended(ada, job))
    shown(ada, "fetch", lines, "--output", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "module.py").read_bytes() == CODE
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    wrong = rows[:, :2] @ weights["line.weight"][0] + weights["line.bias"] - rows[:, 2]
    assert float((wrong**2).mean()) < float((rows[:, 2] ** 2).mean())
    ledger = ended(ada, lines).job.ledger_id
    assert ledger is not None
    told(dan, "ledger", "export", str(tmp_path / "town.dpin"))
    shutil.copytree(ada.home.blobs, tmp_path / "blobs")
    found = audited(tmp_path, ledger)
    assert (found.verified, found.same_class) == (True, True)
    states = [one.state for one in found.rounds]
    assert states[-1] == "same"  # The lineage tells the last.
    assert set(states) <= {"same", "not told"}  # Nobody may have been in time for the first.
    assert {unit.state for one in found.rounds for unit in one.units} <= {"same"}


def audited(folder: Path, ledger: str) -> Audit:
    """What somebody without a node finds who has an archive and a folder of blobs."""
    home = folder / "stranger"
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    evidence = (
        "--ledger",
        "../town.dpin",
        "--blobs",
        "../blobs",
        "--result",
        "../copy",
        "--replay",
    )
    done = subprocess.run(  # noqa: S603  # our own program
        [*DPIN, "audit", ledger, *evidence, "--json"],
        cwd=home,
        env={**kept, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(home.iterdir())  # No home of a node was made, none was asked.
    return msgspec.json.decode(done.stdout, type=Audit)

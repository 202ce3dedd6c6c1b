"""A module of the requester's own, trained by real nodes that lock its code up."""

from pathlib import Path

import pytest

from dpin.compute import confine
from tests.process.test_jobs import drawn, job_file, submit
from tests.support.network import Town, ended
from tests.support.own_module import at_home

pytestmark = [
    pytest.mark.process,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(confine.missing()), reason=confine.missing()),
]


def test_a_module_of_ones_own_is_trained_paid_and_traced_to_its_code(
    network: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = network.ada
    (tmp_path / "net.py").write_bytes(at_home("/"))
    path = job_file(tmp_path, model="{module: net.py:build, context: 16}")
    detail = ended(ada, submit(ada, path))
    assert detail.job.state == "done", detail.job.reason
    units = [unit for lease in detail.leases for unit in lease.units]
    assert ("paid", "scored") in {(unit.state, unit.reason) for unit in units}
    out = tmp_path / "out"
    assert (out / "module.py").read_bytes() == at_home("/")
    assert "on the ledger" in drawn(out, ada, capsys)


def test_a_module_that_breaks_fails_its_job_before_anybody_is_asked(
    network: Town, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_bytes(at_home("/"))
    path = job_file(tmp_path, model="{module: net.py:calls_out, context: 16}")
    detail = ended(network.ada, submit(network.ada, path))
    assert detail.job.state == "failed"
    assert "PermissionError" in detail.job.reason
    assert not detail.leases

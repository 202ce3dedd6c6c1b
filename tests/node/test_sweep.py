"""Sweeps: a grid of values becomes job files that differ in them."""

import pytest

from dpin.base.errors import Misuse
from dpin.node.jobfile import TrainJob, read_job
from dpin.node.sweep import POINTS_MAX, points_of

TEXT = """\
type: train
data: {path: corpus}
output: made
sweep:
  args.learning_rate: [1e-3, 3e-3]
  outer: [auto]
  args.rounds: [4, 5, 6]
"""


def test_every_combination_is_a_job_with_a_folder_of_its_own() -> None:
    points = points_of(TEXT)
    jobs = [read_job(TEXT, sets=point.sets) for point in points]
    assert all(isinstance(job, TrainJob) for job in jobs)
    made = [
        (job.inner.learning_rate_ppm, job.rounds, job.output)
        for job in jobs
        if isinstance(job, TrainJob)
    ]
    assert made[:2] == [(1_000, 4, "made/1"), (1_000, 5, "made/2")]
    assert made[-1] == (3_000, 6, "made/6")
    assert len({output for _, _, output in made}) == len(points)


def test_a_file_without_a_grid_is_no_sweep() -> None:
    assert points_of("type: train\ndata: {path: corpus}\n") == []


def test_one_point_of_a_sweep_is_not_taken_for_all_of_it() -> None:
    with pytest.raises(Misuse, match=r"job.yaml:4: .* nothing says which args.learning_rate"):
        read_job(TEXT)


@pytest.mark.parametrize(
    "grid",
    ["3", "{}", "{args.rounds: 3}", "{args.rounds: []}", "{args.rounds: [[1]]}"],
)
def test_a_grid_that_is_none_is_refused(grid: str) -> None:
    with pytest.raises(Misuse) as refused:
        points_of(f"type: train\nsweep: {grid}\n")
    assert refused.value.fix.startswith("sweep: ")


def test_a_sweep_has_an_end() -> None:
    values = ", ".join(str(number) for number in range(POINTS_MAX + 1))
    with pytest.raises(Misuse, match="at most 64"):
        points_of(f"type: train\nsweep: {{args.rounds: [{values}]}}\n")

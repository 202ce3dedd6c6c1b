"""How long a step of training takes on this device, and what comes between two rounds of steps."""

from collections.abc import Callable
from typing import Final

import torch

from dpin.compute.aggregation.screen import read_offered, round_mean, screened
from dpin.compute.checkpoint import Start
from dpin.compute.course import Course
from dpin.compute.outer import write
from dpin.compute.safety import RobustSpec
from dpin.compute.state import initial_state
from dpin.compute.task import EncodingSpec, InnerSpec, ModelSpec
from dpin.compute.tensors import tensors_root
from dpin.compute.train import Trainer
from dpin.compute.updates import encode_update

WORK_PARAMETERS_MAX: Final = 1 << 23
SPREAD: Final = 1_103_515_245
SPREAD_TO: Final = 1 << 24
TIMED_STEPS: Final = 4
TIMED_MS: Final = 200  # more steps are taken until so much time has passed


def step_us(spec: ModelSpec, batch: int, device: str, clock_ms: Callable[[], int]) -> int:
    """Microseconds of a step on `batch` examples, after a first one that warms up; at least 1."""
    trainer = Trainer(spec, Course(InnerSpec(1, 0, 0, batch, 1), 1), device)
    trainer.load(Start(initial_state(spec, b"pace"), None))
    examples = torch.zeros(batch, spec.context + 1, dtype=torch.int64)
    trainer.step(examples, 0)
    began, steps = clock_ms(), 0
    while steps < TIMED_STEPS or clock_ms() - began < TIMED_MS:
        trainer.step(examples, 0)
        steps += 1
    return max(1, (clock_ms() - began) * 1000 // steps)


def work_us(
    parameters: int, seats: int, encoding: EncodingSpec, clock_ms: Callable[[], int]
) -> int:
    """Microseconds to write an update, and to read, screen and merge those of all seats, here.

    Reckoned from a part of a large model, after a first time that compiles what is compiled.
    """
    count = min(parameters, WORK_PARAMETERS_MAX)
    moved = torch.arange(count) * SPREAD % SPREAD_TO - SPREAD_TO // 2
    took = 0
    for _ in range(2):
        began = clock_ms()
        data = encode_update(write(encoding, moved, moved).update)
        parts = [(str(seat), data, 1, 0) for seat in range(seats)]
        offered, _ = read_offered(parts, encoding, count)
        screened(offered)
        mean = round_mean(RobustSpec(), offered, None, count)
        tensors_root({"all": mean})
        took = clock_ms() - began
    return took * 1000 * parameters // count

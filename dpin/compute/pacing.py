"""How long a step of training takes on this device."""

from collections.abc import Callable
from typing import Final

import torch

from dpin.compute.checkpoint import Start
from dpin.compute.course import Course
from dpin.compute.state import initial_state
from dpin.compute.task import InnerSpec, ModelSpec
from dpin.compute.train import Trainer

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

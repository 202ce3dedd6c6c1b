"""Whether a job's noise lasts for its rounds, asked before anything is proposed."""

import json
import os
import sys

import trio

from dpin.base.errors import Misuse, Unavailable
from dpin.compute.child import PACKAGE_ROOT
from dpin.compute.safety import PrivacySpec


async def check_spending(privacy: PrivacySpec, rounds: int) -> None:
    """Raises Misuse for a job that would spend more epsilon than it may; see compute.budget."""
    if not privacy.noised:
        return
    figures = (privacy.noise_ppm, rounds, privacy.epsilon_milli, privacy.delta_digits)
    ended = await trio.run_process(
        [sys.executable, "-P", "-m", "dpin.compute.budget", *map(str, figures)],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
    )
    if ended.returncode:
        raise Unavailable("the budget of privacy could not be reckoned")
    if ended.stdout:
        message, fix = json.loads(ended.stdout)
        raise Misuse(message, fix)

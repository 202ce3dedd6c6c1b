"""What a job's noise buys: epsilon after so many rounds, by the dp-accounting library.

Every client is reckoned to take part in every round: peers choose when they join, so no
amplification by sampling is claimed. The sum of discrete Gaussians is accounted as a Gaussian; the
difference (Kairouz et al. 2021, theorem 1) is far below what is printed while each participant's
noise has a deviation of many steps of the grid.

    python -m dpin.compute.budget NOISE_PPM ROUNDS EPSILON_MILLI DELTA_DIGITS

prints nothing, or why a job may not run and what to write instead, as JSON: the library takes a
second to load and 100 MB, which a node spends in a process of its own.
"""

import json
import sys
from importlib import import_module
from math import ceil
from typing import Final

from dpin.base.errors import Misuse
from dpin.base.units import MILLION
from dpin.compute.safety import PrivacySpec

ROUNDS_MAX: Final = 10_000


def epsilon(noise_ppm: int, rounds: int, delta: float) -> float:
    """Epsilon of so many rounds of noise of `noise_ppm` millionths of the clip."""
    # A second of start-up that only private jobs pay.
    events = import_module("dp_accounting")
    accountant = import_module("dp_accounting.rdp").RdpAccountant()
    accountant.compose(events.GaussianDpEvent(noise_ppm / MILLION), rounds)
    return float(accountant.get_epsilon(delta))


def rounds_within(privacy: PrivacySpec) -> int:
    """How many rounds the budget pays for; at most ROUNDS_MAX."""
    low, high = 0, ROUNDS_MAX
    while low < high:
        middle = (low + high + 1) // 2
        if spent(privacy, middle) <= privacy.epsilon_milli / 1000:
            low = middle
        else:
            high = middle - 1
    return low


def spent(privacy: PrivacySpec, rounds: int) -> float:
    """Epsilon of so many rounds of a job."""
    return epsilon(privacy.noise_ppm, rounds, 10.0**-privacy.delta_digits)


def epsilon_milli(privacy: PrivacySpec, rounds: int) -> int:
    """The same in thousandths, never less than it is; 0 for a job without noise."""
    return ceil(spent(privacy, rounds) * 1000) if privacy.noised else 0


def check_budget(privacy: PrivacySpec, rounds: int) -> None:
    """Raise Misuse where a differentially private job would spend more than it may."""
    if not privacy.noised:
        return
    used = spent(privacy, rounds)
    if used * 1000 > privacy.epsilon_milli:
        most = rounds_within(privacy)
        raise Misuse(
            f"{rounds} rounds spend an epsilon of {used:.2f}, more than the "
            f"{privacy.epsilon_milli / 1000:g} that privacy.epsilon allows",
            fix=f"args.rounds: {most}, or more noise" if most else "more noise, or more budget",
        )


if __name__ == "__main__":
    _noise, _rounds, _epsilon, _digits = map(int, sys.argv[1:])
    try:
        check_budget(PrivacySpec("dp", 0, 0, _noise, _epsilon, _digits), _rounds)
    except Misuse as refused:
        sys.stdout.write(json.dumps([str(refused), refused.fix]))

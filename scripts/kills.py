"""Kill somebody after each step of a simulated job, one job a step, and name the steps that fail.

    python -m scripts.kills --every 1

Exits with 1 when survivors disagree, the job does not come to its end, or an innocent is convicted.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from time import monotonic

from dpin.sim.kills import ROLES, Kill, steps_of


def problems(role: str, seed: int, step: int) -> tuple[int, str, Sequence[str]]:
    """After what somebody was killed, and what is wrong then."""
    kill = Kill(role, step, seed)
    found = kill.play().problems
    return step, kill.killer.killed, found


def tried(role: str, seed: int, every: int, processes: int) -> int:
    """How many of the steps fail."""
    began, steps, bad = monotonic(), range(0, steps_of(role, seed), every), 0
    with ProcessPoolExecutor(processes) as pool:
        for step, effect, found in pool.map(partial(problems, role, seed), steps):
            if found:
                bad += 1
                sys.stdout.write(f"{role}, step {step} ({effect}): {found[0]}\n")
                sys.stdout.flush()
    spent = monotonic() - began
    sys.stdout.write(f"{role}: killed after {len(steps)} steps, {bad} failed, {spent:.0f} s\n")
    return bad


def main() -> int:
    """Try the steps that were asked for, on so many processes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--role", choices=sorted(ROLES), help="who is killed; else all in turn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="try every so many-th step")
    parser.add_argument("--processes", type=int, default=2)
    wanted = parser.parse_args()
    roles = [wanted.role] if wanted.role else sorted(ROLES)
    bad = [tried(role, wanted.seed, wanted.every, wanted.processes) for role in roles]
    return 1 if any(bad) else 0


if __name__ == "__main__":
    raise SystemExit(main())

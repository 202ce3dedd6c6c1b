"""Play many worlds of troubles and liars, and name the seeds that fail.

    python -m scripts.nemesis --seeds 10000 --first 1000

Exits with 1 when a seed failed. A failing seed belongs into tests/sim/seeds.txt for good.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from time import monotonic

from dpin.sim.scenarios import NAMES, run

CHUNK = 5


def problems(name: str, seed: int) -> tuple[int, Sequence[str]]:
    """What is wrong with one seed."""
    return seed, run(name, seed).problems


def main() -> int:
    """Play the seeds that were asked for, on so many processes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--name", default="nemesis", choices=NAMES, help="which simulation")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds")
    parser.add_argument("--processes", type=int, default=2)
    wanted = parser.parse_args()
    seeds = range(wanted.first, wanted.first + wanted.seeds)
    began, failed = monotonic(), 0
    with ProcessPoolExecutor(wanted.processes) as pool:
        for seed, found in pool.map(partial(problems, wanted.name), seeds, chunksize=CHUNK):
            if found:
                failed += 1
                sys.stdout.write(f"{wanted.name} {seed}: {found[0]}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{len(seeds)} seeds, {failed} failed, {monotonic() - began:.0f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

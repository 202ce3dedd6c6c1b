"""A bank on four real nodes under cuts, stops and kills for as long as one likes; then its books.

    python -m scripts.bank --minutes 10 --seed 3

Exits with 1 when a book is wrong. The books are checked as tests/support/bank.py says.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from tests.support.bank import faults
from tests.support.customers import TROUBLES, Bank, bank, settle


def trouble(made: Bank, minutes: float) -> None:
    """One or two troubles at a time, and a moment of calm after them."""
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for befall in made.chance.sample(TROUBLES, made.chance.randrange(1, 3)):
            befall(made)
            time.sleep(made.chance.uniform(0.5, 6))
        made.heal()
        time.sleep(made.chance.uniform(0.5, 3))


def main() -> int:
    """Open a bank, let it suffer, and look at its books."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the troubles")
    parser.add_argument("--folder", type=Path, help="where the nodes live; kept")
    wanted = parser.parse_args()
    folder = wanted.folder or Path(mkdtemp(prefix="dpin-bank-"))
    with bank(folder, wanted.seed) as made:
        made.open()
        trouble(made, wanted.minutes)
        settle(made)
    found = faults(made.history)
    heard = sum(1 for one in made.history.payments if one.height is not None)
    asked, made_ = len(made.history.payments), sum(it.done for it in made.history.longest)
    sys.stdout.write("".join(f"{fault}\n" for fault in found))
    sys.stdout.write(f"{asked} payments, {heard} acknowledged, {made_} made, {len(found)} faults\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())

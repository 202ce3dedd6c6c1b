"""What it costs when participants come and go: `python -m benchmarks.churn [--share 30]`.

A small model, eight seats, twenty rounds, one process, no network. In each round each seat is away
with the given probability: killed in the middle of its unit, so its update is missing and its
optimizer's state is lost, as for a replacement. The figure is the held-out loss over that of the
same seats without churn, for some draws of who is away.
"""

import argparse
from typing import Final

import torch

from benchmarks.local import load, show
from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.compute.aggregation.screen import Offered, round_mean, screened
from dpin.compute.rules import rule_of
from tests.support.attacks import Arena, manifest

LIMIT: Final = 1.02
SEATS: Final = 8
ROUNDS: Final = 20
MILLION: Final = 1_000_000


class Churned(Arena):
    """An arena whose seats may lose what they hold."""

    def forget(self, seat: int) -> None:
        """The seat's optimizer starts anew."""
        self._moments.pop(seat, None)


def final_loss(share_ppm: int, draw: int, rounds: int) -> tuple[float, int]:
    """Held-out loss after the rounds, and how many units were lost."""
    arena, lost = Churned(manifest(SEATS, rounds)), 0
    for round_ in range(rounds):
        updates = []
        for seat in range(SEATS):
            if Chance(encode(("churn", draw, round_, seat))).below(MILLION) < share_ppm:
                arena.forget(seat)
                lost += 1
            else:
                updates.append(arena.trained(seat))
        kept = screened([Offered(str(at), one, 1) for at, one in enumerate(updates)]).kept
        mean = round_mean(arena.job.robust, kept, None, len(arena.state.parameters))
        arena.state = rule_of(arena.job).next(arena.state, mean)
    return arena.loss(), lost


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=30, help="per cent of the units that are lost")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="one draw, two rounds, for tests")
    given = parser.parse_args()
    rounds, draws = (2, 1) if given.short else (ROUNDS, given.draws)
    torch.set_num_threads(1)
    steady, none = final_loss(0, 0, rounds)
    assert none == 0, "a unit was lost without churn"
    rows = [("load before", load(), ""), ("no churn", f"{steady:.4f} nats a byte", "")]
    for draw in range(draws):
        loss, lost = final_loss(given.share * MILLION // 100, draw, rounds)
        share = 100 * lost / (SEATS * rounds)
        figure = f"{loss:.4f}: {loss / steady:.4f} times"
        rows.append((f"{lost} units lost, {share:.0f} %", figure, f"at most {LIMIT} times"))
    show(f"Churn: {SEATS} seats, {rounds} rounds", rows)


if __name__ == "__main__":
    main()

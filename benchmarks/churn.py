"""What it costs when participants come and go: `python -m benchmarks.churn [--share 30]`.

A small model, eight seats, twenty rounds, one process, no network; held-out loss over that of the
same seats without churn, for some draws of who is away. In each round each seat is away with the
given probability, and what becomes of its unit is what becomes of it in a job:

killed   its process or machine is gone: the update is lost, and the optimizer's state, for the
         lease ends, and whoever takes the seat in the next round begins with zeros
late     it was cut off, or too slow: the update is committed after its round has closed and merged
         with the next one, by its age (a third of the weight); the lease goes on

Jobs whose units nobody can replay drop what is late; killed is an upper bound for them.
"""

import argparse
import statistics
from collections.abc import Sequence
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
WAYS: Final = ("killed", "late")


class Churned(Arena):
    """An arena whose seats may lose what they hold, and whose updates may come late."""

    _late: tuple[Offered, ...] = ()

    def round(self, away: Sequence[bool], way: str) -> None:
        """One round, in which these seats are away."""
        offered, late = [], []
        for seat, is_away in enumerate(away):
            if is_away and way == "killed":
                self._moments.pop(seat, None)
            elif is_away:
                late.append(Offered(f"late {seat}", self.trained(seat), 1, age=1))
            else:
                offered.append(Offered(str(seat), self.trained(seat), 1))
        kept = screened([*offered, *self._late]).kept
        self._late = tuple(late)
        mean = round_mean(self.job.robust, kept, None, len(self.state.parameters))
        self.state = rule_of(self.job).next(self.state, mean)


def final_loss(share_ppm: int, draw: int, rounds: int, way: str) -> tuple[float, int]:
    """Held-out loss after the rounds, and how many units did not come in time."""
    arena, missed = Churned(manifest(SEATS, rounds)), 0
    for round_ in range(rounds):
        draws = (Chance(encode(("churn", draw, round_, seat))) for seat in range(SEATS))
        away = [one.below(MILLION) < share_ppm for one in draws]
        arena.round(away, way)
        missed += sum(away)
    return arena.loss(), missed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=30, help="per cent of the units")
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--short", action="store_true", help="one draw, two rounds, for tests")
    given = parser.parse_args()
    rounds, draws = (2, 1) if given.short else (ROUNDS, given.draws)
    torch.set_num_threads(1)
    steady, none = final_loss(0, 0, rounds, WAYS[0])
    assert none == 0, "a unit was lost without churn"
    rows = [("load before", load(), ""), ("no churn", f"{steady:.4f} nats a byte", "")]
    for way in WAYS:
        found = [
            final_loss(given.share * MILLION // 100, draw, rounds, way) for draw in range(draws)
        ]
        times = [loss / steady for loss, _ in found]
        shares = ", ".join(f"{100 * missed / (SEATS * rounds):.0f}" for _, missed in found)
        figure = f"{statistics.mean(times):.4f} times ({', '.join(f'{one:.4f}' for one in times)})"
        verdict = "met" if statistics.mean(times) <= LIMIT else "missed"
        rows.append((f"{way}: {shares} %", figure, f"at most {LIMIT} times: {verdict}"))
    show(f"Churn: {SEATS} seats, {rounds} rounds", rows)


if __name__ == "__main__":
    main()

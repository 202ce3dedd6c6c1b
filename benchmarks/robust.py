"""What each rule of merging loses to liars: `python -m benchmarks.robust [--seats 8]`.

A small model, the same data and seeds in every row; one seat in four lies, all liars alike. The
figure is the held-out loss over that of honest seats merged by the plain mean. Every row merges the
last round again in another order and compares the integers.
"""

import argparse
import sys

import torch

from dpin.compute.aggregation.screen import Offered, round_mean, screened
from dpin.compute.limits import MERGE_RULES
from dpin.compute.rules import rule_of
from dpin.compute.safety import RobustSpec
from tests.support.attacks import ATTACKS, INNER, Arena, manifest

ROUNDS = 6
LIMIT = 1.02


def final_loss(rule: str, attack: str, seats: int, rounds: int) -> float:
    """Held-out loss after the rounds; checks that no order of the kept updates matters."""
    steps = INNER.steps if rule == "fltrust" else 0
    arena = Arena(manifest(seats, rounds, RobustSpec(rule, trusted_steps=steps)))
    for _ in range(rounds):
        updates = arena.updates(seats // 4, ATTACKS.get(attack))
        kept = screened([Offered(str(at), one, 1) for at, one in enumerate(updates)]).kept
        trusted = arena.trusted() if rule == "fltrust" else None
        count = len(arena.state.parameters)
        mean = round_mean(arena.job.robust, kept, trusted, count)
        assert torch.equal(mean, round_mean(arena.job.robust, kept[::-1], trusted, count))
        arena.state = rule_of(arena.job).next(arena.state, mean)
    return arena.loss()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seats", type=int, default=8)
    parser.add_argument("--short", action="store_true", help="two rules, one round")
    given = parser.parse_args()
    seats, rounds = given.seats, 1 if given.short else ROUNDS
    torch.set_num_threads(1)
    names = ("none", *ATTACKS)
    honest = final_loss("mean", "none", seats, rounds)
    sys.stdout.write(
        f"{seats} seats, {seats // 4} of them liars; honest loss {honest:.4f} nats a byte" + "\n"
    )
    sys.stdout.write("rule     " + "".join(f"{name:>11}" for name in names) + "\n")
    for rule in MERGE_RULES[:2] if given.short else MERGE_RULES:
        ratios = [final_loss(rule, name, seats, rounds) / honest for name in names]
        marks = [f"{ratio:.3f}" + ("*" if ratio > LIMIT else " ") for ratio in ratios]
        sys.stdout.write(f"{rule:<9}" + "".join(f"{mark:>11}" for mark in marks) + "\n")
    sys.stdout.write(f"* over {LIMIT}" + "\n")


if __name__ == "__main__":
    main()

"""`dpin sim clients`: a federated job of many clients, tried out in this process."""

from collections.abc import Sequence

from dpin.base.units import MILLION
from dpin.cli.link import show_values
from dpin.cli.options import say, show, table
from dpin.compute.rehearsal import Plan, Rehearsed, rehearse


def try_clients(texts: Sequence[bytes], plan: Plan, *, json: bool) -> None:
    """Play the rounds and show what came of each; raises Misuse."""
    found: list[Rehearsed] = []
    for round_ in rehearse(texts, plan):
        found.append(round_)
        if not json:
            say(f"round {round_.number}: held-out loss {round_.holdout / MILLION:.4f}")
    if json:
        rounds = [
            {
                "round": one.number,
                "updates": one.trained,
                "loss": one.loss / MILLION,
                "holdout": one.holdout / MILLION,
                "state": one.state_hash.hex(),
            }
            for one in found
        ]
        show_values("rehearsal", {"rounds": rounds})
        return
    rows = [
        (
            str(one.number),
            str(one.trained),
            f"{one.loss / MILLION:.4f}",
            f"{one.holdout / MILLION:.4f}",
            one.state_hash.hex()[:16],
        )
        for one in found
    ]
    show(table(("ROUND", "UPDATES", "LOSS", "HELD OUT", "STATE"), rows))

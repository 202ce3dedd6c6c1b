"""`dpin sim clients`: a federated job of many clients, tried out in this process."""

from pathlib import Path

from dpin.base.errors import Misuse
from dpin.base.units import MILLION
from dpin.cli.link import show_values
from dpin.cli.options import say, show, table
from dpin.compute.rehearsal import Plan, Rehearsed, cut_evenly, rehearse

FILES_MAX = 10_000


def try_clients(path: Path, clients: int, plan: Plan, *, json: bool) -> None:
    """Play the rounds and show what came of each; raises Misuse."""
    found: list[Rehearsed] = []
    for round_ in rehearse(_texts(path, clients), plan):
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


def _texts(path: Path, clients: int) -> list[bytes]:
    """A client's text each: the files of a folder, or a file in equal parts."""
    if not path.is_dir():
        return cut_evenly(path.read_bytes(), clients or 1)
    files = sorted(each for each in path.iterdir() if each.is_file())[:FILES_MAX]
    if clients > len(files):
        raise Misuse(f"{clients} clients, but {len(files)} files", fix="one file is one client")
    return [each.read_bytes() for each in files[: clients or len(files)]]

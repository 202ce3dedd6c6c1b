"""Networks on one machine: real processes on loopback, and the simulator."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import JsonOption, group, say, show

sim = group("Run a whole network on this machine.")


@sim.command()
def up(
    *,
    nodes: Annotated[int, typer.Option(min=1, max=16, help="How many nodes.")] = 5,
    folder: Annotated[
        str, typer.Option(metavar="DIR", help="Keep their homes here; used again next time.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Start real nodes on loopback, and stop them all at Ctrl-C.

    Four or more are all validators, with tokens to stake and to spend; fewer follow the first,
    which alone has any, so no job finds a provider there until it has sent them some.
    """
    from dpin.cli.swarm import run_swarm

    run_swarm(nodes, Path(folder) if folder else None, json=json)


@sim.command(name="run")
def run_simulation(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Without it: their names.")] = "",
    *,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 1,
    json: JsonOption = False,
) -> None:
    """Play one simulation of whole nodes: one seed, one run. Exit status 1 for a broken rule."""
    from dpin.cli.link import show_values
    from dpin.cli.options import table
    from dpin.sim.scenarios import NAMES
    from dpin.sim.scenarios import run as play

    if not name:
        show_values("simulations", {"simulations": NAMES}) if json else show("\n".join(NAMES))
        return
    report = play(name, seed)
    if json:
        values = {
            "name": report.name,
            "seed": report.seed,
            "digest": report.digest,
            "figures": report.figures,
            "problems": report.problems,
        }
        show_values("simulation", values)
    else:
        rows = [(key, str(value)) for key, value in report.figures.items()]
        show(table(("FIGURE", "VALUE"), [*rows, ("digest", report.digest)]))
    for problem in report.problems:
        say(f"broken: {problem}")
    if report.problems:
        raise typer.Exit(1)


@sim.command()
def clients(
    text: Annotated[str, typer.Argument(help="A text, cut into equal parts, or a folder of them.")],
    *,
    number: Annotated[
        int, typer.Option("--clients", min=0, max=1024, help="0: one a file of the folder.")
    ] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a client between merges.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 8,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Clients forget their optimizer after a round.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Try out a federated job: its rounds in this process, without nodes, proofs or isolation.

    The model is the small built-in one. Batches, encoding, screening and merges are a node's.
    """
    from dpin.cli.clienttexts import texts_of

    texts = texts_of(Path(text), number)  # What is wrong is said before torch is loaded.
    say("loading torch")
    from dpin.cli.population import try_clients
    from dpin.compute.rehearsal import Plan

    try_clients(texts, Plan(rounds, steps, batch, fresh), json=json)

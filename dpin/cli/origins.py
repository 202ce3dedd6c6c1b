"""Where a model comes from, and what a private job lets others see: from files."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, show

SHORT = 12


def lineage(
    folder: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A model's folder.")],
    *,
    tensor: Annotated[
        str, typer.Option(metavar="NAME", help="Prove that this tensor is the signed model's.")
    ] = "",
    signer: Annotated[
        str, typer.Option(metavar="NODE", help="Whose signature it must bear, else anybody's.")
    ] = "",
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Fail where no node of the job's network answers.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Draw where a model comes from, round by round, and verify all of it.

    Where your node answers, each round is compared with the ledger, and the last state with what
    more than half of the job's seats say there. A lineage that is forged, cut short, re-parented,
    of another model or not what the ledger says ends with status 8.
    """
    from dpin.cli.descent import drawn, on_ledger, proof_text, read_folder, values
    from dpin.cli.link import show_values

    found, leaves = read_folder(folder, signer)
    said = on_ledger(found, home, must=ledger)
    if tensor:
        proof = proof_text(found, leaves, tensor)
        show_values("tensor", proof) if json else show(
            "\n".join(f"{k:<8} {v}" for k, v in proof.items())
        )
    elif json:
        show_values("lineage", {**values(found), "ledger": said})
    else:
        show(drawn(found, len(leaves.names), said))


def privacy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A job file.")],
    *,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="For this once.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print what each participant of a job can see, what it spends, and what can be verified."""
    from dpin.cli.link import show_values
    from dpin.cli.sights import read_privacy, sights_text

    sights = read_privacy(file, sets or [])
    show_values("privacy", sights) if json else show(sights_text(sights))

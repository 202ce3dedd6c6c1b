"""Proofs: asking a node for one, and checking one where no node has ever run."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, say, show

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it here.")
]
WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for signatures.")
]
TrustOption = Annotated[
    Path | None,
    typer.Option("--trust", metavar="FILE", help="A checkpoint that is trusted already."),
]
NodeOption = Annotated[
    bool, typer.Option("--node", help="Ask the running node whether it has the same ledger.")
]
UpdateOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write what may be trusted next time, for --trust."),
]


def prove(
    subject: Annotated[
        str, typer.Argument(metavar="[TRANSACTION]", help="Its id, or that of a job's unit.")
    ] = "",
    *,
    account: Annotated[
        str, typer.Option(metavar="NODE", help="Show what this account holds, or that it is not.")
    ] = "",
    trust: TrustOption = None,
    wait: WaitOption = 0.0,
    output: OutputOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a proof that anybody can check without a node: `dpin verify FILE`.

    It shows what became of a transaction, and what an account holds. Without --trust it begins with
    the founders of the network; with it, it is shorter.
    """
    from dpin.base.errors import Misuse
    from dpin.cli.link import show_view
    from dpin.cli.proving import ask, check_over, read_known, save
    from dpin.node.control import ProofRequest

    if not subject and not account:
        raise Misuse("nothing is to be proven", fix="name a transaction, or --account NODE")
    check_over(output)
    epoch, size = read_known(trust)
    request = ProofRequest(subject=subject, account=account, epoch=epoch, size=size)
    view = ask(home, request, wait)
    if output is not None:
        save(output, view.proof)
    if json:
        show_view("proof", view)
        return
    if output is None:
        show(view.proof.rstrip("\n"))
        return
    say(f"{output}: under checkpoint {view.sequence} of epoch {view.epoch}")
    say(f"next:  dpin verify {output}")


def checkpoint(
    *,
    wait: WaitOption = 0.0,
    output: OutputOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write the newest signed checkpoint, for whoever trusts this node: `dpin verify --trust`."""
    from dpin.cli.link import show_view
    from dpin.cli.proving import ask, check_over, save
    from dpin.node.control import ProofRequest

    check_over(output)
    view = ask(home, ProofRequest(), wait)
    if output is not None:
        save(output, view.checkpoint)
    if json:
        show_view("proof", view)
    elif output is None:
        show(view.checkpoint.rstrip("\n"))
    else:
        say(f"{output}: checkpoint {view.sequence} of epoch {view.epoch}")


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From `dpin ledger prove`.")],
    *,
    trust: TrustOption = None,
    genesis: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A network's genesis, or an invite to it, in a file."),
    ] = None,
    chain: Annotated[
        str, typer.Option(metavar="ID", help="A network's id, 64 hex digits: dpin net show.")
    ] = "",
    max_age: Annotated[
        int | None,
        typer.Option(metavar="DAYS", min=0, help="Refuse to trust anything older."),
    ] = None,
    update: UpdateOption = None,
    node: NodeOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Check a proof. Needs no node and no network; says what is shown, and by whose signatures.

    What is trusted is one of --trust, --genesis and --chain; without them, this home's network.
    With --node the signed checkpoints in it are held against those of the running node: where two
    contradict each other validators have lied, and the node keeps the pair as evidence.
    Exit status 8: it does not show what it says, or contradicts the node. 2: it is no proof, or
    nothing is trusted.
    """
    from dpin.cli.comparing import ask_node, node_text, refuse, with_node
    from dpin.cli.link import show_values
    from dpin.cli.proving import check_over, save
    from dpin.cli.verifying import Trusted, judge, read_file, tell_age, verdict_text, verdict_values
    from dpin.light.files import write_trust

    check_over(update)
    proof = read_file(file)
    trusted = Trusted(trust, genesis, chain, home).find(proof)
    warning = tell_age(trusted, max_age)
    shown = judge(proof, trusted)
    found = ask_node(home, proof) if node else None
    if json:
        show_values("verified", with_node(verdict_values(shown, warning), found))
    refuse(found)
    if update is not None:
        save(update, write_trust(shown.trust))
    if not json:
        show(verdict_text(shown) + node_text(found))
        if warning:
            say(f"warning: {warning}")

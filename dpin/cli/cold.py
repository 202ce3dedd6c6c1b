"""Payments from a key that no node has: prepared here, signed elsewhere, submitted here."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, say, show

FileOption = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="A new file, not stdout.")
]


def prepare(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Who pays, 64 hex digits.")],
    pairs: Annotated[
        list[str], typer.Argument(metavar="NODE TOKENS...", help="Whom, and how much.")
    ],
    *,
    memo: Annotated[str, typer.Option(help="A few words that everybody can read.")] = "",
    credit: Annotated[bool, typer.Option("--credit", help="As compute credit.")] = False,
    out: FileOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write down payments of an account whose key is elsewhere, for `dpin wallet sign` there."""
    from dpin.cli.link import connect, show_view
    from dpin.cli.papers import UNSIGNED, write_paper, write_paper_quietly
    from dpin.cli.payments import payments_of
    from dpin.node.control import PrepareRequest

    payments = payments_of(pairs, memo)
    with connect(home) as node:
        view = node.prepare(PrepareRequest(account=account, payments=payments, credit=credit))
    data = bytes.fromhex(view.transaction)
    if json:
        write_paper_quietly(UNSIGNED, data, out)
        show_view("prepared", view)
        return
    write_paper(UNSIGNED, data, out)
    epochs = view.valid_until_epoch - view.epoch
    say(f"to be signed by {view.account}, and submitted within {epochs} epochs of the network")


def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From dpin wallet prepare.")],
    *,
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="The account's key file.")],
    out: FileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a prepared payment does, and sign it. Needs neither a node nor a connection."""
    from dpin.cli.keys import named_key
    from dpin.cli.link import show_values
    from dpin.cli.papers import (
        SIGNED,
        UNSIGNED,
        check_new_paper,
        read_paper,
        signed_by,
        transaction_text,
        unsigned,
        write_paper,
        write_paper_quietly,
    )

    transaction = unsigned(read_paper(file, UNSIGNED))
    check_new_paper(out)
    named_key(key)  # Whether it is there is said before anybody is asked to agree.
    say(transaction_text(transaction))
    if not yes:
        _agreed()
    signed = signed_by(key, transaction)
    if json:
        write_paper_quietly(SIGNED, signed, out)
        values = {"account": transaction.sender.hex(), "transaction": signed.hex()}
        show_values("signed", values)
    else:
        write_paper(SIGNED, signed, out)


def _agreed() -> None:
    """Raises Misuse where nobody answers, Abort where the answer is no."""
    from dpin.base.errors import Misuse

    try:
        agreed = typer.confirm("sign this?", err=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        raise Misuse("nobody has answered", fix="read it, then add --yes") from None
    if not agreed:
        say("nothing is signed")
        raise typer.Abort


def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From dpin wallet sign.")],
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a signed payment of any account to the ledger; returns when that has committed it."""
    from dpin.base.units import format_tokens
    from dpin.cli.link import connect, show_view
    from dpin.cli.papers import SIGNED, read_paper
    from dpin.node.control import SignedRequest

    data = read_paper(file, SIGNED)
    with connect(home) as node:
        view = node.carry(SignedRequest(transaction=data.hex()))
    if json:
        show_view("transfer", view)
    else:
        show(view.transaction)
        say(f"in commit {view.height}: {view.detail}; {format_tokens(view.free)} left there")

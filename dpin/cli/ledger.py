"""The ledger as a whole: archives of it, for which no node is needed, and proofs from a node."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli import proofs
from dpin.cli.options import HomeOption, JsonOption, group, say, show

ledger = group("The ledger as a whole: archives that anybody checks, and proofs from this node.")

SourceArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[SOURCE]", help="An archive, or a node's home; without it, yours."),
]


@ledger.command()
def export(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, or a folder.")],
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write all of this node's ledger into one file that anybody can check. The node may run."""
    from dpin.cli.archives import export as write
    from dpin.cli.audits import summary_text, summary_values
    from dpin.cli.link import home_of, show_values

    path, summary = write(home_of(home), target)
    if json:
        show_values("archive", {"file": str(path), **summary_values(summary)})
        return
    say(summary_text(summary))
    show(str(path))


@ledger.command()
def verify(
    source: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="An archive, or a node's home.")
    ],
    *,
    chain: Annotated[
        str, typer.Option(metavar="HEX", help="The network that it must be of: dpin net show.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Execute a ledger again from its genesis; says where it first differs from what it tells.

    Checks every signature, the order, every rule and every token. Exit status 8: it differs.
    """
    from dpin.cli.archives import source_of
    from dpin.cli.audits import check_chain, finished, summary_text, summary_values
    from dpin.cli.link import show_values

    run = source_of(source).run()
    check_chain(run.again, chain)
    summary = finished(run)
    if json:
        show_values("verified", {"ok": True, **summary_values(summary)})
    else:
        show(summary_text(summary))
        say("every block, commit, receipt and root is as told; all tokens are accounted for")


@ledger.command(name="show")
def show_ledger(
    source: SourceArgument = None,
    *,
    height: Annotated[
        int | None, typer.Option(help="One commit: its blocks, transactions and receipts.")
    ] = None,
    transaction: Annotated[
        str, typer.Option(metavar="ID", help="One transaction, and what became of it.")
    ] = "",
    account: Annotated[
        str, typer.Option(metavar="ID", help="One account as of the last commit.")
    ] = "",
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Every checkpoint.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a ledger holds, after executing it again."""
    from dpin.base.errors import Misuse
    from dpin.cli import audits
    from dpin.cli.archives import source_of
    from dpin.cli.link import home_of

    if sum((height is not None, bool(transaction), bool(account), checkpoints)) > 1:
        raise Misuse("one thing at a time", fix="dpin ledger show --help")
    run = source_of(source or home_of(home).root).run()
    if height is not None:
        audits.show_commit(run, height, json=json)
    elif transaction:
        audits.show_transaction(run, transaction, json=json)
    elif account:
        audits.show_account(run, account, json=json)
    elif checkpoints:
        audits.show_checkpoints(run, json=json)
    else:
        audits.show_summary(run, json=json)


@ledger.command()
def diff(
    one: Annotated[Path, typer.Argument(metavar="A", help="An archive, a node's home, or a dump.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Another; a dump needs none.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Say where two ledgers first differ. One may be ahead of the other. Exit status 8: they do.

    A node whose state was not that of the others has written a dump, `divergence-HEIGHT.dump`, into
    its home: it shows which accounts differed. With B, that is executed again and compared instead.
    """
    from dpin.base.errors import Misuse
    from dpin.cli import dumps
    from dpin.cli.archives import source_of
    from dpin.cli.audits import compare, compared_text
    from dpin.cli.link import show_values

    if dumps.is_dump(one):
        found = dumps.read(one)
        if other is None:
            dumps.report(found, json=json)
        else:
            dumps.hold_against(found, source_of(other).run(), json=json)
        return
    if other is None:
        raise Misuse(f"{one} is no dump: name two ledgers", fix="dpin ledger diff A B")
    compared = compare(source_of(one).run(), source_of(other).run())
    if json:
        show_values("ledgers", {"same": compared.height, "ahead": compared.ahead})
    else:
        show(compared_text(compared, str(one), str(other)))


ledger.command()(proofs.prove)
ledger.command()(proofs.checkpoint)

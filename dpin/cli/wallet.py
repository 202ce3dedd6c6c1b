"""Tokens: what this node has, and giving them away."""

import time
from pathlib import Path
from typing import Annotated

import typer

from dpin.cli import cold, keys
from dpin.cli.options import HomeOption, JsonOption, say, show

wallet = typer.Typer(
    help="Show this node's tokens, or send some.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@wallet.callback()
def show_by_default(
    context: typer.Context, *, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Show this node's tokens, or send some."""
    if context.invoked_subcommand is None:
        show_wallet(home=home, json=json)


@wallet.command(name="show")
def show_wallet(
    *,
    account: Annotated[
        str, typer.Option(metavar="ID", help="Another account, 64 hex digits: a cold one.")
    ] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show this node's tokens."""
    from dpin.base.units import format_tokens
    from dpin.cli.link import connect, show_values
    from dpin.cli.payments import DAY_MS, earned
    from dpin.cli.pictures import since
    from dpin.node.till import account_id

    if account:
        account = account_id(account).hex()
    with connect(home) as node:
        view = node.node()
        money = node.account(account) if account else view.money
        day_ago = int(time.time() * 1000) - DAY_MS
        wages, since_ms = (None, day_ago) if account else earned(node, day_ago)
    if json:
        pay = {"earned_in_a_day": wages, "earned_since_ms": since_ms}
        show_values("wallet", {"node_id": account or view.node_id, "money": money} | pay)
        return
    rows = [
        ("free", money.free),
        ("at stake", money.stake),
        ("locked", money.locked),
        ("credit", money.credit),
    ]
    if wages is not None:
        rows.append(("earned", wages))
    show("\n".join(f"{name:<9}{format_tokens(amount):>16}" for name, amount in rows))
    if wages is not None:
        told = "in 24 hours" if since_ms == day_ago else f"in the {since(since_ms)} remembered"
        say(f"earned: by work and checks {told}, as dpin wallet history lists them")
    if view.development:
        say("tokens of a development network are worthless")


@wallet.command()
def send(
    to: Annotated[
        str | None, typer.Argument(metavar="NODE", help="A node's id, 64 hex digits.")
    ] = None,
    amount: Annotated[str | None, typer.Argument(metavar="TOKENS", help="Such as 12.50.")] = None,
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE TOKENS]...", help="Further payments, made with the first."),
    ] = None,
    *,
    memo: Annotated[str, typer.Option(help="A few words that everybody can read.")] = "",
    batch: Annotated[
        Path | None, typer.Option("--batch", metavar="FILE", help="Lines of NODE,TOKENS[,MEMO].")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Send tokens, to several at once if you like; returns when the ledger has committed it.

    Up to 16 payments go together or not at all; a longer batch is cut into parts of 16.
    """
    from dpin.cli.link import connect
    from dpin.cli.payments import pay, payments_of, read_batch

    words = [word for word in (to, amount, *(more or [])) if word is not None]
    payments = payments_of(words, memo) if batch is None else read_batch(batch, words, memo)
    with connect(home) as node:
        pay(node, payments, credit=False, json=json)


@wallet.command()
def history(
    *,
    count: Annotated[int, typer.Option(min=1, max=1_000, help="So many lines.")] = 20,
    before: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Older ones than this.")] = 0,
    every: Annotated[
        bool, typer.Option("--all", help="Also what moved no tokens, as steps of jobs do.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what became of this node's tokens, newest first."""
    from dpin.cli.link import connect, show_values
    from dpin.cli.payments import moved
    from dpin.cli.pictures import movements_text

    with connect(home) as node:
        movements = moved(node, before, count, every=every)
    if json:
        show_values("movements", {"movements": movements})
        return
    show(movements_text(movements) if movements or not before else "nothing older is remembered")
    if len(movements) == count and movements[-1].number > 1:
        say(f"older ones:  dpin wallet history --before {movements[-1].number}")


@wallet.command()
def watch(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show what becomes of this node's tokens as it happens, until Ctrl-C."""
    from dpin.cli.link import connect
    from dpin.cli.payments import follow

    with connect(home) as node:
        follow(node, json=json)


@wallet.command()
def credit(
    account: Annotated[str, typer.Argument(metavar="NODE", help="Whose credit, 64 hex digits.")],
    amount: Annotated[str, typer.Argument(metavar="TOKENS", help="Such as 12.50.")],
    *,
    memo: Annotated[str, typer.Option(help="A few words that everybody can read.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Turn tokens into somebody's compute credit: it pays for jobs, and for nothing else."""
    from dpin.cli.link import connect
    from dpin.cli.payments import pay, payments_of

    payments = payments_of([account, amount], memo)
    with connect(home) as node:
        pay(node, payments, credit=True, json=json)


wallet.command()(cold.prepare)
wallet.command()(cold.sign)
wallet.command()(cold.submit)
wallet.command()(keys.create)
wallet.command(name="import")(keys.import_key)
wallet.command()(keys.export)
wallet.command()(keys.account)
wallet.command()(keys.encrypt)
wallet.command()(keys.decrypt)

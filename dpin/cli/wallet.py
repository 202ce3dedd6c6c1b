"""Tokens: what this node has, and giving them away."""

from typing import Annotated

import typer

from dpin.cli import keys
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
def show_wallet(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show this node's tokens."""
    from dpin.base.units import format_tokens
    from dpin.cli.link import connect, show_values

    with connect(home) as node:
        view = node.node()
    money = view.money
    if json:
        show_values("wallet", {"node_id": view.node_id, "money": money})
        return
    rows = [
        ("free", money.free),
        ("at stake", money.stake),
        ("locked", money.locked),
    ]
    show("\n".join(f"{name:<9}{format_tokens(amount):>16}" for name, amount in rows))
    if view.development:
        say("tokens of a development network are worthless")


@wallet.command()
def send(
    to: Annotated[str, typer.Argument(metavar="NODE", help="A node's id, 64 hex digits.")],
    amount: Annotated[str, typer.Argument(metavar="TOKENS", help="Such as 12.50.")],
    *,
    memo: Annotated[str, typer.Option(help="A few words that everybody can read.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Send tokens; returns when the ledger has committed it."""
    from dpin.base.units import format_tokens, parse_tokens
    from dpin.cli.link import connect, show_view
    from dpin.node.control import TransferRequest

    parse_tokens(amount)
    with connect(home) as node:
        view = node.transfer(TransferRequest(to=to, amount=amount, memo=memo))
    if json:
        show_view("transfer", view)
    else:
        say(f"sent {amount} in commit {view.height}: {view.detail}")
        say(f"{format_tokens(view.free)} left")


wallet.command()(keys.create)
wallet.command(name="import")(keys.import_key)
wallet.command()(keys.export)
wallet.command()(keys.account)
wallet.command()(keys.encrypt)
wallet.command()(keys.decrypt)

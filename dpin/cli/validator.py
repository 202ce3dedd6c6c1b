"""Validators: become one, add to the bond, retire, take the bond back."""

from typing import Annotated, Literal

import typer

from dpin.cli.options import HomeOption, JsonOption, group, say, show

Action = Literal["register", "bond", "retire", "withdraw", "rotate-key"]

validator = group("Make this node a validator, or let it be one no more.")


@validator.command()
def register(
    *,
    bond: Annotated[
        str, typer.Option(metavar="TOKENS", help="To add to the bond; else what is wanting.")
    ] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Bond tokens and stand for the committee from the next epoch on.

    While it runs, the node says by itself that it is ready, at the end of each epoch without a
    seat. Signing two blocks of one round costs the bond: never run two nodes with one key.
    """
    _ask("register", bond, home=home, json=json)


@validator.command()
def bond(
    amount: Annotated[str, typer.Argument(metavar="TOKENS", help="Such as 12.50.")],
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Add to the bond: the largest bonds are seated."""
    _ask("bond", amount, home=home, json=json)


@validator.command()
def retire(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Stand no more: the seat ends with the epoch, if four others remain."""
    _ask("retire", "", home=home, json=json)


@validator.command()
def withdraw(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Take the whole bond back, once no evidence could cost it any more."""
    _ask("withdraw", "", home=home, json=json)


@validator.command(name="rotate-key")
def rotate_key(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Make a new consensus key, with which this validator signs from the next epoch on.

    A node does so by itself when its log has lost blocks that it signed. The key lies in the
    home, encrypted under the node's key; it is no account, and belongs into no back-up.
    """
    _ask("rotate-key", "", home=home, json=json)


@validator.command()
def status(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show the epoch and everybody with a validator bond."""
    from dpin.cli.link import connect, show_view
    from dpin.cli.pictures import validators_text

    with connect(home) as node:
        view = node.validators()
        me = node.node().node_id
    show_view("validators", view) if json else show(validators_text(view, me))


def _ask(action: Action, amount: str, *, home: str | None, json: bool) -> None:
    from dpin.cli.link import connect, show_view
    from dpin.node.control import ValidatorRequest

    request = ValidatorRequest(action=action, amount=amount)
    with connect(home) as node:
        view = node.validate(request)
    if json:
        show_view("transfer", view)
    else:
        say(f"{action} in commit {view.height}: {view.detail}")

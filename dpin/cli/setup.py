"""Making a node: its key and its config."""

import sys
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, say, show
from dpin.cli.patience import hush


def init(
    *,
    name: Annotated[str, typer.Option(help="A name for people; else one from the key.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt the new key under a passphrase.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a node: its key and a commented config. Prints its card, which founds networks.

    Again on the same home, it makes what is missing and prints the card once more.
    """
    from dpin.base.crypto import SigningKey
    from dpin.base.errors import Misuse
    from dpin.cli.link import home_of, show_values
    from dpin.cli.making import configure, ensure_key, make_card
    from dpin.client.connection import next_step
    from dpin.node import home as homes
    from dpin.node.names import name_of
    from dpin.node.settings import Layers, resolve

    place = home_of(home)
    homes.prepare(place)
    seed = ensure_key(place, encrypted=encrypt)
    node = SigningKey(seed).node_id
    if not homes.read_config(place):
        configure(place, name or (name_of(node) if yes else _asked(name_of(node))))
    elif name:
        raise Misuse(f"{place.config} is there already", fix=f'set it there: name = "{name}"')
    card = make_card(place, seed)
    settings = resolve(Layers(homes.read_config(place), str(place.config))).settings
    called = settings.node.name or name_of(node)
    if json:
        values = {"name": called, "node_id": node.hex(), "home": str(place.root), "card": card}
        show_values("init", {**values, "config": str(place.config)})
        return
    say(f"{called}  {node.hex()}\nhome   {place.root}\nconfig {place.config}")
    say(f"keep a copy of {place.key}: whoever loses it loses the node's tokens and name")
    say(f"next:  {next_step(place)}\ncard, for whoever founds a network:")
    show(card)


def _asked(default: str) -> str:
    if not sys.stdin.isatty():
        return default
    hush()
    return str(typer.prompt("A name for this node", default=default, err=True))

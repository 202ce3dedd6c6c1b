"""Is this machine fit, and who else is there?"""

import sys
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, group, show

config = group("The settings of this node.")


def doctor(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Check this machine and its node; every finding comes with its fix. Exit status 0 or 1."""
    from dpin.cli.checkup import all_checks
    from dpin.cli.link import home_of, show_values
    from dpin.cli.pictures import checks_text

    checks = all_checks(home_of(home))
    if json:
        show_values("checks", {"checks": checks})
    else:
        show(checks_text(checks))
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


def peers(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """List the nodes that this one knows."""
    from dpin.cli.link import connect, show_values
    from dpin.cli.pictures import peers_text

    with connect(home) as node:
        found = node.peers()
    if json:
        show_values("peers", {"peers": found})
    else:
        show(peers_text(found))


def version(*, json: JsonOption = False) -> None:
    """Print the version of dpin."""
    from importlib.metadata import version as version_of

    if json:
        from dpin.cli.link import show_values

        python = ".".join(map(str, sys.version_info[:3]))
        show_values("version", {"version": version_of("dpin"), "python": python})
    else:
        show(f"dpin {version_of('dpin')}")


@config.command(name="show")
def show_config(
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value is from.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print every setting as it would be used now."""
    import os

    import msgspec

    from dpin.cli.link import home_of, show_values
    from dpin.cli.options import table
    from dpin.node.home import read_config
    from dpin.node.settings import Layers, resolve

    place = home_of(home)
    resolved = resolve(Layers(read_config(place), str(place.config), os.environ))
    if json:
        values = {
            choice.key: {"value": choice.value, "origin": choice.origin}
            for choice in resolved.choices
        }
        show_values("config", {"config": values})
        return
    rows = [
        (choice.key, msgspec.json.encode(choice.value).decode(), choice.origin)
        for choice in resolved.choices
    ]
    cut = 3 if origin else 2
    show(table(("SETTING", "VALUE", "ORIGIN")[:cut], [row[:cut] for row in rows]))

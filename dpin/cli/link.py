"""The way from a command to the node. Imported when a command runs, never for its help."""

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from dpin.cli.options import show
from dpin.client.client import Client
from dpin.node.home import Home, locate
from dpin.node.status import View

SCHEMA: Final = "dpin.v1"


def home_of(folder: str | None) -> Home:
    """The home that `--home`, DPIN_HOME or the system names."""
    return locate(folder, os.environ)


def connect(folder: str | None) -> Client:
    """The node of that home; without `--home`, DPIN_API may name another; raises Unreachable."""
    if folder is None and os.environ.get("DPIN_API"):
        return Client()
    return Client(home_of(folder))


def show_view(schema: str, view: View) -> None:
    """Print one thing as JSON, in the shape that the API gives it."""
    show_values(schema, msgspec.to_builtins(view))


def show_values(schema: str, values: Mapping[str, object]) -> None:
    """Print named values as JSON under a schema."""
    whole = {"schema": f"{SCHEMA}/{schema}", **values}
    show(msgspec.json.format(msgspec.json.encode(whole), indent=2).decode())

"""Sealed files: contents that only the nodes named can read, wherever they are kept or sent."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, group, say

blob = group("Seal files for named nodes, and open what was sealed for this one.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="Written; it must be new.")]


@blob.command()
def seal(
    file: FileArgument,
    *,
    out: OutOption,
    to: Annotated[
        list[str], typer.Option("--to", metavar="NODE", help="A reader's node id; repeatable.")
    ],
) -> None:
    """Seal a file for the nodes named; nobody else can read it, this node included."""
    import os

    from dpin.base.sealed import RANDOM_BYTES, Seal
    from dpin.cli.sealing import new_file, node_id, pieces_of, seal_into

    sealer = Seal([node_id(text) for text in to], os.urandom(RANDOM_BYTES))
    with pieces_of(file) as pieces, new_file(out) as sealed:
        length = seal_into(sealer, pieces, sealed)
    say(f"sealed {length:,} bytes for {len(set(to))} in {out}")


@blob.command(name="open")
def unseal(file: FileArgument, *, out: OutOption, home: HomeOption = None) -> None:
    """Open a file that was sealed for this node; writes nothing where it was tampered with."""
    from dpin.cli.link import home_of
    from dpin.cli.passphrase import open_key
    from dpin.cli.sealing import new_file, open_into

    seed = open_key(home_of(home))
    with new_file(out) as opened:
        length = open_into(seed, file, opened)
    say(f"opened {length:,} bytes in {out}")

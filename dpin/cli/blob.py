"""Files by their content: kept in the node's store, fetched from others, sealed."""

from pathlib import Path
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, group, say, show

blob = group("Keep files in the node's store, fetch them from other nodes, seal them for readers.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.")]
BlobArgument = Annotated[
    str, typer.Argument(metavar="BLOB", help="A blob's id, or its beginning where it is here.")
]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="Written; it must be new.")]


@blob.command()
def seal(
    file: FileArgument,
    *,
    out: OutOption,
    to: Annotated[
        list[str], typer.Option("--to", metavar="NODE", help="A reader's node id; repeatable.")
    ],
    json: JsonOption = False,
) -> None:
    """Seal a file for the nodes named; nobody else can read it, this node included."""
    import os

    from dpin.base.sealed import RANDOM_BYTES, Seal
    from dpin.cli.link import show_values
    from dpin.cli.sealing import new_file, node_id, pieces_of, seal_into
    from dpin.node.words import counted

    readers = sorted({node_id(text) for text in to})
    sealer = Seal(readers, os.urandom(RANDOM_BYTES))
    with pieces_of(file) as pieces, new_file(out) as sealed:
        length = seal_into(sealer, pieces, sealed)
    if json:
        values = {"file": str(out), "bytes": length, "readers": [one.hex() for one in readers]}
        show_values("sealed", values)
    else:
        say(f"sealed {length:,} bytes for {counted(len(readers), 'node')} in {out}")


@blob.command(name="open")
def unseal(
    file: FileArgument, *, out: OutOption, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Open a file that was sealed for this node; writes nothing where it was tampered with."""
    from dpin.cli.link import home_of, show_values
    from dpin.cli.passphrase import open_key
    from dpin.cli.sealing import new_file, open_into

    seed = open_key(home_of(home))
    with new_file(out) as opened:
        length = open_into(seed, file, opened)
    if json:
        show_values("opened", {"file": str(out), "bytes": length})
    else:
        say(f"opened {length:,} bytes in {out}")


@blob.command()
def put(
    file: FileArgument,
    *,
    pin: Annotated[
        bool, typer.Option("--pin/--no-pin", help="Keep it until it is unpinned, whatever comes.")
    ] = True,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a file into the node's store, for every node to fetch; prints its id."""
    from dpin.cli.blobpictures import copying
    from dpin.cli.link import connect, show_view
    from dpin.node.blobviews import PutRequest

    with connect(home) as node, copying(file):
        view = node.blobs.put(PutRequest(path=str(file.resolve()), pin=pin))
    show_view("blob", view) if json else show(view.blob)


@blob.command()
def get(
    blob_id: Annotated[str, typer.Argument(metavar="BLOB", help="Its id: 64 hex digits.")],
    *,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="NODE", help="From this node; repeatable. Else from all."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Copy it there as well.")
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it until it is unpinned.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show its course, hop by hop.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch a blob into the node's store, or go on with it. Ctrl-C keeps what has come."""
    from dpin.cli.blobpictures import copied, course_text, fetched
    from dpin.cli.link import connect, show_view
    from dpin.client.errors import ClientError
    from dpin.node.blobviews import FetchRequest

    with connect(home) as node:
        view = fetched(node, blob_id, FetchRequest(sources=source or []))
        if view.blob.state == "here" and pin:
            view.blob = node.blobs.pin(blob_id, pinned=True)
    if json:
        show_view("fetch", view)
    elif trace:
        show(course_text(view))
    if view.blob.state != "here":
        why = view.blob.reason or view.blob.state
        raise ClientError("no-result", why, f"go on with what is here: dpin blob get {blob_id}")
    if out is not None:
        copied(view.blob, out)
    if not json and not trace:
        show(str(out or view.blob.path))


@blob.command(name="list")
def show_blobs(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """List what is in the node's store, the longest unused first: that makes room."""
    from dpin.cli.blobpictures import blobs_text
    from dpin.cli.link import connect, show_values

    with connect(home) as node:
        blobs = node.blobs.listed()
    show_values("blobs", {"blobs": blobs}) if json else show(blobs_text(blobs))


@blob.command(name="pin")
def keep(blob_id: BlobArgument, *, home: HomeOption = None, json: JsonOption = False) -> None:
    """Keep a blob until it is unpinned, over restarts, however full the store is."""
    _pin(blob_id, home, pinned=True, json=json)


@blob.command()
def unpin(blob_id: BlobArgument, *, home: HomeOption = None, json: JsonOption = False) -> None:
    """Let a blob go when there is need of its room."""
    _pin(blob_id, home, pinned=False, json=json)


def _pin(blob_id: str, home: str | None, *, pinned: bool, json: bool) -> None:
    from dpin.cli.blobpictures import blobs_text
    from dpin.cli.link import connect, show_view

    with connect(home) as node:
        view = node.blobs.pin(blob_id, pinned=pinned)
    show_view("blob", view) if json else show(blobs_text([view]))

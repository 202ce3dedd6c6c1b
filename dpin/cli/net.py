"""Networks: founding, joining, inviting."""

import sys
import time
from contextlib import suppress
from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, PeerArgument, group, say, show

net = group("Found a network, join one, invite others.")


@net.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and hyphens.")],
    *,
    validator: Annotated[
        list[str] | None,
        typer.Option("--validator", metavar="CARD", help="Another's `dpin init` card; repeatable."),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Rules of the network: development or public.")
    ] = "development",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Found a network with this node, and those of the cards, as its validators.

    One validator, or at least four. Prints an invite for them; it names no address yet.
    """
    from dpin.base.crypto import SigningKey
    from dpin.cli.founding import check_name
    from dpin.cli.link import home_of
    from dpin.cli.passphrase import open_key
    from dpin.ledger.beacon import Chain
    from dpin.ledger.genesis import found
    from dpin.ledger.params import preset as params_of
    from dpin.node import home as homes
    from dpin.node.invite import Invite, read_card

    place = home_of(home)
    seed = open_key(place)
    table = homes.ensure_beacon(place, seed)
    members = {SigningKey(seed).node_id: Chain().anchor(table)}
    for card in map(read_card, validator or []):
        members[card.node] = card.anchor
    genesis = found(check_name(name), int(time.time() * 1000), members, params_of(preset))
    invite = Invite(genesis, ())
    homes.write_network(place, invite)
    _tell("created", invite, json=json)
    if not json:
        start, invite_others = place.command("node start"), place.command("net invite")
        say(f"next:  {start}, then: {invite_others}, which says where this node is")


@net.command()
def join(
    invite: Annotated[str, typer.Argument(metavar="INVITE", help="The line, or - for stdin.")],
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make this node part of the network of an invite. Needs no connection."""
    from dpin.cli.link import home_of
    from dpin.node import home as homes
    from dpin.node.invite import INVITE_CHARS_MAX, read_invite
    from dpin.node.keyfile import account_of

    place = home_of(home)
    account_of(homes.key_text(place))
    read = read_invite(sys.stdin.read(INVITE_CHARS_MAX) if invite == "-" else invite)
    homes.write_network(place, read)
    _tell("joined", read, json=json)
    if not json:
        say(f"next:  {place.command('node start')}")


@net.command()
def invite(
    *,
    grant: Annotated[str, typer.Option(metavar="TOKENS", help="Send tokens along.")] = "",
    to: Annotated[str, typer.Option(metavar="NODE", help="Who gets them: a node's id.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print one line for the next machine: `dpin net join LINE` there."""
    from dpin.base.errors import Misuse
    from dpin.cli.link import connect, show_view
    from dpin.node.control import InviteRequest

    if bool(grant) != bool(to):
        raise Misuse("a grant needs both an amount and a node", fix="--grant 100 --to NODE_ID")
    with connect(home) as node:
        view = node.invite(InviteRequest(grant=grant, to=to))
    if json:
        show_view("invite", view)
        return
    if grant:
        say(f"sent {grant} tokens to {to}")
    show(view.invite)


@net.command(name="show")
def show_network(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show the network that this node belongs to and, while it runs, how it is reached in it."""
    import msgspec

    from dpin.cli.founding import network_text, network_values
    from dpin.cli.link import connect, home_of, show_values
    from dpin.cli.netpictures import network_view_text
    from dpin.client.errors import Unreachable
    from dpin.node import home as homes

    place = home_of(home)
    invite = homes.read_network(place)
    view = None
    with suppress(Unreachable), connect(home) as node:
        view = node.network()
    if json:
        now = None if view is None else msgspec.to_builtins(view)
        show_values("network", {**network_values(invite), "node": now})
        return
    text = network_text(invite)
    show(text if view is None else f"{text}\n\n{network_view_text(view)}")


@net.command(name="peers")
def show_peers(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """List who is connected: by which path, how far away, with how many bytes."""
    from dpin.cli.link import connect, show_values
    from dpin.cli.netpictures import links_text

    with connect(home) as node:
        links = node.links()
    show_values("links", {"links": links}) if json else show(links_text(links))


@net.command()
def bans(
    *,
    lift: Annotated[
        str, typer.Option("--lift", metavar="NODE", help="End this one's ban: a node or a site.")
    ] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List who is banned, why and for how long; with --lift, end a ban before its time."""
    from dpin.cli.link import connect, show_values, show_view
    from dpin.cli.netpictures import bans_text
    from dpin.node.control import LiftRequest

    with connect(home) as node:
        lifted = node.lift(LiftRequest(subject=lift)) if lift else None
        left = node.bans()
    if lifted is not None:
        show_view("lifted", lifted) if json else show(f"{lifted.subject} is no longer banned")
    else:
        show_values("bans", {"bans": left}) if json else show(
            bans_text(left, int(time.time() * 1000))
        )


@net.command()
def ping(
    peer: PeerArgument,
    *,
    count: Annotated[int, typer.Option("--count", "-c", min=1, max=100, help="So often.")] = 4,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Measure round trips to a connected peer. Exit status 7 where it answers none."""
    from dpin.cli.exits import ExitCode
    from dpin.cli.link import connect, show_view
    from dpin.cli.netpictures import ping_text
    from dpin.node.control import PingRequest

    with connect(home) as node:
        view = node.ping(PingRequest(node=peer, count=count))
    show_view("ping", view) if json else show(ping_text(view))
    if all(trip is None for trip in view.round_trips):
        raise typer.Exit(ExitCode.TIMED_OUT)


@net.command()
def trace(
    peer: PeerArgument,
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Go the way to a peer step by step and say where it ends. Exit status 0 or 1."""
    from dpin.cli.link import connect, show_view
    from dpin.cli.netpictures import trace_text
    from dpin.node.control import TraceRequest

    with connect(home) as node:
        view = node.trace(TraceRequest(node=peer))
    show_view("trace", view) if json else show(trace_text(view))
    if view.fix:
        raise typer.Exit(1)


def _tell(schema: str, invite: "object", *, json: bool) -> None:
    from dpin.cli.founding import network_text, network_values
    from dpin.cli.link import show_values
    from dpin.node.invite import Invite

    assert isinstance(invite, Invite)
    if json:
        show_values(schema, network_values(invite))
    elif schema == "created":
        say(network_text(invite))
        show(str(network_values(invite)["invite"]))
    else:
        show(network_text(invite))

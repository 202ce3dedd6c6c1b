"""The node of this machine: start, look, let it rest, stop."""

from typing import Annotated

import typer

from dpin.cli.options import HomeOption, JsonOption, group, say, show

node = group("Start and stop the node of this machine.")


@node.command()
def start(
    *,
    home: HomeOption = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    provide: Annotated[
        bool | None, typer.Option("--provide/--no-provide", help="Take jobs of others.")
    ] = None,
    listen: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="As /ip4/0.0.0.0/tcp/4610.")
    ] = None,
    bootstrap: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Whom to dial first; repeatable.")
    ] = None,
    api_port: Annotated[int | None, typer.Option(help="Of the HTTP API; 0: a free one.")] = None,
    fault: Annotated[
        str, typer.Option(help="skip-work, wrong-weights or vanish, to try the checks.")
    ] = "",
    log_format: Annotated[str | None, typer.Option(help="auto, console or json.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Log JSON lines; with -d, say as JSON where it runs.")
    ] = False,
) -> None:
    """Run the node, until Ctrl-C or `dpin node stop`. On no terminal it logs JSON lines."""
    from dpin.cli import process
    from dpin.cli.link import home_of, show_values
    from dpin.cli.passphrase import opened_if_sealed
    from dpin.node.lastwords import log_path

    flags: dict[str, object] = {
        "node.name": name,
        "share.provide": provide,
        "network.listen": ",".join(listen) if listen else None,
        "network.bootstrap": ",".join(bootstrap) if bootstrap else None,
        "api.port": api_port,
        "log.format": "json" if json and not log_format else log_format,
    }
    place = home_of(home)
    process.check(place, flags, fault)
    seed = opened_if_sealed(place)
    words = process.command(home, flags, fault)
    if detach:
        say(f"the node starts, its log is {log_path(place)}")
        running = process.start_detached(place, words, seed)
        say(f"the node runs (pid {running.pid})")
        values = {"pid": running.pid, "api": running.api, "log": str(log_path(place))}
        show_values("running", values) if json else show(running.api)
    else:
        process.become(words, seed)


@node.command()
def status(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show the node: network, ledger, tokens, work."""
    from dpin.cli.link import connect, show_view
    from dpin.cli.pictures import node_text

    with connect(home) as client:
        view = client.node()
    show_view("node", view) if json else show(node_text(view))


@node.command()
def stop(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """End the node cleanly, and wait until it has ended."""
    from dpin.cli import process
    from dpin.cli.link import connect, home_of, show_values

    with connect(home) as client:
        client.stop()
    process.wait_until_gone(home_of(home))
    show_values("ok", {"state": "stopped"}) if json else say("the node has stopped")


@node.command()
def drain(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Take no new work, and finish what runs. It holds until the node starts again."""
    from dpin.cli.link import connect, show_view

    with connect(home) as client:
        view = client.drain()
    if json:
        show_view("rest", view)
    else:
        say("the node takes nothing new; once it is idle: dpin node stop")


@node.command()
def pause(
    length: Annotated[
        str | None,
        typer.Argument(metavar="[TIME]", help="As 30m or 2h; without it until you resume."),
    ] = None,
    *,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take no new work for a while, and finish what runs. It holds over restarts."""
    from dpin.cli.link import connect, show_view

    with connect(home) as client:
        view = client.pause(length or "")
    show_view("rest", view) if json else say(f"the node takes nothing new: {view.why}")


@node.command()
def resume(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Take work again, after `drain` or `pause`."""
    from dpin.cli.link import connect, show_view

    with connect(home) as client:
        view = client.resume()
    if json:
        show_view("rest", view)
    else:
        say(f"the node still rests: {view.why}" if view.state else "the node takes work again")

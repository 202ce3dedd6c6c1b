"""`python -m dpin`: the commands, and the one process in which node and HTTP server meet."""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from dpin.base.errors import DpinError
from dpin.node import home as homes
from dpin.node.settings import Settings

NODE_COMMAND: Final = "_node"


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line of a node process says."""

    home: str | None
    fault: str
    settings: dict[str, object]
    key_descriptor: int | None = None  # where the starting command left the opened key


def main() -> int:
    """Run a node for `_node`, else a command; returns the exit status."""
    arguments = sys.argv[1:]
    if arguments[:1] != [NODE_COMMAND]:
        from dpin.cli.app import run

        return run(arguments)
    return run_process(parse_flags(arguments[1:]))


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Read `[--home DIR] [--fault NAME] [--key-fd N] [--set section.key=value]...`."""
    parser = argparse.ArgumentParser(prog=f"dpin {NODE_COMMAND}")
    parser.add_argument("--home")
    parser.add_argument("--fault", default="")
    parser.add_argument("--key-fd", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    read = parser.parse_args(arguments)
    pairs = (text.partition("=") for text in read.set)
    settings: dict[str, object] = {key: value for key, _, value in pairs}
    return Flags(read.home, read.fault, settings, read.key_fd)


def run_process(flags: Flags) -> int:
    """Run a node until it stops; an error on purpose is one sentence and its fix."""
    import trio

    from dpin.cli.exits import ExitCode, first_causes, tell_known

    code = ExitCode.OK
    try:
        trio.run(run_node_with_api, flags)
    except* DpinError as problems:
        for problem in first_causes(problems):
            assert isinstance(problem, DpinError)
            code = tell_known(problem)
    except* KeyboardInterrupt:
        code = ExitCode.INTERRUPTED  # Before the node was up: there was nothing to end cleanly.
    return code


async def run_node_with_api(flags: Flags) -> None:
    """Run the node of a home, and its API; SIGINT or SIGTERM stops both cleanly."""
    from dpin.cli.imports import sparing

    with sparing():
        from dpin.cli.passphrase import take_key
        from dpin.cli.process import check
        from dpin.cli.service import set_up_logs, telling_the_end

    home = homes.locate(flags.home, os.environ)
    settings = check(home, flags.settings, flags.fault)
    set_up_logs(settings.log)
    homes.prepare(home)
    seed = take_key(home, flags.key_descriptor)
    homes.ensure_beacon(home, seed)
    with homes.held(home):
        homes.clear_running(home)  # What a killed node left behind.
        try:
            with telling_the_end():
                await _run(home, settings, seed, flags.fault)
        finally:
            homes.clear_running(home)


async def _run(home: homes.Home, settings: Settings, seed: bytes, fault: str) -> None:
    """Run the node; once it can be asked things, serve them.

    The HTTP server is imported beside the node, which meanwhile meets its peers.
    """
    from dpin.cli.imports import sparing

    with sparing():
        import trio

        from dpin.cli.service import announce, stop_at_signal
        from dpin.node.control import Control
        from dpin.node.driver import NodeOptions, run_node

    async with trio.open_nursery() as nursery:

        async def ready(control: Control) -> None:
            serve = await trio.to_thread.run_sync(_server)
            port: int = await nursery.start(serve, control, settings.api.port)
            await nursery.start(stop_at_signal, control)
            announce(home, control, port)

        await run_node(NodeOptions(home, settings, seed, fault, version("dpin")), ready)
        nursery.cancel_scope.cancel()


def _server() -> Callable[..., Awaitable[None]]:
    """The HTTP server, imported in a thread."""
    from dpin.gateway.server import serve

    return serve


if __name__ == "__main__":
    sys.exit(main())

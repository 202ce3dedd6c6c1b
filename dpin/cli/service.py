"""What a node process shows and heeds: its log, its announcement, its signals."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final, Protocol, TextIO, cast

import structlog
import trio

from dpin.base.errors import DpinError
from dpin.cli.exits import first_causes
from dpin.cli.outlet import Outlet
from dpin.cli.plain import plain_entry
from dpin.node.control import Control
from dpin.node.home import Home, Running, write_running
from dpin.node.settings import LogSection

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def set_up_logs(section: LogSection) -> None:
    """Log to stdout: for people on a terminal, else JSON lines."""
    console = section.format == "console" or (section.format == "auto" and sys.stdout.isatty())
    last = (
        structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
            structlog.processors.format_exc_info,
            *([plain_entry] if console else []),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[section.level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", Outlet(sys.stdout))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)


def announce(home: Home, control: Control, port: int) -> None:
    """Say that the node can be asked things, and where."""
    api = f"http://127.0.0.1:{port}"
    write_running(home, Running(os.getpid(), api, int(time.time() * 1000), version("dpin")))
    view = control.node()
    structlog.get_logger().info(
        "ready", node=view.name, id=view.node_id, network=view.network, api=api
    )


@contextmanager
def telling_the_end() -> Iterator[None]:
    """The log ends with how the node did, for programs that read it line by line."""
    try:
        yield
    except* DpinError as problems:
        for problem in first_causes(problems):
            structlog.get_logger().error("ended", reason=str(problem))
        raise
    structlog.get_logger().info("stopped")


class Listening(Protocol):
    """Whoever waits until signals are heard (trio's task status)."""

    def started(self, value: None, /) -> None:
        """They are."""
        ...


async def stop_at_signal(
    control: Control, task_status: Listening = trio.TASK_STATUS_IGNORED
) -> None:
    """Stop cleanly at the first SIGINT or SIGTERM, at once at the second."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started(None)
        stopping = False
        async for number in signals:
            if stopping:
                os._exit(128 + number)
            stopping = True
            structlog.get_logger().info("stopping", signal=signal.Signals(number).name)
            await control.stop()

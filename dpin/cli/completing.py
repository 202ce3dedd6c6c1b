"""What a shell may complete: a node that does not answer at once leaves the shell as it is."""

import os
from collections.abc import Callable

from dpin.base.errors import DpinError
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.home import locate


def job_ids(home: str | None, beginning: str) -> list[str]:
    """Ids of this node's jobs, the newest first."""
    return _asked(home, beginning, lambda node: [job.id for job in node.jobs()])


def peer_names(home: str | None, beginning: str) -> list[str]:
    """Names of the nodes that this one knows."""
    return _asked(home, beginning, lambda node: sorted(peer.name for peer in node.peers()))


def _asked(home: str | None, beginning: str, names: Callable[[Client], list[str]]) -> list[str]:
    try:
        with Client(locate(home, os.environ) if home else None) as node:
            return [name for name in names(node) if name.startswith(beginning)]
    except (DpinError, ClientError):
        return []

"""Asking the node for a proof, and files that go with it."""

import time
from pathlib import Path
from typing import Final

from dpin.base.errors import Misuse, TooEarly, unreadable
from dpin.cli.link import connect
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.light.fields import BadFile
from dpin.light.files import CHARS_MAX, read_trust
from dpin.node.control import ProofRequest
from dpin.node.status import ProofView

POLL_SECONDS: Final = 0.2


def ask(home: str | None, request: ProofRequest, seconds: float) -> ProofView:
    """Ask, again and again for so long as it is too early; raises ClientError then."""
    deadline = time.monotonic() + seconds
    with connect(home) as node:
        while (view := _asked(node, request)) is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return view or node.proof(request)


def _asked(node: Client, request: ProofRequest) -> ProofView | None:
    """None if it is too early."""
    try:
        return node.proof(request)
    except ClientError as problem:
        if problem.code == TooEarly.code:
            return None
        raise


def read_known(trust: Path | None) -> tuple[int, int]:
    """The epoch and the size of the log that a trusted checkpoint is of; (0, 0) without one."""
    if trust is None:
        return 0, 0
    try:
        known = read_trust(read_text(trust))
    except BadFile as problem:
        raise Misuse(f"{trust}: {problem}", fix="dpin ledger checkpoint writes one") from None
    return known.committee.epoch, known.size


def read_text(path: Path) -> str:
    """A file as text; raises Misuse."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(CHARS_MAX + 1)
    except OSError as problem:
        raise unreadable(path, problem) from None
    except UnicodeDecodeError:
        raise Misuse(
            f"{path} is not text in UTF-8", fix="name the file as it was written"
        ) from None


def check_over(path: Path | None) -> None:
    """Raises Misuse where a file is there that is no older one of the same kind: a key, perhaps."""
    try:
        other = path is not None and path.exists() and path.read_bytes()[:1] != b"{"
    except OSError as problem:
        raise unreadable(path, problem, fix="name a new file") from None
    if other:
        raise Misuse(f"{path} exists and is something else", fix="name a new file")


def save(path: Path, text: str) -> None:
    """Write a file whole, or not at all; raises Misuse."""
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as problem:
        raise Misuse(f"{path}: {problem.strerror}", fix="choose another folder") from None

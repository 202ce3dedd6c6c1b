"""Reads the project's pages: which there are, and what stands in their fenced blocks."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Every page that people read, README first."""
    top = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return [body for found, body in _FENCE.findall(page.read_text()) if found == language]


def block_commands(body: str) -> Iterator[str]:
    """The commands of one `sh` block: a line each, continued lines joined, comments dropped."""
    for line in body.replace("\\\n", " ").splitlines():
        command = " ".join(re.sub(r"(^|\s)#\s.*", "", line).split())
        if command:
            yield command


def console_commands(body: str) -> Iterator[str]:
    """The commands of one `console` block: what stands behind a prompt."""
    for line in body.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield from block_commands(line.removeprefix("$ "))


def commands(page: Path) -> list[str]:
    """Every command that a page tells people to type."""
    typed = [command for body in blocks(page, "sh") for command in block_commands(body)]
    shown = [command for body in blocks(page, "console") for command in console_commands(body)]
    return typed + shown

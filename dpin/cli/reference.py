"""The command tree as data and as a page: `docs/cli.md` is made of this."""

from collections.abc import Iterator
from typing import Final

import msgspec
import typer
from typer.core import TyperCommand, TyperGroup

from dpin.cli.app import commands
from dpin.node.settings import ENV_PREFIX, Layers, meaning, resolve

AnyCommand = TyperCommand | TyperGroup

WIDTH: Final = 96
_HEAD: Final = """# Commands

Made by `scripts/docs_cli.py` from the commands themselves; do not edit it. Data goes to stdout and
all else to stderr; `--json` prints what the [API](api.md) answers. `--home DIR` (or `DPIN_HOME`)
names the node's folder, `DPIN_API` the address of a node's API. An error is one sentence and its
fix.

| exit status | meaning |
|---|---|
| 0 | well |
| 1 | a bug, or a disk or network that failed |
| 2 | wrong usage, or an invalid file |
| 3 | the job failed |
| 4 | not found |
| 5 | no node runs here |
| 6 | no provider matches |
| 7 | timed out |
| 8 | the result failed verification |
| 9 | over budget |
| 130 | interrupted by Ctrl-C; a followed job goes on |
"""


def command_helps() -> Iterator[tuple[str, str]]:
    """Every command's full name and help text, groups before their commands."""
    yield from _helps("dpin", commands(), None)


def _helps(
    name: str, command: AnyCommand, above: typer.Context | None
) -> Iterator[tuple[str, str]]:
    context = typer.Context(
        command, parent=above, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH
    )
    yield context.command_path, command.get_help(context)
    for below, found in getattr(command, "commands", {}).items():
        yield from _helps(below, found, context)


def tree() -> list[str]:
    """One line a command: its name and its options, sorted. Scripts depend on all of it."""
    return sorted(_lines("dpin", commands()))


def _lines(path: str, command: AnyCommand) -> Iterator[str]:
    names = sorted(
        name for option in command.params for name in (*option.opts, *option.secondary_opts)
    )
    yield " ".join([path, *names])
    for name, below in getattr(command, "commands", {}).items():
        yield from _lines(f"{path} {name}", below)


def page() -> str:
    """The text of `docs/cli.md`."""
    parts = [_HEAD]
    for path, text in command_helps():
        plain = "\n".join(line.rstrip() for line in text.strip().splitlines())
        parts.append(f"## `{path}`\n\n```text\n{plain}\n```\n")
    return "\n".join(parts)


_CONFIG_HEAD: Final = """# Settings

Made by `scripts/docs_cli.py` from `dpin/node/settings.py`; do not edit it. The settings of one node
lie in its `config.toml`: in the folder that `--home` names, else in the user's config folder of
dpin. `dpin init` writes it with every setting as a comment. A later layer wins:

1. the default,
2. `config.toml`,
3. the environment: `DPIN_SECTION__KEY`, for example `DPIN_API__PORT=8460`; lists with commas,
4. a flag of `dpin node start`.

`dpin config show --origin` prints each value and the layer it is from. A setting that does not
exist is an error that names the nearest one that does. Amounts of tokens are text, such as
`"0.25"`; sizes carry a unit, such as `"20GB"`. What a whole network must agree on is no setting: it
stands in the network's genesis.

| setting | default | variable | what it is for |
|---|---|---|---|
"""


def config_page() -> str:
    """The text of `docs/config.md`."""
    rows = [
        f"| `{choice.key}` | `{msgspec.json.encode(choice.value).decode()}`"
        f" | `{ENV_PREFIX}{choice.key.upper().replace('.', '__')}` | {meaning(choice.key)} |"
        for choice in resolve(Layers()).choices
    ]
    return _CONFIG_HEAD + "\n".join(rows) + "\n"

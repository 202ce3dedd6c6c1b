"""The pages say what the code does: commands run, links lead somewhere, names are named."""

import ast
import re
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest

from dpin.ledger.reasons import Reason as LedgerReason
from dpin.ledger.transactions import Operation
from dpin.market.messages import Reason as MarketReason
from dpin.node.settings import Layers, resolve
from tests.meta.commands import EXEMPT, TESTED
from tests.meta.documents import ROOT, block_commands, commands, console_commands, pages

_LINK: Final = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
# A path in the repository; dpin/tx/v1 and the like are tags of digests.
_PATH: Final = re.compile(
    r"`((?!dpin/[a-z-]+/v\d)(?:\.ci|benchmarks|changelog\.d|docs|dpin|locks|scripts|tests)/[^`\s]*)`"
)


def documented() -> dict[str, str]:
    """Each documented command, with a page it stands on."""
    return {command: page.name for page in pages() for command in commands(page)}


def exists(test: str) -> bool:
    """Whether a test such as tests/cli/test_init.py::test_x is there."""
    path, _, name = test.partition("::")
    file = ROOT / path
    if not file.is_file():
        return False
    tree = ast.parse(file.read_text())
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return any(isinstance(node, functions) and node.name == name for node in tree.body)


def test_commands_are_read_from_blocks_as_a_person_would_type_them() -> None:
    body = "# first\ndpin init   # a key\ndpin submit \\\n    job.yaml\n\n"
    assert list(block_commands(body)) == ["dpin init", "dpin submit job.yaml"]
    assert list(console_commands("$ dpin jobs\nJOB  STATE\n")) == ["dpin jobs"]


def test_every_documented_command_is_run_by_a_test() -> None:
    unlisted = [
        f"{page}: {command}"
        for command, page in documented().items()
        if command not in TESTED and command not in EXEMPT
    ]
    assert not unlisted, "not in tests/meta/commands.py:\n" + "\n".join(unlisted)


def test_the_table_of_commands_names_nothing_that_is_gone() -> None:
    known = documented()
    assert not [command for command in [*TESTED, *EXEMPT] if command not in known]


@pytest.mark.parametrize("test", sorted(set(TESTED.values())))
def test_the_tests_that_run_documented_commands_exist(test: str) -> None:
    assert exists(test)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [link for link in _LINK.findall(text) if not link.startswith(("http:", "https:"))]
    assert not [link for link in links if not (page.parent / link).exists()]
    assert not [path for path in _PATH.findall(text) if not list(ROOT.glob(path.rstrip("/")))]


def protocol_text(page: str) -> str:
    """A protocol page in lower case."""
    return (ROOT / "docs" / "protocol" / page).read_text().lower()


def spellings(name: str) -> set[str]:
    """VerifyCommit as it may be written on a page: verifycommit, verify-commit, verify_commit."""
    words = [word.lower() for word in re.findall(r"[A-Z][a-z]*", name)]
    return {separator.join(words) for separator in ("", "-", "_", " ")}


def test_every_ledger_operation_is_on_its_page() -> None:
    text = protocol_text("ledger.md")
    names = [operation.__name__ for operation in get_args(Operation)]
    assert not [name for name in names if not any(word in text for word in spellings(name))]


def test_every_reason_of_the_ledger_is_on_its_page() -> None:
    text = protocol_text("ledger.md")
    assert not [reason.word for reason in LedgerReason if reason.word not in text]


def test_every_reason_of_the_market_is_on_its_page() -> None:
    text = protocol_text("market.md")
    assert not [reason.value for reason in MarketReason if reason.value not in text]


def test_every_setting_is_on_the_page_for_operators_with_its_default() -> None:
    text = (ROOT / "docs" / "operate.md").read_text()
    found: dict[str, str] = {}
    for line in text.splitlines():
        keys, defaults = (re.findall(r"`([^`]+)`", cell) for cell in (line.split("|") * 3)[1:3])
        if line.startswith("| `") and defaults:
            found |= dict(zip(keys, defaults * len(keys), strict=False))
    choices = {
        one.key: msgspec.json.encode(one.value).decode() for one in resolve(Layers()).choices
    }
    assert {key: value for key, value in found.items() if key in choices} == choices

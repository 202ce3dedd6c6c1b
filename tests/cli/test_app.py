"""The command tree, its help, its errors and its exit codes."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from dpin.base.errors import Misuse, NoMatch, OverBudget, Unavailable
from dpin.cli import app as app_module
from dpin.cli.app import run
from dpin.cli.exits import ExitCode, exit_of, exit_of_job, first_causes
from dpin.cli.reference import command_helps, config_page, page, tree
from dpin.client.errors import ClientError, JobFailed, Unreachable

ROOT = Path(__file__).parents[2]
HEAVY = {
    "anycorn", "anyio", "asyncio", "httpx", "libp2p", "msgspec", "numpy", "rich.console",
    "rich.live", "starlette", "structlog", "torch", "trio", "yaml",
}  # fmt: skip


@pytest.mark.parametrize(("path", "text"), list(command_helps()))
def test_every_command_has_help_that_says_what_it_does(path: str, text: str) -> None:
    assert text.startswith(f"Usage: {path}")
    assert len(text.split("\n\n")[1].strip()) > 10
    assert "--help" in text


@pytest.mark.parametrize("words", [path.split()[1:] for path, _ in command_helps()])
def test_help_is_printed_and_is_no_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Usage: dpin")
    assert not printed.err


def test_lists_of_commands_say_whole_sentences() -> None:
    for _, text in command_helps():
        listed = text.partition("\nCommands:\n")[2]
        assert "..." not in listed
        assert not listed or listed.rstrip().endswith(".")


@pytest.mark.parametrize("words", [["--version"], ["version"]])
def test_the_version_is_told_in_both_ways_that_people_try(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 0
    assert capsys.readouterr().out == f"dpin {version('dpin')}\n"


def test_the_command_tree_is_the_one_that_scripts_know() -> None:
    frozen = (ROOT / "tests" / "cli" / "tree.txt").read_text().splitlines()
    assert tree() == frozen, "names are promises: change tests/cli/tree.txt only by adding to it"


def test_the_generated_pages_are_fresh() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == page(), "run scripts/docs_cli.py"
    assert (ROOT / "docs" / "config.md").read_text() == config_page(), "run scripts/docs_cli.py"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dpin.cli.app import run\nassert run(['--help']) == 0\n"
        "sys.stderr.write('\\n'.join(sys.modules))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert HEAVY & {*made.stderr.split()} == set()


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["nothing"], "dpin --help"),
        (["jobs", "--jsno"], "dpin jobs --help"),
        (["explain"], "dpin explain --help"),
        (["run", "model", "text", "--tokens", "many"], "dpin run --help"),
        (["sim", "up", "--nodes", "0"], "dpin sim up --help"),
    ],
)
def test_wrong_usage_is_status_two_and_points_to_the_help(
    words: list[str], fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert printed.err.startswith("error[usage]: ")
    assert f"  fix: {fix}\n" in printed.err
    assert not printed.out


def failing(problem: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise problem

    return command


@pytest.mark.parametrize(
    ("problem", "status", "text"),
    [
        (Misuse("it cannot be", fix="do this"), 2, "error[misuse]: it cannot be\n  fix: do this"),
        (NoMatch("nobody"), 6, "error[no-match]: nobody"),
        (OverBudget("too dear"), 9, "error[over-budget]"),
        (Unavailable("the disk is full"), 1, "error[unavailable]: the disk is full"),
        (Unreachable("no node", "dpin node start"), 5, "error[unreachable]"),
        (ClientError("not-found", "no such job"), 4, "error[not-found]"),
        (ClientError("timed-out", "late"), 7, "error[timed-out]"),
        (JobFailed("j-1", "failed", "worker died"), 3, "fix: dpin explain j-1"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error[disk]: /x: Permission denied"),
        (NotADirectoryError(20, "Not a directory", "/x/y"), 2, "error[misuse]: /x/y: Not a dir"),
        (ValueError("oops"), 1, "error[bug]: ValueError: oops"),
        (KeyboardInterrupt(), 130, ""),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_and_a_status(
    problem: BaseException,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "fail-for-a-test"
    monkeypatch.setattr(app_module.app, "registered_commands", [])
    app_module.app.command(name)(failing(problem))
    assert run([name]) == status
    printed = capsys.readouterr().err
    assert text in printed
    assert "Traceback" not in printed
    assert run(["-v", name]) == status
    assert ("Traceback" in capsys.readouterr().err) == (status != 130)


@pytest.mark.parametrize(
    ("state", "reason", "status"),
    [
        ("done", "", 0),
        ("failed", "no-provider", 6),
        ("failed", "expired", 6),
        ("failed", "timed-out", 7),
        ("failed", "the check failed: disagreed", 8),
        ("failed", "over budget", 9),
        ("failed", "the worker died: killed", 3),
        ("cancelled", "", 3),
    ],
)
def test_a_jobs_end_is_the_status_of_whoever_followed_it(
    state: str, reason: str, status: int
) -> None:
    assert exit_of_job(state, reason) == status
    assert exit_of(JobFailed("j-1", state, reason)) == status


def test_what_follows_from_another_fault_is_not_told_beside_it() -> None:
    first, other = Unavailable("the disk is full"), Unavailable("no such peer")
    later = Unavailable("takes nothing more")
    later.__cause__ = first
    alone = Unavailable("came too late")
    alone.__cause__ = Unavailable("of elsewhere")
    group = ExceptionGroup("", [later, ExceptionGroup("", [first, other]), alone])
    assert first_causes(group) == [first, other, alone]

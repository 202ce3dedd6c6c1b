"""What runs all tests: in which order, and what it says of those that fail."""

import sys
from pathlib import Path

import pytest

from scripts.groups import LONGEST, ROOT, Group, groups, processes, run, tell_failed

WRITE = "import sys; sys.stdout.write(sys.argv[1]); sys.exit(int(sys.argv[2]))"


def saying(name: str, text: str, status: int = 0, after: tuple[str, ...] = ()) -> Group:
    return Group(name, [sys.executable, "-c", WRITE, text, str(status)], after)


def test_what_failed_is_named_at_the_end_with_the_command_that_runs_it_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "F\nFAILED tests/a/test_b.py::test_c[one - two] - assert 1 == 2\nERROR tests/d.py\n"
    failed = run([saying("good", "well done"), saying("bad", said, 1)], tmp_path)
    assert [(one.group.name, one.process.returncode) for one in failed] == [("bad", 1)]
    assert "well done" in capsys.readouterr().out
    tell_failed(failed)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "FAILED: bad",
        "tests/a/test_b.py::test_c[one - two]",
        ".venv/bin/python -m pytest 'tests/a/test_b.py::test_c[one - two]'",
        "tests/d.py",
        ".venv/bin/python -m pytest 'tests/d.py'",
        ".venv/bin/python -m scripts.groups bad",
    ]


def test_a_group_waits_for_those_before_it_and_runs_though_they_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run([saying("last", "", after=("first", "absent")), saying("first", "", 1)], tmp_path)
    told = capsys.readouterr().out
    assert told.index("first: ended with status 1") < told.index("last begins")


def test_every_file_of_tests_is_in_one_group_and_only_what_computes_stays_behind(
    tmp_path: Path,
) -> None:
    every = {one.name: one for one in groups(tmp_path, long=False)}
    assert {name for name, one in every.items() if one.behind} == {"pure", "compute", "pythons"}
    taken = {word for name in ("pure", "compute") for word in every[name].command}
    ignored = {word.removeprefix("--ignore=") for word in every["in-process"].command}
    folders = {word for word in taken if word.startswith("tests/")}
    assert folders == {word for word in ignored if word.startswith("tests/")} - {"tests/process"}
    assert all(Path(word).is_dir() for word in folders)


def test_every_file_that_starts_processes_is_in_one_of_two_groups_the_longest_first() -> None:
    shared, alone = processes(shared=True), processes(shared=False)
    assert set(shared).isdisjoint(alone)
    assert {*shared, *alone} == {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("tests/**/test_*.py")
        if "pytest.mark.process" in path.read_text()
    }
    for files in (shared, alone):
        first = [Path(file).stem.removeprefix("test_") for file in files]
        longest = [name for name in LONGEST if name in first]
        assert len(longest) >= 2
        assert first[: len(longest)] == longest

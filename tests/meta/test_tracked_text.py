"""What must not stand in any file: addresses of registries, paths of one machine, loose ends."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
BYTES_MAX: Final = 1_000_000

# Written in parts, so that this file does not match itself.
FORBIDDEN: Final = {
    "a registry's host": re.compile(
        r"(?:pypi|pythonhosted|npmjs|debian|crates)" + r"\.(?:org|io)\b|download" + r"\.pytorch\b"
    ),
    "a registry's option": re.compile(r"--(?:extra-)?index" + r"-url|--find" + r"-links"),
    "a path of one machine": re.compile(
        r"(?<![\w.~$}/])/(?:work|root|farm|home/\w+|Users/\w+)" + "/"
    ),
    "something left for later": re.compile(r"\b(?:TO" + "DO|FIX" + r"ME)\b"),
}
FRAGMENT: Final = re.compile(r"[a-z0-9][a-z0-9-]*\.(feature|bugfix|protocol|removal|misc)\.md")
FRAGMENT_LINES_MAX: Final = 6


def tracked() -> list[Path]:
    """Files that are, or would be, in a commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and file.stat().st_size <= BYTES_MAX]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in tracked()
        if (match := FORBIDDEN[what].search(file.read_text(errors="replace")))
    ]
    assert not found, "\n".join(found)


def test_changelog_fragments_are_well_formed() -> None:
    fragments = [file for file in (ROOT / "changelog.d").glob("*") if file.name != "README.md"]
    for fragment in fragments:
        kind = FRAGMENT.fullmatch(fragment.name)
        assert kind, f"{fragment.name}: name it slug.kind.md"
        lines = fragment.read_text().strip().splitlines()
        assert 1 <= len(lines) <= FRAGMENT_LINES_MAX, f"{fragment.name}: {len(lines)} lines"
        assert not lines[0].startswith("#"), f"{fragment.name}: no heading"
        assert kind[1] != "protocol" or "igrat" in fragment.read_text(), "name the migration"

"""Print the lines of Python per package, and the change against main (or another commit)."""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
COUNTED = ("dpin/", "tests/", "scripts/", "benchmarks/")


def package(path: str) -> str:
    """`dpin/net/host.py` counts for dpin/net, `tests/net/test_host.py` for tests."""
    top, *folders = path.split("/")[:-1]
    return f"{top}/{folders[0]}" if top == "dpin" and folders else top


def git(*words: str) -> str:
    """What git says; empty when it fails."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout


def counted(path: str) -> bool:
    """True for a Python file of ours."""
    return path.endswith(".py") and path.startswith(COUNTED)


def lines_now() -> Counter[str]:
    """Lines in the work tree, tracked or not yet."""
    paths = git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    files = {path: ROOT / path for path in paths if counted(path) and (ROOT / path).is_file()}
    lines: Counter[str] = Counter()
    for path, file in files.items():
        lines[package(path)] += file.read_text().count("\n")
    return lines


def lines_at(commit: str) -> Counter[str]:
    """Lines in a commit; nothing where there is no such commit."""
    lines: Counter[str] = Counter()
    for row in git("grep", "--count", "", commit, "--", "*.py").splitlines():
        path, _, count = row.removeprefix(f"{commit}:").rpartition(":")
        if counted(path):
            lines[package(path)] += int(count)
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", nargs="?", default="main", help="compare with this commit")
    commit = parser.parse_args().commit
    now, before = lines_now(), lines_at(commit)
    rows = [(name, now[name], now[name] - before[name]) for name in sorted(now | before)]
    rows.append(("all", now.total(), now.total() - before.total()))
    width = max(len(name) for name, _, _ in rows)
    for name, lines, change in rows:
        sys.stdout.write(f"{name:{width}}  {lines:6}  {change:+6}\n")


if __name__ == "__main__":
    main()

"""Execute the golden log and compare its roots with those in the repository.

python -m scripts.golden            exits with 1 where they differ
python -m scripts.golden --write    writes them, for a change of the rules that is meant
python -m scripts.golden --pythons  plays it under every other Python that dpin runs on and that is
                                    here, each with the few packages that the ledger needs
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.golden import FILE, play

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "locks" / "requirements.txt"
NEEDED: Final = ("blake3", "cffi", "msgspec", "pycparser", "pynacl", "typing-extensions")
VERSIONS: Final = ("3.11", "3.12", "3.13")  # those of pyproject.toml
_TELL: Final = "import sys; print('%d.%d' % sys.version_info[:2])"
_PLAY: Final = "import sys; from tests.support.golden import play; sys.stdout.write(play().text)"


def main() -> int:
    """Play it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="take these for the right ones")
    parser.add_argument("--pythons", action="store_true", help="under other versions of Python")
    wanted = parser.parse_args()
    if wanted.pythons:
        return elsewhere()
    found = play().text
    sys.stdout.write(found)
    if wanted.write:
        FILE.write_text(found)
        return 0
    return 0 if found == FILE.read_text() else 1


def elsewhere() -> int:
    """Under each other Python; 1 if one leads to other roots. Without another, it says so."""
    wrong = 0
    others = dict(found_pythons())
    others.pop("{}.{}".format(*sys.version_info), None)
    if not others:
        sys.stdout.write("no other Python from 3.11 to 3.13 is here: nothing was compared\n")
    for version, python in sorted(others.items()):
        same = played_by(python) == FILE.read_text()
        wrong += not same
        sys.stdout.write(f"Python {version}: {'the same roots' if same else 'OTHER ROOTS'}\n")
    return 1 if wrong else 0


def found_pythons() -> Iterator[tuple[str, Path]]:
    """Versions, and an interpreter of each: on the path, or where pyenv keeps them."""
    for version in VERSIONS:
        kept = Path.home() / ".pyenv" / "versions"
        on_path = which(f"python{version}")
        named = [Path(on_path)] if on_path else []
        for python in (*named, *sorted(kept.glob(f"{version}.*/bin/python"))):
            told = subprocess.run(
                [python, "-c", _TELL], capture_output=True, text=True, check=False
            )
            if told.stdout.strip() == version:
                yield version, python
                break


def played_by(python: Path) -> str:
    """What the log leads to under another Python, with what the lock names of its packages."""
    with TemporaryDirectory(prefix="dpin-golden-") as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        inside = Path(folder) / "bin" / "python"
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
        pip = [str(inside), "-m", "pip", "install", *quiet, "--only-binary=:all:"]
        # Of the lock alone. pip's warnings are of no interest where it succeeds.
        subprocess.run([*pip, *locked()], check=True, capture_output=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [inside, "-c", _PLAY], env=environment, cwd=ROOT, capture_output=True, check=True
        )
    return done.stdout.decode()


def locked() -> list[str]:
    """What the ledger needs, in the versions of the lock."""
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)", LOCK.read_text(), re.MULTILINE)
    return [f"{name}=={version}" for name, version in pinned if name in NEEDED]


if __name__ == "__main__":
    raise SystemExit(main())

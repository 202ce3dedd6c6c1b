"""The import contracts of pyproject.toml hold, and they bite when something breaks them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LINT: Final = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"

# A file, a line put at its end, and the contract that must then be broken.
BREACHES: Final = {
    "siblings": ("ledger/params.py", "import dpin.net.framing", "Imports run downward"),
    "hidden": ("base/merkle.py", "def f():\n    import dpin.node.status", "Imports run downward"),
    "clock": ("base/machine.py", "import time", "Only the shells do I/O"),
    "dice": ("ledger/accounts.py", "import random", "Only the shells do I/O"),
    "light": (
        "light/notes.py",
        "import dpin.base.merkle",
        "The light client needs nothing of dpin",
    ),
    "torch": ("verify/commitment.py", "import torch", "Torch stays in the worker process"),
    "undeclared": ("helpers/__init__.py", "", "Imports run downward"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter as a process of its own: it imports what it finds under `folder`."""
    return subprocess.run(  # noqa: S603 (our own interpreter, a constant program)
        [sys.executable, "-c", LINT],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "dpin", tmp_path / "dpin", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    return tmp_path


def test_every_import_contract_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_a_contract_is_caught(breach: str, copy: Path) -> None:
    path, line, contract = BREACHES[breach]
    file = copy / "dpin" / path
    file.parent.mkdir(exist_ok=True)
    old = file.read_text() if file.exists() else '"""New."""\n'
    file.write_text(f"{old}\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stderr
    assert f"{contract} BROKEN" in done.stdout

"""Types what the pages tell people to type, in the order of the page."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.meta.documents import ROOT, blocks
from tests.support.network import with_short_chains

README: Final = ROOT / "README.md"
TWO_MACHINES: Final = ROOT / "docs" / "two-machines.md"
BLOCK_SECONDS_MAX: Final = 240
_SECTION: Final = re.compile(r"^#+ .*On the (first|second) machine.*$", re.MULTILINE)

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Machine:
    """Where somebody types: a home of its own, a folder, perhaps a network of its own."""

    home: Path
    folder: Path
    prefix: tuple[str, ...] = ()

    def type_in(self, commands: str) -> str:
        """What these commands print; fails the test when one of them fails."""
        done = subprocess.run(  # noqa: S603 (commands of our own pages)
            [*self.prefix, "/bin/sh", "-euc", commands],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """Our own environment, less what would lead to another home."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DPIN_", "XDG_"))
        }
        path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "HOME": str(self.home), "PATH": path, "COLUMNS": "120"}

    def end(self) -> None:
        """Stop a node that a failed test has left."""
        subprocess.run(  # noqa: S603 (our own program)
            [*self.prefix, str(ROOT / ".venv" / "bin" / "dpin"), "node", "stop"],
            env=self._environment(),
            capture_output=True,
            timeout=BLOCK_SECONDS_MAX,
            check=False,
        )


def test_the_first_steps_of_the_readme_work(tmp_path: Path) -> None:
    machine = Machine(home=tmp_path, folder=ROOT)
    steps = next(body for body in blocks(README, "sh") if "dpin init" in body)
    try:
        machine.type_in(steps)
    finally:
        machine.end()


def ip(*words: str) -> None:
    """Change this machine's namespaces; needs root."""
    subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: S603, S607


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Machine]]:
    """Two network namespaces with a cable between them, as two machines."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("two network namespaces need Linux, root and the command ip")
    tag = f"dpin{os.getpid()}"
    first, second = f"{tag}a", f"{tag}b"
    made: dict[str, Machine] = {}
    try:
        for namespace in (first, second):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ends = ("eth0", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", second)
        ip("link", "add", *ends)
        for number, (name, namespace) in enumerate((("first", first), ("second", second)), 1):
            ip("-n", namespace, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            home = tmp_path / name
            # The page begins with `dpin init`, which the README's first steps do in full.
            with_short_chains(home / ".local" / "share", ["dpin"])
            made[name] = Machine(home, tmp_path, ("ip", "netns", "exec", namespace))
        yield made
    finally:
        for machine in made.values():
            machine.end()
        for namespace in (first, second):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)  # noqa: S603, S607


def sections(page: Path) -> list[tuple[str, str]]:
    """The parts of a page that say on which machine to type, as (machine, text)."""
    parts = _SECTION.split(page.read_text())
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_on_two_machines_works(machines: dict[str, Machine], tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    shutil.copy(ROOT / "docs" / "architecture.md", tmp_path / "notes")
    (tmp_path / "job.yaml").write_text(blocks(TWO_MACHINES, "yaml")[0])
    typed = ""
    for name, text in sections(TWO_MACHINES):
        for body in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if "NODE_ID" in body:
                status = json.loads(machines["second"].type_in("dpin node status --json"))
                body = body.replace("NODE_ID", status["node_id"])  # noqa: PLW2901 (as the page says)
            typed += machines[name].type_in(body)
    assert (tmp_path / "out").is_dir(), typed

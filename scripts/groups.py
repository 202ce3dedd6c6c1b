"""Runs every check and test in groups, several at once, so that no processor is idle.

    python -m scripts.groups            all of them, as scripts/test does
    python -m scripts.groups checks     these alone

What has clocks and sockets comes first. What only computes runs behind it, in the time that the
others leave. A group says what it has to say when it ends; what failed is repeated at the end, with
the command that runs it alone.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final
from xml.etree.ElementTree import parse

ROOT: Final = Path(__file__).parents[1]
# A node's own workers are nice: beside what is no more than nice itself they would starve.
IDLE: Final = ("chrt", "--idle", "0") if which("chrt") else ("nice", "-n", "19")
# For a test that hangs; in pyproject.toml is what is enough where nothing else runs.
HANGING_SECONDS: Final = 300
BEHIND_SECONDS: Final = 1_200
LOOK_SECONDS: Final = 0.2
PURE: Final = tuple(
    f"tests/{name}" for name in ("base", "ledger", "market", "sim", "storage", "verify")
)
COMPUTE: Final = (
    "tests/compute"  # torch and transformers take ten seconds to load: one process does
)
TOWN: Final = "network: Town"  # in a file whose tests share a network
# Of the files that start processes those that take longest, which begin first.
LONGEST: Final = ("jobs", "tuning", "pages_run", "seat", "bank", "group", "epochs")
# Nothing is gained by threads that turn round and round until there is work for them.
PASSIVE: Final = {"OMP_WAIT_POLICY": "passive"}
_FAILED: Final = re.compile(
    r"^(?:FAILED|ERROR) (tests/[^\[\s]+(?:\[.*?\])?)(?: - .*)?$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Group:
    """One program to run, when these others have ended."""

    name: str
    command: Sequence[str]
    after: Sequence[str] = ()
    behind: bool = False  # only in the time that others leave


@dataclass(slots=True)
class Running:
    """A group under way; all that it says goes into a file."""

    group: Group
    said: Path
    process: "subprocess.Popen[bytes]"
    began: float

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began


def processes(*, shared: bool) -> list[str]:
    """The files that start processes: those that share a network, or the others."""
    place = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    found = sorted(ROOT.glob("tests/**/test_*.py"), key=lambda it: (place.get(it.name, 99), it))
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in found}
    return [
        path
        for path, text in texts.items()
        if "pytest.mark.process" in text and (TOWN in text) == shared
    ]


def groups(results: Path, *, long: bool) -> list[Group]:
    """All there are, in the order in which they start."""
    unless = "" if long else " and not long"

    def tests(name: str, kind: str, *words: str) -> list[str]:
        patience = BEHIND_SECONDS if name in {"compute", "pure"} else HANGING_SECONDS
        # As in CI: no example of Hypothesis has to end in 200 ms.
        options = ["--quiet", "--durations=12", "--hypothesis-profile=ci", f"--timeout={patience}"]
        report = [f"--junitxml={results / name}.xml", "-m", f"{kind}{unless}"]
        return [sys.executable, "-m", "pytest", *options, *report, *words]

    others = [f"--ignore={path}" for path in (*PURE, COMPUTE, "tests/process")]
    spread, by_file = ["-n", "2", "--dist", "worksteal"], ["-n", "2", "--dist", "loadfile"]
    by_file.append("--no-loadscope-reorder")  # which puts files of one long test last
    first = ("checks", "in-process")
    return [
        Group("checks", ["scripts/check"]),
        Group("in-process", tests("in-process", "not process", *spread, *others)),
        Group("compute", tests("compute", "not process", COMPUTE), behind=True),
        Group("pure", tests("pure", "not process", *spread, *PURE), behind=True),
        Group("pythons", [sys.executable, "-m", "scripts.golden", "--pythons"], behind=True),
        # These start several nodes each, which wait for one another more than they compute: two
        # files at a time of those that share a network, so that there are two of it.
        Group(
            "shared-network",
            tests("shared-network", "process", *by_file, *processes(shared=True)),
            after=first,
        ),
        Group(
            "own-processes",
            tests("own-processes", "process", *by_file, *processes(shared=False)),
            after=first,
        ),
        Group("demo", ["scripts/demo", "--short"], after=("shared-network",)),
    ]


def start(group: Group, results: Path) -> Running:
    """Begin with a group."""
    said = results / f"{group.name}.txt"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [*(IDLE if group.behind else ()), *group.command],
            cwd=ROOT,
            env={**os.environ, **PASSIVE},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    say(f"-- {group.name} begins")
    return Running(group, said, process, time.monotonic())


def say(text: str) -> None:
    """At once, however the output is kept."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell_end(one: Running) -> None:
    """What a group that has ended has said."""
    end = "well" if one.process.returncode == 0 else f"with status {one.process.returncode}"
    say(f"== {one.group.name}: ended {end} after {one.seconds:.0f} s")
    say(one.said.read_text(errors="replace").rstrip())


def run(wanted: Iterable[Group], results: Path) -> list[Running]:
    """All groups, each as soon as those before it have ended; returns those that failed."""
    waiting = list(wanted)
    under_way: list[Running] = []
    failed: list[Running] = []
    try:
        while waiting or under_way:
            unended = {group.name for group in (*waiting, *(one.group for one in under_way))}
            ready = [group for group in waiting if unended.isdisjoint(group.after)]
            waiting = [group for group in waiting if group not in ready]
            under_way += [start(group, results) for group in ready]
            time.sleep(LOOK_SECONDS)
            ended = [one for one in under_way if one.process.poll() is not None]
            under_way = [one for one in under_way if one not in ended]
            for one in ended:
                tell_end(one)
            failed += [one for one in ended if one.process.returncode]
    finally:  # Ctrl-C reaches them as well; they end what they have started.
        for one in under_way:
            one.process.wait()
    return failed


def tell_failed(failed: Sequence[Running]) -> None:
    """Once more, where it is seen: what failed, and how to run it alone."""
    for one in failed:
        say(f"FAILED: {one.group.name}")
        for test in _FAILED.findall(one.said.read_text(errors="replace")):
            say(f"  {test}\n    .venv/bin/python -m pytest '{test}'")
        say(f"    .venv/bin/python -m scripts.groups {one.group.name}")


def counted(results: Path) -> str:
    """How many tests passed, failed and were skipped, in all groups together."""
    reports = [parse(path) for path in sorted(results.glob("*.xml"))]  # noqa: S314 (our own)
    suites = [suite for report in reports for suite in report.iter("testsuite")]
    total, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped"


def main() -> int:
    """Run the groups; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="run these groups alone")
    names = parser.parse_args().names
    began = time.monotonic()
    with TemporaryDirectory(prefix="dpin-test-") as folder:
        results = Path(folder)
        every = {one.name: one for one in groups(results, long="CI" not in os.environ)}
        if unknown := set(names) - set(every):
            parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(every)}")
        failed = run([one for one in every.values() if not names or one.name in names], results)
        tell_failed(failed)
        say(f"{counted(results)}, in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

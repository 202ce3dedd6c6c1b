"""Throw bytes at everything that reads what a peer sends, for as long as asked.

    python -m scripts.fuzz --seconds 3600
    python -m scripts.fuzz --seconds 3600 --atheris

Each reader gets its share of the time in a process of its own, by mutation of right samples; or all
are led by coverage in one process (`--atheris`, which needs `pip install dpin[fuzz]`). Exits with 1
when something else than a fault of the peer was raised, and prints the bytes that did it; they
belong into `fuzz_targets.py` for good. Memory, threads and descriptors are watched: a reader that
keeps what it is sent fails too.
"""

import argparse
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

import psutil

INSTRUMENTED: Final = ("dpin", "scripts.fuzz_handlers", "scripts.fuzz_targets")
NO_ATHERIS: Final = (
    "atheris is not installed here: pip install 'dpin[fuzz]' (Linux, Python 3.11+)\n"
)
GROWTH_MAX_BYTES: Final = 64 << 20
BYTES_MAX: Final = 4096
KILO: Final = 1024
ALL: Final = "all of them"


class Reader(Protocol):
    """What reads bytes of a peer."""

    @property
    def samples(self) -> tuple[bytes, ...]:
        """Bytes that are right."""
        ...

    def __call__(self, data: bytes) -> None:
        """Read, and take a fault of the peer."""
        ...


def targets() -> Mapping[str, Reader]:
    """The readers; imported late, so that atheris can watch them."""
    from scripts.fuzz_targets import TARGETS  # noqa: PLC0415

    return TARGETS


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Bytes that are nearly right."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 5)):
        at = dice.randint(0, len(found))
        choice = dice.randint(0, 3)
        if choice == 0:
            del found[at:]
        elif choice == 1:
            found[at : at + 1] = dice.randbytes(dice.randint(0, 3))
        elif choice == 2:  # noqa: PLR2004  One of four.
            found[at:at] = found[: dice.randint(0, 64)]
        else:
            found += dice.randbytes(dice.randint(0, 16))
    return bytes(found[:BYTES_MAX])


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILO


def handles() -> int:
    """Threads and descriptors of this process."""
    process = psutil.Process()
    return process.num_threads() + process.num_fds()


def by_mutation(name: str, seconds: float, seed: int) -> int:
    """Fuzz one reader in this process; the number of inputs. What it raises comes out."""
    target = targets()[name]
    dice = random.Random(seed)  # noqa: S311  No secret.
    samples = list(target.samples) or [b""]
    until, count, start, before = monotonic() + seconds, 0, 0, 0
    while monotonic() < until:
        data = mutate(dice.choice(samples), dice)
        if not count % 5:
            data = dice.randbytes(dice.randint(0, 300))
        try:
            target(data)
        except BaseException:
            sys.stdout.write(f"{name}: {data.hex()}\n")
            raise
        count += 1
        if count == KILO:
            start, before = peak_bytes(), handles()
    grown = peak_bytes() - start if start else 0
    if grown > GROWTH_MAX_BYTES:
        raise MemoryError(f"{name} grew by {grown >> 20} MiB over {count} inputs")
    if start and handles() > before:
        raise ResourceWarning(f"{name} has {handles() - before} more threads and descriptors")
    return count


def by_coverage(name: str, seconds: float, seed: int) -> None:
    """Fuzz one reader with atheris, from its samples on; ends the process."""
    import atheris  # noqa: PLC0415  Only where it is there.

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        readers = targets()
    target = All(readers) if name == ALL else readers[name]
    folder = Path(tempfile.mkdtemp())
    (folder / "corpus").mkdir()
    for number, sample in enumerate(target.samples):
        (folder / "corpus" / str(number)).write_bytes(sample)
    arguments = [f"-max_total_time={max(1, int(seconds))}", f"-seed={seed}", "-print_final_stats=1"]
    arguments += [f"-max_len={BYTES_MAX}", "-rss_limit_mb=1500", f"-artifact_prefix={folder}/"]
    atheris.Setup([name, *arguments, str(folder / "corpus")], target)
    atheris.Fuzz()


class All:
    """All readers as one: the first byte says which."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self._readers = [readers[name] for name in sorted(readers)]
        self._count, self._handles = 0, 0

    @property
    def samples(self) -> tuple[bytes, ...]:
        """Those of each."""
        numbered = enumerate(self._readers)
        return tuple(bytes([at]) + right for at, one in numbered for right in one.samples)

    def __call__(self, data: bytes) -> None:
        """Read, and now and then look whether anything was left behind."""
        self._count += 1
        if data:
            self._readers[data[0] % len(self._readers)](data[1:])
        if self._count == KILO:
            self._handles = handles()
        elif not self._count % (64 * KILO) and handles() > self._handles:
            raise ResourceWarning(f"{handles() - self._handles} more threads and descriptors")


def _told(text: str) -> str:
    """One line of what libFuzzer says at its end."""
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", text))
    coverage = re.findall(r"cov: (\d+)", text)
    count, peak = stats.get("number_of_executed_units", "?"), stats.get("peak_rss_mb", "?")
    return f"{count} inputs, peak {peak} MiB, {coverage[-1] if coverage else '?'} edges"


def _culprit(text: str) -> str:
    """The bytes that libFuzzer has written down, where it has."""
    written = re.findall(r"Test unit written to (\S+)", text)
    return "".join(f"bytes: {Path(path).read_bytes().hex()}\n" for path in written)


def one(name: str, seconds: float, seed: int, *, coverage: bool) -> bool:
    """Fuzz one reader in a process of its own; whether it held."""
    words = [sys.executable, "-m", "scripts.fuzz", "--only", name]
    words += ["--seconds", str(seconds), "--seed", str(seed)]
    words += ["--atheris"] if coverage else []
    began = monotonic()
    with tempfile.TemporaryDirectory(prefix="dpin-fuzz-") as folder:
        around = {**os.environ, "TMPDIR": folder}  # libFuzzer ends without clearing up.
        ended = subprocess.run(words, check=False, capture_output=True, text=True, env=around)
        said = ended.stdout + ended.stderr
        if ended.returncode:
            line = said[-5000:] + _culprit(said)
        else:
            line = _told(said) if coverage else ended.stdout.strip().splitlines()[-1]
    sys.stdout.write(f"{name:16} {monotonic() - began:7.1f} s  {line}\n")
    sys.stdout.flush()
    return ended.returncode == 0


def main() -> int:
    """Fuzz all readers, or one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--only", help="one reader, in this process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true", help="led by coverage")
    wanted = parser.parse_args()
    if wanted.atheris and find_spec("atheris") is None:
        sys.stderr.write(NO_ATHERIS)
        return 2
    if wanted.only:
        if wanted.atheris:
            by_coverage(wanted.only, wanted.seconds, wanted.seed)
        count = by_mutation(wanted.only, wanted.seconds, wanted.seed)
        sys.stdout.write(f"{count} inputs, peak {peak_bytes() >> 20} MiB\n")
        return 0
    names = [ALL] if wanted.atheris else sorted(targets())
    share = wanted.seconds / len(names)
    sys.stdout.write(f"{len(names)} readers, {share:.1f} s each, seed {wanted.seed}\n")
    held = [one(name, share, wanted.seed, coverage=wanted.atheris) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Throw bytes at everything that reads what a peer sends, guided by coverage, for as long as asked.

    python -m scripts.fuzz --seconds 3600

With atheris (`pip install atheris`; not needed by anything else) each reader gets its share of the
time in a process of its own, led by coverage; without it, by mutation of right samples alone. Exits
with 1 when something else than a fault of the peer was raised, and prints the bytes that did it;
they belong into `fuzz_targets.py` for good. Memory is watched: a reader that keeps what it is sent
fails too.
"""

import argparse
import random
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from time import monotonic
from typing import Final, Protocol

GROWTH_MAX_BYTES: Final = 64 << 20
BYTES_MAX: Final = 4096
KILO: Final = 1024


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


def by_mutation(name: str, seconds: float, seed: int) -> int:
    """Fuzz one reader in this process; the number of inputs. What it raises comes out."""
    target = targets()[name]
    dice = random.Random(seed)  # noqa: S311  No secret.
    samples = list(target.samples) or [b""]
    until, count, start = monotonic() + seconds, 0, 0
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
            start = peak_bytes()
    grown = peak_bytes() - start if start else 0
    if grown > GROWTH_MAX_BYTES:
        raise MemoryError(f"{name} grew by {grown >> 20} MiB over {count} inputs")
    return count


def by_coverage(name: str, seconds: float, seed: int) -> None:
    """Fuzz one reader with atheris; ends the process."""
    import atheris  # noqa: PLC0415  Only where it is there.

    with atheris.instrument_imports(include=["dpin.base", "dpin.net", "dpin.node.presence"]):
        target = targets()[name]
    arguments = [f"-max_total_time={max(1, int(seconds))}", f"-seed={seed}", "-verbosity=0"]
    atheris.Setup([name, *arguments, f"-max_len={BYTES_MAX}", "-rss_limit_mb=1500"], target)
    atheris.Fuzz()


def one(name: str, seconds: float, seed: int, *, coverage: bool) -> bool:
    """Fuzz one reader in a process of its own; whether it held."""
    words = [sys.executable, "-m", "scripts.fuzz", "--only", name]
    words += ["--seconds", str(seconds), "--seed", str(seed)]
    words += ["--coverage"] if coverage else []
    began = monotonic()
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    told = ended.stdout.strip().splitlines()[-1:] or ["held"]
    line = told[0] if not ended.returncode else ended.stdout[-2000:] + ended.stderr[-3000:]
    sys.stdout.write(f"{name:16} {monotonic() - began:7.1f} s  {line}\n")
    sys.stdout.flush()
    return ended.returncode == 0


def main() -> int:
    """Fuzz all readers, or one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--only", help="one reader, in this process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--coverage", action="store_true", help="with atheris, for --only")
    wanted = parser.parse_args()
    if wanted.only:
        if wanted.coverage:
            by_coverage(wanted.only, wanted.seconds, wanted.seed)
        count = by_mutation(wanted.only, wanted.seconds, wanted.seed)
        sys.stdout.write(f"{count} inputs, peak {peak_bytes() >> 20} MiB\n")
        return 0
    coverage = find_spec("atheris") is not None
    names = sorted(targets())
    share = wanted.seconds / len(names)
    sys.stdout.write(f"{len(names)} readers, {share:.1f} s each, atheris: {coverage}\n")
    held = [one(name, share, wanted.seed, coverage=coverage) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

"""A tiny training job, and a worker's door without a disk or a clock."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from dpin.base.codec import encode
from dpin.base.errors import Misuse
from dpin.base.ids import NO_BLOB, Digest, JobId, Round
from dpin.compute.door import Door
from dpin.compute.presets import DENSE, QUICK
from dpin.compute.task import (
    EncodingSpec,
    InnerSpec,
    ModelSpec,
    OpenJob,
    OuterSpec,
    Prepare,
    Prepared,
    Report,
    TrainManifest,
)

TINY: Final = ModelSpec(layers=1, heads=2, width=16, context=16)
TINY_INNER: Final = InnerSpec(
    learning_rate_ppm=3_000, weight_decay_ppm=100_000, warmup_steps=4, batch=4, steps=8
)
JOB: Final = JobId(b"j" * 32)
SEATS: Final = 3
CORPUS: Final = b"".join(b"def answer_%d():\n    return %d\n\n" % (i, i * i) for i in range(200))


def lease(seat: int) -> Digest:
    return Digest(bytes([seat]) * 32)


@dataclass
class MemoryFiles:
    """Files that are only remembered."""

    held: dict[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        if path not in self.held:
            raise FileNotFoundError(path)
        return self.held[path]

    def write(self, folder: str, name: str, *parts: bytes | memoryview) -> str:
        path = str(PurePosixPath(folder) / name)
        self.held[path] = b"".join(parts)
        return path

    def rewrite(self, old: str, folder: str, name: str, *parts: bytes | memoryview) -> str:
        self.remove(old)
        return self.write(folder, name, *parts)

    def remove(self, path: str) -> None:
        self.held.pop(path, None)

    def corpus(self, path: str, suffixes: tuple[str, ...], bytes_max: int) -> bytes:
        if path not in self.held:
            raise Misuse(f"there is no {path}")
        return self.held[path][:bytes_max]

    def tree(self, path: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        for name, data in sorted(self.held.items()):
            if name.startswith(f"{path}/") and name.endswith(suffixes):
                yield PurePosixPath(name).parent.name, data


@dataclass
class Desk:
    """A door that keeps what was reported; each look at the clock takes `tick_ms`."""

    files: MemoryFiles = field(default_factory=MemoryFiles)
    reports: list[Report] = field(default_factory=list)
    tick_ms: int = 1
    now_ms: int = 0
    steps: int = 0

    def clock_ms(self) -> int:
        self.now_ms += self.tick_ms
        return self.now_ms

    def pulse(self) -> None:
        self.steps += 1

    def door(self) -> Door:
        return Door(self.files, self.clock_ms, self.reports.append, self.pulse)


def prepare(folder: str, corpus: str = "corpus.txt") -> Prepare:
    return Prepare(
        corpus=corpus,
        suffixes=(".txt",),
        bytes_max=1 << 20,
        shards=2 * SEATS,
        holdout_ppm=100_000,
        model=TINY,
        seed=b"seed",
        folder=folder,
    )


def manifest_for(
    prepared: Prepared,
    outer: OuterSpec = QUICK,
    encoding: EncodingSpec = DENSE,
    inner: InnerSpec = TINY_INNER,
) -> TrainManifest:
    return TrainManifest(
        model=TINY,
        inner=inner,
        outer=outer,
        seats=SEATS,
        rounds=4,
        windows=4,
        shards=tuple(NO_BLOB for _ in prepared.shards),
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=prepared.state_hash,
        fingerprint=prepared.fingerprint,
        encoding=encoding,
    )


def open_job(
    prepared: Prepared,
    folder: str,
    outer: OuterSpec = QUICK,
    encoding: EncodingSpec = DENSE,
    inner: InnerSpec = TINY_INNER,
) -> OpenJob:
    return OpenJob(
        job=JOB,
        manifest=encode(manifest_for(prepared, outer, encoding, inner)),
        shards=prepared.shards,
        holdout=prepared.holdout,
        checkpoint=prepared.initial,
        round=Round(0),
        folder=folder,
    )

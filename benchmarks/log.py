"""B12: entries of 256 bytes appended to the log: signed, durable, read back; beside PostgreSQL.

    python -m benchmarks.log [--short]

Sixteen writers hand batches to one log, as a node does with blocks: the signature over each batch's
Merkle root is checked, the batch is appended, and its writer goes on when it is durable; one sync
serves all who wait. Then the log is opened again and every entry is checked against the signature
of its batch. Batches are signed beforehand. A batch of one entry is what signing each costs.

Where PostgreSQL is installed, pgbench inserts rows of 256 bytes with sixteen clients, one row a
transaction, synchronous commits, on the same disk.
"""

import argparse
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from re import search
from typing import Final

import trio

from benchmarks.local import load, show
from dpin.base import merkle
from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SigningKey, verify
from dpin.base.ids import ChainId, Digest
from dpin.storage.log import Log

TAG: Final = "dpin/benchmark-batch/v1"
CHAIN: Final = ChainId(bytes(32))
ENTRY_BYTES: Final = 256
WRITERS: Final = 16
SECONDS: Final = {"full": 10, "short": 1}  # of each measurement
MEASURED: Final = {1: 2_000, 16: 10_000, 256: 60_000, 1_024: 60_000}  # entries a second, to sign
GOAL: Final = 183_000  # entries a second: ten times 18,300
SYNCS: Final = 200
ACCOUNT: Final = "postgres"  # who runs the server, which refuses to be run by root


class Batch(Wire, frozen=True):
    """Entries under one signature, over the root of the tree whose leaves they are."""

    signature: bytes
    entries: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one size of batches."""

    entries: int
    wall_seconds: float
    cpu_seconds: float
    read_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Entries a second, each durable."""
        return self.entries / self.wall_seconds


def root_of(entries: Sequence[bytes]) -> Digest:
    """What the signature of a batch covers."""
    return merkle.root(merkle.leaf_hashes(entries))


def signed(key: SigningKey, random: Random, entries: int) -> bytes:
    """A batch as the log takes it."""
    made = tuple(random.randbytes(ENTRY_BYTES) for _ in range(entries))
    return encode(Batch(key.sign(TAG, CHAIN, root_of(made)), made))


def checked(key: SigningKey, record: bytes) -> int:
    """How many entries a record holds; raises where its signature is wrong."""
    batch = decode(Batch, record)
    if not verify(key.node_id, TAG, CHAIN, root_of(batch.entries), batch.signature):
        raise AssertionError("a batch is not what was signed")
    return len(batch.entries)


class Writers:
    """Sixteen at once on one log, with one sync for all that wait."""

    def __init__(self, log: Log, key: SigningKey, records: Sequence[bytes]) -> None:
        self._log = log
        self._key = key
        self._records = iter(records)
        self._tell, self._waiting = trio.open_memory_channel[trio.Event](WRITERS)
        self.entries = 0

    async def run(self) -> None:
        """Until all records are durable."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sync)
            async with self._tell, trio.open_nursery() as writers:
                for _ in range(WRITERS):
                    writers.start_soon(self._write)

    async def _write(self) -> None:
        for record in self._records:
            self.entries += checked(self._key, record)
            self._log.append([record])
            durable = trio.Event()
            await self._tell.send(durable)
            await durable.wait()

    async def _sync(self) -> None:
        async for first in self._waiting:
            await trio.lowlevel.checkpoint()  # Whoever was served last comes again at once.
            waiting = [first]
            while len(waiting) < WRITERS:
                try:
                    waiting.append(self._waiting.receive_nowait())
                except trio.WouldBlock:
                    break
            await self._log.sync()
            for durable in waiting:
                durable.set()


async def measure(folder: Path, size: int, seconds: int) -> Measured:
    """Append batches of so many entries, then read all of them back."""
    key, random = SigningKey(bytes(32)), Random(size)  # noqa: S311  # Not for secrets.
    few = [signed(key, random, size) for _ in range(64)]
    batches = MEASURED[size] * seconds // size
    log, _ = await Log.open(folder)
    writers = Writers(log, key, [few[number % len(few)] for number in range(batches)])
    wall, cpu = time.perf_counter(), time.process_time()
    await writers.run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await log.close()
    read = await read_back(folder, key, writers.entries)
    return Measured(writers.entries, wall, cpu, read)


async def read_back(folder: Path, key: SigningKey, entries: int) -> float:
    """Open the log again and check all that is in it; returns the CPU time that takes."""
    begun = time.process_time()
    log, replay = await Log.open(folder)
    if sum(checked(key, record) for record in replay.records) != entries:
        raise AssertionError("what was read back is not what was written")
    took = time.process_time() - begun
    await log.close()
    return took


def sync_rate(folder: Path) -> float:
    """Syncs a second of one small write each: what this disk can do."""
    descriptor = os.open(folder / "sync", os.O_RDWR | os.O_CREAT)
    start = time.perf_counter()
    for _ in range(SYNCS):
        os.write(descriptor, bytes(ENTRY_BYTES))
        os.fdatasync(descriptor)
    took = time.perf_counter() - start
    os.close(descriptor)
    return SYNCS / took


# --- PostgreSQL --------------------------------------------------------------------------------


def as_server(words: Sequence[object], folder: Path) -> str:
    """Run one of PostgreSQL's programs as the account that may."""
    user = ACCOUNT if os.geteuid() == 0 else None
    environment = {**os.environ, "PGHOST": str(folder), "PGUSER": ACCOUNT, "PGDATABASE": ACCOUNT}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment,
        user=user,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@contextmanager
def server(folder: Path) -> Iterator[Path]:
    """A PostgreSQL of its own, as it comes, reached through a socket in the folder."""
    if os.geteuid() == 0:
        owner = pwd.getpwnam(ACCOUNT)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    programs = Path(shutil.which("postgres") or "").resolve().parent
    data = folder / "data"
    as_server([programs / "initdb", "-D", data, "-U", ACCOUNT, "-A", "trust"], folder)
    control = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "server.log"]
    as_server([*control, "-o", f"-c listen_addresses='' -k {folder}", "start"], folder)
    try:
        yield folder
    finally:
        as_server([*control, "-m", "immediate", "stop"], folder)


def postgres_rate(folder: Path, seconds: int) -> float:
    """Rows a second, each in a transaction of its own, durable."""
    row = Random(0).randbytes(ENTRY_BYTES).hex()  # noqa: S311  # Not for secrets.
    script = folder / "insert.sql"
    script.write_text(f"INSERT INTO entries (entry) VALUES ('\\x{row}');\n")  # noqa: S608  # Our own.
    script.chmod(0o644)
    with server(folder):
        table = "CREATE TABLE entries (id bigserial PRIMARY KEY, entry bytea NOT NULL)"
        as_server(["psql", "-q", "-c", table], folder)
        clients = ["-c", WRITERS, "-j", 2, "-M", "prepared", "-n", "-T", seconds]
        said = as_server(["pgbench", *clients, "-f", script], folder)
    found = search(r"tps = ([0-9.]+)", said)
    if found is None:
        raise AssertionError(f"pgbench did not say how fast it was: {said}")
    return float(found[1])


def main() -> None:
    """Measure each size of batches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few seconds; figures mean nothing")
    parser.add_argument("--folder", type=Path, help="where to write: the disk that is measured")
    options = parser.parse_args()
    seconds = SECONDS["short" if options.short else "full"]
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        rows.append(("load before", load()))
        rows.append(("syncs of one small write", f"{sync_rate(folder):,.0f}/s"))
        rate = 0.0
        if shutil.which("postgres") and shutil.which("pgbench"):
            place = folder / "postgres"
            place.mkdir(mode=0o755)
            rate = postgres_rate(place, seconds)
            rows.append((f"PostgreSQL, {WRITERS} clients", f"{rate:,.0f} rows/s"))
        for size in MEASURED:
            one = trio.run(measure, folder / f"log-{size}", size, seconds)
            times = f", {one.rate / rate:,.1f} times PostgreSQL" if rate else ""
            cpu = 1e6 * one.cpu_seconds / one.entries
            read = 1e6 * one.read_cpu_seconds / one.entries
            rows.append(
                (
                    f"signed in batches of {size}",
                    f"{one.rate:,.0f} entries/s{times}; CPU an entry {cpu:.1f} us, "
                    f"read back {read:.1f} us",
                )
            )
            shutil.rmtree(folder / f"log-{size}")
        rows.append(("goal", f"{GOAL:,} entries/s, batched"))
        rows.append(("load after", load()))
    show("B12: durable entries of 256 bytes", rows)


if __name__ == "__main__":
    main()

"""Ledgers as files: the log of a node, and archives that anybody can check."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, Protocol

from dpin.base.codec import decode
from dpin.base.errors import Misuse, NotFound, PeerFault
from dpin.cli.options import say
from dpin.ledger.annals import END, FOREIGN, OWN
from dpin.ledger.annals import Record as Logged
from dpin.ledger.archive import Archivist, Audit, Summary, read_handover, summary_of
from dpin.ledger.genesis import Genesis
from dpin.ledger.reexecution import Difference, Reexecution, Step
from dpin.node.home import Home, home_in, read_network
from dpin.node.ownrecords import Owner
from dpin.storage.frames import Record, encode_record, segment_number, walk

ARCHIVE_KIND: Final = 2  # of the records of an archive; those of a node's log have 1
QUIET_SECONDS: Final = 2.0  # between two words about how far it is
CONFIG_NAME: Final = "config.toml"


@dataclass(frozen=True, slots=True)
class Source:
    """A ledger on disk: an archive, or the home of a node."""

    path: Path
    is_home: bool

    def run(self) -> "Run":
        """Execute it from genesis on; raises Misuse for what is no ledger."""
        if self.is_home:
            return LogRun(home_in(self.path, self.path / CONFIG_NAME))
        return ArchiveRun(self.path)


def source_of(path: Path) -> Source:
    """What lies there; raises NotFound."""
    if not path.exists():
        raise NotFound(f"there is no {path}", fix="name an archive, or the home of a node")
    return Source(path, is_home=path.is_dir())


class Run(Protocol):
    """A ledger that is being executed again."""

    again: Reexecution

    def steps(self) -> Iterator[Step]:
        """Every commit; raises Difference at the first that is not as it was told."""
        ...

    def finish(self) -> Summary:
        """What it came to, after the last step."""
        ...


class ArchiveRun:
    """An archive: what it tells is compared with what its blocks give."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = records_in(path, torn=False)
        first = next(self._records, None)
        if first is None or first.kind != ARCHIVE_KIND:
            raise Misuse(f"{path} is no archive", fix="dpin ledger export FILE writes one")
        self._audit = Audit(first.body)
        self.again = self._audit.run

    def steps(self) -> Iterator[Step]:
        """See Run."""
        for record in self._records:
            yield from self._audit.take(record.body)

    def finish(self) -> Summary:
        """See Run."""
        return self._audit.finish()


class LogRun:
    """The log of a node, which may be running: what it holds so far."""

    def __init__(self, home: Home) -> None:
        self.again = Reexecution(genesis_of(home))
        self._home = home

    def steps(self) -> Iterator[Step]:
        """See Run."""
        for logged in logged_records(self._home):
            if logged.kind == END:
                self.again.handover(read_handover(logged.body))
            else:
                yield from self.again.take(logged.body)

    def finish(self) -> Summary:
        """See Run."""
        return summary_of(self.again)


def genesis_of(home: Home) -> Genesis:
    """The network of a home; raises Misuse."""
    return read_network(home).genesis


def logged_records(home: Home) -> Iterator[Logged]:
    """What a node's log holds of the ledger, from the first on; raises Misuse where it was cut."""
    folder = home.ledger_log
    if not folder.is_dir():
        raise NotFound(f"{home.root} has no ledger yet", fix="dpin node start")
    segments = sorted(path for path in folder.iterdir() if segment_number(path.name))
    if not segments or segment_number(segments[0].name) != 1:
        raise Misuse(
            f"{folder} does not go back to the network's beginning: older segments were dropped",
            fix="ask a node with ledger.archive = true for an archive",
        )
    for path in segments:
        records = records_in(path, torn=path == segments[-1])
        owned = (record.body[1:] for record in records if record.body[0] == Owner.LEDGER)
        for logged in (_logged(body, path) for body in owned):
            if logged.kind in {OWN, FOREIGN, END}:
                yield logged


def _logged(body: bytes, path: Path) -> Logged:
    try:
        return decode(Logged, body, limit=len(body))
    except PeerFault as fault:
        raise Misuse(f"{path}: {fault}", fix="is it the log of this version of dpin?") from None


def records_in(path: Path, *, torn: bool) -> Iterator[Record]:
    """The records of a file; with `torn` its end may be in the making. Raises Difference."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            return
        progress, end = Progress(path.name, size), 0
        with mmap(file.fileno(), size, access=ACCESS_READ) as mapped, memoryview(mapped) as view:
            for end, record in walk(view):
                yield record
                progress.at(end)
    if end == 0 and not torn:
        raise Misuse(f"{path} is no archive", fix="dpin ledger export FILE writes one")
    if end != size and not torn:
        raise Difference(
            f"{path} is damaged at byte {end} of {size}", fix="have it copied or exported again"
        )


class Progress:
    """Says now and then how far a long reading is."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._next = time.monotonic() + QUIET_SECONDS

    def at(self, done: int) -> None:
        """So many bytes are read."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + QUIET_SECONDS
            say(f"{self._name}: {100 * done // self._size} %")


def export(home: Home, target: Path) -> tuple[Path, Summary]:
    """Write an archive of a node's ledger; raises Misuse where something is there already."""
    genesis = genesis_of(home)
    if target.is_dir():
        target /= f"{genesis.name}.dpin-ledger"
    archivist, part = Archivist(genesis), target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            offset = 0
            for body in _archived(archivist, home):
                data = encode_record(Record(ARCHIVE_KIND, body), offset)
                offset += len(data)
                file.write(data)
        part.rename(_free(target))
    except OSError as problem:
        part.unlink(missing_ok=True)
        raise Misuse(f"{target}: {problem.strerror}", fix="name another file") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return target, summary_of(archivist.run)


def _free(target: Path) -> Path:
    if target.exists():
        raise Misuse(f"{target} exists", fix="name another file, or remove it")
    return target


def _archived(archivist: Archivist, home: Home) -> Iterator[bytes]:
    yield archivist.preface()
    for logged in logged_records(home):
        if logged.kind == END:
            yield archivist.end(logged.body)
        else:
            yield from archivist.take(logged.body)
    yield archivist.closing()

"""Every known pitfall has a guard with a test, and every reader of a peer's bytes is fuzzed."""

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from scripts.fuzz_targets import TARGETS

ROOT = Path(__file__).parents[2]
PITFALLS = [f"P{number}" for number in range(1, 16)] + [f"G{number}" for number in range(1, 6)]

# Who registers what peers ask: its protocol, and the reader of it that is fuzzed.
REGISTERED = {
    "net/bulk.py": ("BLOB", "blob question"),
    "net/guards.py": ("all streams", "frames"),  # Wraps the handlers of the others.
    "net/host.py": ("CONTROL, MESHSUB, questions", "gossip frames"),
    "net/lasting.py": ("those of the host before", "frames"),
    "net/punch.py": ("libp2p's DCUtR", ""),  # libp2p reads it; streams are contained (P1).
    "net/relay.py": ("libp2p's circuit relay", ""),
    "node/courier.py": ("BLOB", "blob question"),
    "node/inquirer.py": ("ASK, DIAL_BACK", "node question"),
    "node/kaddoor.py": ("Kad-DHT", "kad question"),
    "node/neighbourhood.py": ("what inquirer.py registers", "node question"),
    "node/whereabouts.py": ("what kaddoor.py registers", "kad question"),
    "compute/forker.py": ("the node's own workers, no peer", ""),
}

# Readers of bytes whose origin is this node itself, its owner, or what consensus has checked.
TRUSTED_PACKAGES = ("cli", "client", "gateway", "sim")  # a user's files and own processes
TRUSTED = {
    "net/mesh.py": "the target gossip frames: its loop wants a stream of libp2p",
    "node/comparing.py": "a proof that dpin.light has read and checked",
    "node/ownrecords.py": "the own log",
    "node/peer.py": "the own log; its messages are the targets market and verify",
    "node/till.py": "what a user of the own API hands in",
    "storage/blobfiles.py": "the own disk; what comes is the target blob manifest",
    "market/ownjobs.py": "the own log",
    "market/viewing.py": "the target manifest",
    "verify/jobfiles.py": "the target manifest",
    "verify/examination.py": "a leaf that the ledger has checked; what comes is the target leaf",
    "ledger/archive.py": "the own disk, or a file that its reader checks anew",
    "ledger/closings.py": "the own log",
    "ledger/dump.py": "a file of the owner",
    "ledger/engine.py": "the own log",
    "ledger/evidence.py": "part of a transaction that was read",
    "ledger/genesis.py": "the target pasted",
    "ledger/history.py": "the own log",
    "ledger/parts.py": "after it was compared with a root",
    "ledger/pledges.py": "the own state",
    "ledger/receipts.py": "after it was compared with a root",
    "ledger/rounds.py": "a leaf that was read when it was admitted",
    "ledger/snapshots.py": "the own disk",
    "ledger/units.py": "a leaf that was read when it was admitted",
    "ledger/wishes.py": "the own log",
}
WORKER = "compute/"  # a process that may die: what it reads ends its job, not the node
READ_BY_THE_NODE = {"compute/lineage.py", "compute/tallies.py"}  # of it, without torch


def _table() -> Iterator[tuple[str, str]]:
    """Pitfalls and the last column of their rows."""
    for line in (ROOT / "docs/protocol/network.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 3 and re.match(r"[PGR]\d", cells[0]):
            for name in re.findall(r"\b[PGR]\d+\b", cells[0]):
                yield name, cells[2]


def _tests() -> list[str]:
    found: list[str] = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        found += re.findall(r"def (test_\w+)", path.read_text())
    return found


def test_every_pitfall_has_a_guard_and_a_test_that_exists() -> None:
    table, tests = dict(_table()), _tests()
    assert not [name for name in PITFALLS if name not in table]
    for name, cell in table.items():
        said = re.findall(r"`(test_\w+)(…?)`", cell)
        for word, more in said:
            known = [test for test in tests if test == word or (more and test.startswith(word))]
            assert known, f"{name}: no test is called {word}"
        assert said or ".py`" in cell or "benchmarks" in cell, f"{name} names no test"


def _readers(path: Path) -> Iterator[str]:
    """The functions of a file that make values of bytes."""
    tree = ast.parse(path.read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    codec = any(node.module == "dpin.base.codec" for node in imports)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
            if any(_reads(call, codec=codec) for call in calls):
                yield function.name


def _reads(call: ast.expr, *, codec: bool) -> bool:
    if isinstance(call, ast.Attribute):
        return call.attr in {"ParseFromString", "FromString"}
    return codec and isinstance(call, ast.Name) and call.id == "decode"


@contextmanager
def _called(into: set[tuple[str, str]]) -> Iterator[None]:
    """Note which functions run, by file and name."""

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            into.add((frame.f_code.co_filename, frame.f_code.co_name))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


def test_every_reader_of_what_a_peer_sends_is_a_target_of_the_fuzzer() -> None:
    ran: set[tuple[str, str]] = set()
    with _called(ran):
        for target in TARGETS.values():
            for sample in (*target.samples, b"\xc1", b"\x80"):
                target(sample)
    missed: list[str] = []
    for path in sorted((ROOT / "dpin").rglob("*.py")):
        name = str(path.relative_to(ROOT / "dpin"))
        trusted = name in TRUSTED or name.split("/", maxsplit=1)[0] in TRUSTED_PACKAGES
        if trusted or (name.startswith(WORKER) and name not in READ_BY_THE_NODE):
            continue
        missed += [
            f"{name}: {reader}" for reader in _readers(path) if (str(path), reader) not in ran
        ]
    assert not missed, "\n".join(missed)


def test_nothing_is_trusted_that_is_gone() -> None:
    for name in TRUSTED:
        assert (ROOT / "dpin" / name).is_file(), f"{name} is gone"


def test_whoever_registers_a_handler_is_known_and_its_reader_is_a_target() -> None:
    found: set[str] = set()
    for path in (ROOT / "dpin").rglob("*.py"):
        if re.search(r"\.(serve|set_stream_handler)\(", path.read_text()):
            found.add(str(path.relative_to(ROOT / "dpin")))
    assert found == set(REGISTERED)
    assert not [what for _, what in REGISTERED.values() if what and what not in TARGETS]

"""What it costs to check the ledger without a node, and to keep an account in one.

    python -m benchmarks.proofs [--short]

A log of a million receipts and a state of a million accounts, signed by 4 and by 31 validators of
equal weight. Times are CPU time of one process, the median of many; memory is what the process
takes from the system for each account that only holds a balance, dictionary and state tree and all.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import psutil

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, ChainId, NodeId
from dpin.base.logtree import LogTree
from dpin.base.merkle import leaf_hash
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import Account, State
from dpin.ledger.book import Kind, Part
from dpin.ledger.certificates import sign_checkpoint
from dpin.ledger.roots import StateRoot, snapshot
from dpin.light.client import LightClient, Trust, check_part, check_receipt
from dpin.light.facts import Certificate, Checkpoint, Committee, Member, Receipt, fields
from dpin.light.facts import Part as Fact
from dpin.light.files import read_proof, write_proof
from dpin.light.pack import pack
from dpin.light.proofs import PlacedPart, PlacedReceipt, Proof, signed
from dpin.light.verify import verify

MANY: Final = 1_000_000
FEW: Final = 20_000  # with --short
BATCH: Final = 10_000
TIMES: Final = 100
SIZES: Final = (4, 31)
GOALS: Final = {"bytes": 3_072, "ms": 3.0, "ram": 300}
CHAIN: Final = ChainId(digest("bench/chain", b""))


def main() -> int:
    """Print all tables; returns 0."""
    count = FEW if "--short" in sys.argv else MANY
    state, root, each = accounts(count)
    say(f"\n## Memory: {count:,} accounts that hold a balance\n")
    say(f"{each:.0f} bytes an account (goal: {GOALS['ram']})")
    leaves = LogTree()
    for number in range(count - 2):
        leaves.append(leaf_hash(number.to_bytes(8)))
    say(f"\n## Proofs: a log of {count:,} leaves, a state of {count:,} accounts\n")
    say("| validators | what | packed | receipt.json | check | check from the file |")
    say("|---|---|---|---|---|---|")
    bench = Bench(leaves, root, state)
    for size in SIZES:
        for what, made in bench.rows(size):
            say(f"| {size} | {what} | {made.cells} |")
    say(f"| goal | | {GOALS['bytes']:,} B | | {GOALS['ms']} ms | |")
    return 0


def say(line: str) -> None:
    """A line of a table."""
    print(line)  # noqa: T201


def accounts(count: int) -> tuple[State, StateRoot, float]:
    """So many accounts in a state and under a root, and what each takes."""
    state, root = State(MicroTokens(0), MicroTokens(0)), StateRoot()
    gc.collect()
    before = psutil.Process().memory_info().rss
    for start in range(0, count, BATCH):
        parts: list[Part] = []
        for number in range(start, min(count, start + BATCH)):
            node = NodeId(digest("bench/node", number.to_bytes(8)))
            state.accounts[node] = Account(free=MicroTokens(1_000_000 + number))
            parts.append((Kind.ACCOUNT, node, 0))
        root.update(state, parts)
    gc.collect()
    return state, root, (psutil.Process().memory_info().rss - before) / count


@dataclass(frozen=True)
class Made:
    """Figures of one kind of proof."""

    packed: int
    text: int
    check_ms: float
    file_ms: float

    @property
    def cells(self) -> str:
        """As columns of the table."""
        sizes = f"{self.packed:,} B | {self.text:,} B"
        return f"{sizes} | {self.check_ms:.2f} ms | {self.file_ms:.2f} ms"


@dataclass(frozen=True)
class Bench:
    """One ledger, signed by a committee of some size."""

    leaves: LogTree
    root: StateRoot
    state: State

    def rows(self, size: int) -> Iterator[tuple[str, Made]]:
        """Both kinds of proof."""
        keys = sorted((SigningKey(digest("bench", bytes([n]))) for n in range(size)), key=_node)
        members = tuple(Member(key.node_id, key.node_id, 1, NO_DIGEST, 0) for key in keys)
        committee = Committee(0, NO_DIGEST, 0, members)
        trust = Trust(CHAIN, committee, 0)
        receipt = Receipt(1, CHAIN, 0, "ok")
        index = len(self.leaves)
        self.leaves.append(receipt.leaf)
        certificate = self._certify(committee, keys)
        path = self.leaves.inclusion(index)
        proof = Proof(CHAIN, b"", (), signed(CHAIN, certificate, committee))
        packed = [*certified(certificate), [fields(receipt), index, path]]
        shown = replace(proof, receipt=PlacedReceipt(receipt, index, path))
        yield "receipt", measured(packed, shown, trust, certificate)
        part = self._part()
        packed = [*certified(certificate), [part.part.value, part.bucket, part.path]]
        yield "account", measured(packed, replace(proof, part=part), trust, certificate)

    def _certify(self, committee: Committee, keys: list[SigningKey]) -> Certificate:
        zeros = NO_DIGEST
        checkpoint = Checkpoint(
            1, 0, 1, zeros, self.root.digest, 10**9, zeros, committee.digest, zeros
        )
        self.leaves.append(checkpoint.leaf)
        size, root = len(self.leaves), self.leaves.root()
        quorum = range(committee.quorum)  # all weigh 1
        signatures = tuple((at, sign_checkpoint(keys[at], CHAIN, size, root)) for at in quorum)
        return Certificate(checkpoint, size, root, self.leaves.inclusion(size - 1), signatures)

    def _part(self) -> PlacedPart:
        node = next(iter(self.state.accounts))
        part: Part = (Kind.ACCOUNT, node, 0)
        proof, value = self.root.prove(part), encode(snapshot(self.state, part))
        return PlacedPart(Fact(int(Kind.ACCOUNT), node, 0, value), proof.bucket, proof.path)


def measured(packed: object, proof: Proof, trust: Trust, certificate: Certificate) -> Made:
    """Sizes and times of one proof."""
    text = write_proof(proof)
    assert verify(read_proof(text), trust).certificate == certificate

    def check() -> None:
        client = LightClient(replace(trust, committee=replace(trust.committee)))
        client.check(certificate)
        if proof.receipt is not None:
            check_receipt(*_placed(proof.receipt), certificate)
        if proof.part is not None:
            check_part(proof.part.part, proof.part.bucket, proof.part.path, certificate)

    def read_and_check() -> None:
        verify(read_proof(text), replace(trust, committee=replace(trust.committee)))

    return Made(len(pack(packed)), len(text), milliseconds(check), milliseconds(read_and_check))


def certified(certificate: Certificate) -> list[object]:
    """What has to be handed over of a certificate: the root follows from the path."""
    signatures = [list(one) for one in certificate.signatures]
    return [fields(certificate.checkpoint), certificate.size, list(certificate.path), signatures]


def _placed(placed: PlacedReceipt) -> tuple[Receipt, int, tuple[bytes, ...]]:
    return placed.receipt, placed.index, placed.path


def milliseconds(work: Callable[[], None]) -> float:
    """CPU time, the median of many."""
    times = []
    for _ in range(TIMES):
        start = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - start)
    return statistics.median(times) / 1e6


def _node(key: SigningKey) -> bytes:
    return key.node_id


if __name__ == "__main__":
    sys.exit(main())

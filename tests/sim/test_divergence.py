"""A validator whose state was changed under it: it stops, and writes down what is different."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.machine import Received
from dpin.base.units import Instant, MicroTokens
from dpin.ledger.book import Kind
from dpin.ledger.dump import DumpBucket, DumpHead, DumpReader, Findings, PartDiffers
from dpin.ledger.inquest import Dump
from dpin.ledger.messages import CertificateMessage, read_message
from dpin.ledger.parts import AccountValue
from dpin.ledger.replica import Diverged
from dpin.sim.ledgers import LedgerNode
from dpin.sim.stage import Cast, Report, Stage, since
from dpin.sim.station import AnyMachine
from dpin.sim.timeline import Step
from dpin.sim.world import Habits

VICTIM = 1
HEIGHT = 25


@dataclass
class Rot:
    """A node that is right until one of its accounts has a token's millionth more, another less."""

    inner: LedgerNode
    accounts: tuple[NodeId, NodeId]
    deaf: bool  # to what others say of their states
    done: bool = False

    def step(self, event: object, now: Instant) -> Sequence[object]:
        if self.deaf and isinstance(event, Received):
            try:
                message = read_message(event.payload)
            except PeerFault:
                message = None
            if isinstance(message, CertificateMessage):
                return ()
        effects = self.inner.step(event, now)
        if not self.done and self.inner.state.height >= HEIGHT:
            self.done = True
            for node, change in zip(self.accounts, (1, -1), strict=True):
                account = self.inner.state.accounts.opened(node)
                account.free = MicroTokens(account.free + change)
        return effects


@dataclass
class Seen:
    dumps: list[tuple[NodeId, Dump, list[bytes]]] = field(default_factory=list)
    reports: list[tuple[NodeId, str]] = field(default_factory=list)

    def see(self, step: Step) -> str | None:
        if isinstance(step.effect, Dump):
            self.dumps.append((step.node, step.effect, [*step.effect.records]))
        if isinstance(step.effect, Diverged):
            self.reports.append((step.node, step.effect.report))
        return None


@cache
def rotting(seed: int, *, deaf: bool = False, epoch_ms: int = 60_000) -> tuple[Stage, Seen, Report]:
    seen = Seen()

    def rot(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
        assert index == VICTIM
        assert isinstance(machine, LedgerNode)
        return Rot(machine, (stage.nodes[0], stage.nodes[2]), deaf)

    cast = Cast(lies={VICTIM: rot}, watch=[seen], epoch_ms=epoch_ms)
    stage = Stage("divergence", seed, Habits(), cast)
    stage.ask(20, since(1), since(6))
    return stage, seen, stage.finish(since(7))


def read(records: Sequence[bytes]) -> Findings:
    reader = DumpReader()
    for record in records:
        reader.take(record)
    return reader.finish()


def more(part: PartDiffers) -> int:
    """What an account has here, less what it has by the others."""
    assert part.ours is not None
    assert part.theirs is not None
    ours, theirs = (decode(AccountValue, value) for value in (part.ours, part.theirs))
    return ours.free - theirs.free


@pytest.mark.parametrize("epoch_ms", [60_000, 2_000])
def test_a_node_with_a_wrong_account_stops_and_names_it(epoch_ms: int) -> None:
    stage, seen, report = rotting(1, epoch_ms=epoch_ms)
    assert report.problems == []
    victim = stage.nodes[VICTIM]
    assert [node for node, _ in seen.reports] == [victim]
    [(node, dump, records)] = seen.dumps
    assert node == victim
    assert dump.whole
    findings = read(records)
    by: dict[bytes, int] = {stage.nodes[0]: 1, stage.nodes[2]: -1}
    assert findings.parts
    for kind, whose, _ in [one.part for one in findings.parts]:
        assert kind == Kind.ACCOUNT
        assert whose.hex() in dump.summary
    assert [more(one) for one in findings.parts] == [by[one.part[1]] for one in findings.parts]
    head = findings.head
    assert head.certificate is not None
    assert head.certificate.checkpoint.height == head.checkpoint.height
    assert head.certificate.checkpoint.state_root != head.checkpoint.state_root
    assert len(findings.buckets) == len(findings.held) == len(findings.parts)
    assert findings.unsound == []
    assert not stage.world.blames


def test_a_node_whom_nobody_answers_writes_down_all_that_it_has() -> None:
    stage, seen, _ = rotting(2, deaf=True)
    [(_, dump, records)] = seen.dumps
    assert not dump.whole
    findings = read(records)
    assert findings.parts == []
    assert findings.head.theirs == ()
    assert len(findings.head.others) > 1
    accounts = [entry.id for held in findings.held.values() for entry in held if entry.kind == 1]
    assert {*stage.nodes} <= {*accounts}


def test_a_dump_that_shows_what_was_not_signed_is_refused() -> None:
    _, seen, _ = rotting(1, epoch_ms=60_000)
    [(_, _, records)] = seen.dumps
    with pytest.raises(PeerFault, match="no end"):
        read(records[:-1])
    with pytest.raises(PeerFault, match="no end"):
        read([*records[:1], *records[2:]])
    head = decode(DumpHead, records[0])
    for changed, words in (
        (msgspec.structs.replace(head, ours=head.ours[::-1]), "own buckets"),
        (msgspec.structs.replace(head, theirs=head.theirs[::-1]), "certified buckets"),
        (msgspec.structs.replace(head, certificate=None), "certified buckets"),
        (msgspec.structs.replace(head, ours=head.ours[1:]), "256"),
        (msgspec.structs.replace(head, version=2), "version 2"),
    ):
        with pytest.raises(PeerFault, match=words):
            read([encode(changed), *records[1:]])
    places = [at for at, one in enumerate(records[1:-1], 1) if decode(DumpBucket, one).theirs]
    bent = list(records)
    page = decode(DumpBucket, records[places[0]])
    bent[places[0]] = encode(msgspec.structs.replace(page, entries=page.entries[1:]))
    with pytest.raises(PeerFault, match="not what was certified"):
        read(bent)

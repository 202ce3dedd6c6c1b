"""Whoever has an archive alone comes to the same ledger, or learns where it is not as told."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest
from dpin.ledger import execute, money
from dpin.ledger.annals import END, Record
from dpin.ledger.archive import (
    ArchivedBlock,
    ArchivedEnd,
    Archivist,
    Audit,
    Closing,
    Entry,
    Preface,
    Summary,
    read_entry,
)
from dpin.ledger.blocks import read_block
from dpin.ledger.money import MAX_SUPPLY
from dpin.ledger.reexecution import Difference, Told
from tests.support.ledger_logs import Logs, logs

LOGS = logs()
Change = Callable[[list[Entry]], None]


def blocks(node: int) -> list[bytes]:
    logged = (decode(Record, record) for record in LOGS.records[node])
    return [record.body for record in logged if record.kind != END]


def archived(node: int = 0, found: Logs = LOGS) -> list[bytes]:
    archivist = Archivist(found.genesis)
    records = [archivist.preface()]
    for record in found.records[node]:
        logged = decode(Record, record)
        if logged.kind == END:
            records.append(archivist.end(logged.body))
        else:
            records += archivist.take(logged.body)
    return [*records, archivist.closing()]


ARCHIVE = archived()


def audited(records: Sequence[bytes]) -> Summary:
    audit = Audit(records[0])
    for record in records[1:]:
        for _ in audit.take(record):
            pass
    return audit.finish()


def told(node: int) -> list[Told]:
    entries = map(read_entry, archived(node))
    return [entry for entry in entries if isinstance(entry, Told)]


def place(entries: list[Entry], kind: type[Entry], number: int) -> int:
    return [at for at, entry in enumerate(entries) if isinstance(entry, kind)][number]


def test_an_archive_leads_to_the_state_that_the_nodes_came_to() -> None:
    summary = audited(ARCHIVE)
    assert (summary.height, summary.log_root) == (LOGS.height, LOGS.log_root)
    assert summary.transactions >= 12
    assert summary.supply == MAX_SUPPLY
    assert summary.accounts == 5
    assert 0 < summary.certified <= summary.height
    assert summary.state_root != NO_DIGEST


def test_nodes_that_got_the_blocks_in_another_order_tell_the_same_commits() -> None:
    assert blocks(0) != blocks(1)
    one, other = told(0), told(1)
    both = min(len(one), len(other))
    assert both > 10
    assert one[:both] == other[:both]


def state_root(entries: list[Entry]) -> None:
    at = next(at for at, one in enumerate(entries) if isinstance(one, Told) and any(one.state_root))
    entries[at] = msgspec.structs.replace(entries[at], state_root=Digest(bytes(31) + b"\1"))


def receipt_root(entries: list[Entry]) -> None:
    at = place(entries, Told, 6)
    entries[at] = msgspec.structs.replace(entries[at], log_root=Digest(bytes(31) + b"\1"))


def left_out(entries: list[Entry]) -> None:
    del entries[place(entries, Told, 4)]


def told_twice(entries: list[Entry]) -> None:
    at = place(entries, Told, 4)
    entries.insert(at, entries[at])


def without_a_block(entries: list[Entry]) -> None:
    del entries[place(entries, ArchivedBlock, 0)]


def with_a_forged_block(entries: list[Entry]) -> None:
    at = place(entries, ArchivedBlock, 9)
    entry = entries[at]
    assert isinstance(entry, ArchivedBlock)
    vertex = read_block(entry.block)
    header = msgspec.structs.replace(
        vertex.block.header, timestamp_ms=vertex.block.header.timestamp_ms + 1
    )
    entries[at] = ArchivedBlock(encode(msgspec.structs.replace(vertex.block, header=header)))


def with_junk(entries: list[Entry]) -> None:
    entries[place(entries, ArchivedBlock, 9)] = ArchivedBlock(b"junk")


def with_a_block_of_another_epoch(entries: list[Entry]) -> None:
    at = place(entries, ArchivedBlock, 9)
    entry = entries[at]
    assert isinstance(entry, ArchivedBlock)
    vertex = read_block(entry.block)
    header = msgspec.structs.replace(vertex.block.header, epoch=7)
    entries[at] = ArchivedBlock(encode(msgspec.structs.replace(vertex.block, header=header)))


def cut(entries: list[Entry]) -> None:
    entries.pop()


def shorter(entries: list[Entry]) -> None:
    """Its end is dropped, and the last record with it is put back."""
    del entries[place(entries, Told, -1) :]
    entries.append(read_entry(ARCHIVE[-1]))


def longer(entries: list[Entry]) -> None:
    entries.append(entries[1])


def two_beginnings(entries: list[Entry]) -> None:
    entries.insert(5, entries[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (state_root, "commit 10: state_root is 00"),
        (receipt_root, "commit 7: log_root is 00"),
        (left_out, "commit 5: the blocks decide it, the archive leaves it out"),
        (told_twice, "commit 5: the archive tells it, no block decides it"),
        (without_a_block, "follows a block that is not there"),
        (with_a_forged_block, "block 10 "),
        (with_junk, "block 10: "),
        (with_a_block_of_another_epoch, "is of epoch 7"),
        (cut, "the archive was cut"),
        (shorter, "leaves it out"),
        (longer, "goes on after its last record"),
        (two_beginnings, "begins twice"),
    ],
)
def test_whatever_is_changed_is_found_and_named(change: Change, said: str) -> None:
    entries = [read_entry(record) for record in ARCHIVE]
    change(entries)
    with pytest.raises(Difference, match=said):
        audited([encode(entry) for entry in entries])


def test_what_is_no_archive_is_refused() -> None:
    preface = read_entry(ARCHIVE[0])
    assert isinstance(preface, Preface)
    for first in (
        b"junk",
        ARCHIVE[1],
        encode(Preface(2, preface.genesis)),
        encode(Preface(1, b"")),
    ):
        with pytest.raises(Difference):
            Audit(first)


def test_rules_that_lead_to_another_state_than_the_validators_signed_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An archive may tell whatever its writer executed: what the validators signed stands in it."""
    monkeypatch.setattr(execute, "MIX_TAG", "dpin/another-mix/v1")
    with pytest.raises(Difference, match=r"checkpoint 1 at height 10 is .* signed otherwise"):
        archived()


def test_a_token_out_of_nowhere_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    audit = Audit(ARCHIVE[0])
    for record in ARCHIVE[1:]:
        list(audit.take(record))
    monkeypatch.setattr(money, "supply", lambda _: MAX_SUPPLY + 1)
    with pytest.raises(Difference, match="not 1000000000000000"):
        audit.finish()


def test_the_counts_at_the_end_are_checked() -> None:
    closing = read_entry(ARCHIVE[-1])
    assert isinstance(closing, Closing)
    for field in ("blocks", "height"):
        wrong = msgspec.structs.replace(closing, **{field: 1})
        with pytest.raises(Difference, match="the archive counts"):
            audited([*ARCHIVE[:-1], encode(wrong)])
    wrong = msgspec.structs.replace(closing, commit=digest("test/other", b""))
    with pytest.raises(Difference, match="the archive counts"):
        audited([*ARCHIVE[:-1], encode(wrong)])


def test_an_archive_goes_through_epochs_and_holds_what_ended_them() -> None:
    found = logs(transfers=6, run_seconds=68)
    records = archived(0, found)
    summary = audited(records)
    assert (summary.epoch, summary.height) == (1, found.height)
    assert summary.log_root == found.log_root
    entries = [read_entry(record) for record in records]
    [end] = [entry for entry in entries if isinstance(entry, ArchivedEnd)]
    closed = end.handover.certificate.checkpoint.height
    assert {entry.epoch for entry in entries if isinstance(entry, Told)} == {0, 1}
    assert summary.certified >= closed
    # Whoever says that another checkpoint was signed has to show the signatures.
    at = entries.index(end)
    checkpoint = msgspec.structs.replace(end.handover.certificate.checkpoint, time_ms=1)
    certificate = msgspec.structs.replace(end.handover.certificate, checkpoint=checkpoint)
    forged = ArchivedEnd(msgspec.structs.replace(end.handover, certificate=certificate))
    with pytest.raises(Difference, match="the end of epoch 0: "):
        audited([*records[:at], encode(forged), *records[at + 1 :]])
    early = next(at for at, entry in enumerate(entries) if isinstance(entry, Told)) + 1
    with pytest.raises(Difference, match="signed where it does not end"):
        audited([*records[:early], encode(end), *records[early:]])

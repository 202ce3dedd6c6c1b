"""Dumps of nodes whose ledgers were not those of others: what differed, and how."""

from pathlib import Path
from typing import Final

import msgspec

from dpin.base.codec import Wire, decode
from dpin.base.errors import Misuse, NotFound, PeerFault
from dpin.cli.archives import Run, records_in
from dpin.cli.link import show_values
from dpin.cli.options import show
from dpin.ledger.book import Kind
from dpin.ledger.divergence import differing
from dpin.ledger.dump import DumpReader, Findings, PartDiffers, compare, summary
from dpin.ledger.frozen import Entry, Frozen
from dpin.ledger.parts import VALUES
from dpin.ledger.reexecution import Difference
from dpin.node.mishaps import DUMP_KIND

SHOWN_MAX: Final = 100  # parts that are listed for people


def is_dump(path: Path) -> bool:
    """Whether a file is a dump; its records are of another kind than those of an archive."""
    if not path.is_file():
        return False
    first = next(records_in(path, torn=True), None)
    return first is not None and first.kind == DUMP_KIND


def read(path: Path) -> Findings:
    """What a dump shows; raises Misuse for one that was cut or changed."""
    reader = DumpReader()
    try:
        for record in records_in(path, torn=False):
            reader.take(record.body)
        return reader.finish()
    except PeerFault as fault:
        raise Misuse(f"{path}: {fault}", fix="copy it again from the node that wrote it") from None


def report(findings: Findings, *, json: bool) -> None:
    """Say what a dump shows; raises Difference, as it always shows one."""
    if json:
        show_values("divergence", _values(findings))
    else:
        show(text(findings))
    raise Difference(f"commit {findings.head.checkpoint.height}: {summary(findings)}")


def hold_against(findings: Findings, run: Run, *, json: bool) -> None:
    """Say what differs between the node's own state in a dump, and a ledger that is executed again.

    Raises Difference where something does, NotFound where that ledger has no such checkpoint.
    """
    found = _against(findings, run)
    if found.buckets:
        report(found, json=json)
    elif json:
        show_values("divergence", _values(found))
    else:
        show(f"the state at commit {found.head.checkpoint.height} is the same there")


def _against(findings: Findings, run: Run) -> Findings:
    checkpoint, executor = findings.head.checkpoint, run.again.executor
    if executor.chain != findings.head.chain:
        raise Difference("the dump is of another network")
    for step in run.steps():
        if step.commit.height == checkpoint.height and step.applied.checkpoint is not None:
            frozen = executor.frozen.newest
            assert frozen is not None, "a checkpoint has just been made"
            return _compared(findings, frozen)
    raise NotFound(f"there is no checkpoint at commit {checkpoint.height} in that ledger")


def _compared(findings: Findings, frozen: Frozen) -> Findings:
    head = msgspec.structs.replace(findings.head, theirs=frozen.hashes)
    numbers = [one for one in differing(head.ours, head.theirs) if one in findings.held]
    theirs = {number: frozen.bucket(number) for number in numbers}
    held: dict[int, tuple[Entry, ...]] = {number: findings.held[number] for number in numbers}
    return compare(head, held, theirs)


def text(findings: Findings) -> str:
    """What a dump shows, for people."""
    head = findings.head
    ours, known = head.checkpoint, head.certificate
    lines = [
        f"node {head.node.hex()}",
        f"checkpoint {ours.sequence} of epoch {ours.epoch} at commit {ours.height}",
        f"state root here       {ours.state_root.hex()}",
    ]
    if known is not None:
        lines.append(f"state root certified  {known.checkpoint.state_root.hex()}")
    lines += [f"signed otherwise by member {author}: {name.hex()}" for author, name in head.others]
    if findings.buckets:
        lines.append("buckets that differ: " + ", ".join(map(str, findings.buckets)))
    for number in findings.unsound:
        lines.append(f"bucket {number} here has not the hash that the node signed: its memory?")
    for part in findings.parts[:SHOWN_MAX]:
        lines += _part_text(part)
    return "\n".join(lines)


def _part_text(part: PartDiffers) -> list[str]:
    kind, identity, number = part.part
    place = f"{kind.name.lower()} {identity.hex()}"
    lines = [f"{place} {number}" if kind in {Kind.UNIT, Kind.ROUND, Kind.COMMITTEE} else place]
    for name, one, other in _fields(part):
        lines.append(f"  {name}: {one} here, {other} there")
    return lines


def _fields(part: PartDiffers) -> list[tuple[str, str, str]]:
    """The fields of a part that differ; all of them where one side has none."""
    ours, theirs = (_read(part.part[0], value) for value in (part.ours, part.theirs))
    names = dict.fromkeys([*ours, *theirs])
    pairs = ((name, ours.get(name, "nothing"), theirs.get(name, "nothing")) for name in names)
    return [pair for pair in pairs if pair[1] != pair[2]]


def _read(kind: Kind, value: bytes | None) -> dict[str, str]:
    if value is None:
        return {}
    try:
        read: Wire = decode(VALUES[kind], value)
    except PeerFault:
        return {"value": value.hex()}
    return {name: _shown(one) for name, one in msgspec.structs.asdict(read).items()}


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _values(findings: Findings) -> dict[str, object]:
    head, known = findings.head, findings.head.certificate
    return {
        "node": head.node.hex(),
        "height": head.checkpoint.height,
        "state_root": head.checkpoint.state_root.hex(),
        "certified_root": None if known is None else known.checkpoint.state_root.hex(),
        "buckets": findings.buckets,
        "unsound": findings.unsound,
        "parts": [
            {
                "kind": one.part[0].name.lower(),
                "id": one.part[1].hex(),
                "number": one.part[2],
                "differs": {name: [ours, theirs] for name, ours, theirs in _fields(one)},
            }
            for one in findings.parts
        ],
    }

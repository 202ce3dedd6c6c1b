"""A model's lineage as text: read, verified, drawn."""

from pathlib import Path
from typing import Final

from dpin.base.errors import Misuse, NotVerified, PeerFault, unreadable
from dpin.base.ids import NO_DIGEST, short
from dpin.cli.link import connect
from dpin.cli.options import whole_id
from dpin.client.errors import ClientError
from dpin.compute.lineage import (
    Lineage,
    TensorLeaves,
    check_model,
    entry_digest,
    in_model,
    read_lineage,
)
from dpin.node.descentviews import DescentView

LINEAGE_FILE: Final = "lineage.json"
MODEL_FILES: Final = ("model.safetensors", "adapter_model.safetensors")


def read_folder(folder: Path, signer: str) -> tuple[Lineage, TensorLeaves]:
    """The lineage of a model's folder; raises Misuse where there is none, NotVerified if false."""
    wanted = whole_id(signer, "64 hex digits: dpin peers --json") if signer else ""
    try:
        text = (folder / LINEAGE_FILE).read_text(encoding="utf-8", errors="replace")
        found = [name for name in MODEL_FILES if (folder / name).is_file()]
        model = (folder / (found or MODEL_FILES)[0]).read_bytes()
    except OSError as problem:
        fix = "name a folder that `dpin fetch` wrote"
        raise unreadable(problem.filename, problem, fix=fix) from None
    try:
        lineage = read_lineage(text)
        leaves = check_model(lineage, model)
    except PeerFault as fault:
        raise NotVerified(f"not proven: {fault}", fix="fetch the model again") from None
    if wanted and lineage.origin.requester.hex() != wanted:
        raise NotVerified(
            f"not proven: signed by {lineage.origin.requester.hex()}", fix="ask who that is"
        )
    return lineage, leaves


def on_ledger(lineage: Lineage, home: str | None, *, must: bool) -> str:
    """What the ledger says of it, in a line; raises NotVerified where it says otherwise.

    Where no node answers, or none of the job's network, that is said; with `must` it is raised.
    """
    try:
        with connect(home) as node:
            return compared(lineage, node.descent(lineage.origin.job.hex()))
    except (ClientError, Misuse) as problem:
        if must:
            raise
        return f"not compared with the ledger: {problem}"


def compared(lineage: Lineage, ledger: DescentView) -> str:
    """That the ledger says the same of every round, in lines; raises NotVerified."""
    origin, entries = lineage.origin, lineage.entries
    said = (origin.job, origin.requester, origin.manifest, origin.fingerprint)
    found = (ledger.job, ledger.requester, ledger.manifest, ledger.fingerprint)
    if tuple(part.hex() for part in said) != found or len(ledger.rounds) != len(entries) - 1:
        raise _differs("its origin or the number of its rounds")
    if entries[0].state_hash.hex() != ledger.state_hash:
        raise _differs("the state that it began with")
    states = 0
    for record, before, after in zip(ledger.rounds, entries, entries[1:], strict=False):
        taken = [(one.provider, one.lease, one.update, one.steps) for one in record.taken]
        claimed = [
            (one.provider.hex(), one.lease.hex(), one.update.hex(), one.steps)
            for one in after.taken
        ]
        if taken != claimed:
            raise _differs(f"what round {record.round} took")
        if record.state_hash is not None and before.state_hash != NO_DIGEST:
            states += 1
            if record.state_hash != before.state_hash.hex():
                raise _differs(f"the state that round {record.round} began with")
    rounds = len(ledger.rounds)
    text = f"on the ledger: the updates of all {rounds} rounds, the states before {states} of them"
    return f"{text}\n{_last(entries[-1].state_hash.hex(), ledger)}"


def _last(signed: str, ledger: DescentView) -> str:
    """What seats say of the state that the requester has signed as the last; raises NotVerified.

    Less than a majority proves nothing, either way; it is told.
    """
    words = [one.state_hash for one in ledger.said if one.state_hash is not None]
    same = words.count(signed)
    if ledger.ended_in not in {None, signed}:
        raise _differs("the state that it ended in")
    if not words:
        later = ", or not yet" if ledger.said_open else ""
        return f"the last state: by its requester's signature alone, no seat says it{later}"
    others = f", {len(words) - same} say another" if same < len(words) else ""
    few = "" if ledger.ended_in else ": too few to agree, its requester has signed it"
    return f"the last state: {same} of {len(ledger.said)} seats say it{others}{few}"


def _differs(what: str) -> NotVerified:
    return NotVerified(
        f"not proven: the ledger says otherwise of {what}", fix="fetch the model again"
    )


def proof_text(lineage: Lineage, leaves: TensorLeaves, name: str) -> dict[str, object]:
    """That one tensor is the signed model's: all that a checker needs beside its bytes."""
    try:
        index, path = leaves.proof(name)
    except PeerFault as fault:
        raise Misuse(str(fault), fix=f"one of {', '.join(leaves.names[:3])}, ..") from None
    leaf, size = leaves.leaves[index], len(leaves.names)
    assert in_model(lineage.model_root, leaf, (index, size), path), "it is a leaf of the root"
    return {
        "tensor": name,
        "leaf": leaf.hex(),
        "index": index,
        "size": size,
        "path": " ".join(part.hex() for part in path),
        "root": lineage.model_root.hex(),
    }


def values(lineage: Lineage) -> dict[str, object]:
    """The lineage for programs."""
    origin = lineage.origin
    return {
        "verified": True,
        "chain": lineage.chain.hex(),
        "job": origin.job.hex(),
        "requester": origin.requester.hex(),
        "manifest": origin.manifest.hex(),
        "code": origin.code.hex(),
        "fingerprint": origin.fingerprint.hex(),
        "robust": origin.robust.rule,
        "privacy": origin.privacy.mode,
        "model_root": lineage.model_root.hex(),
        "entries": [
            {
                "round": entry.round,
                "digest": entry_digest(entry).hex(),
                "state_hash": entry.state_hash.hex(),
                "updates": [one.update.hex() for one in entry.taken],
            }
            for entry in lineage.entries
        ],
    }


def drawn(lineage: Lineage, tensors: int, ledger: str) -> str:
    """The lineage for people: a line a round, oldest first."""
    origin = lineage.origin
    rows = [
        f"proven: {len(lineage.entries) - 1} rounds, signed by {origin.requester.hex()}",
        f"job {short(origin.job)}  manifest {short(origin.manifest)}  code {short(origin.code)}  "
        f"class {short(origin.fingerprint)}",
        f"data {len(origin.shards)} shards  robust {origin.robust.rule}  "
        f"privacy {origin.privacy.mode}",
    ]
    rows.append(ledger)
    for entry in lineage.entries:
        state = "unknown " if entry.state_hash == NO_DIGEST else short(entry.state_hash)
        mark = "o" if entry.round == 0 else "|"
        taken = "  ".join(f"{short(one.provider)}:{one.steps}" for one in entry.taken)
        rows.append(f"{mark} {entry.round:>4}  state {state}  {taken or 'the start'}".rstrip())
    rows.append(f"* model {short(lineage.model_root)}, {tensors} tensors")
    return "\n".join(rows)

"""A model's lineage as text: read, verified, drawn."""

from pathlib import Path
from typing import Final

from dpin.base.errors import Misuse, NotVerified, PeerFault
from dpin.base.ids import NO_DIGEST, short
from dpin.compute.lineage import (
    Lineage,
    TensorLeaves,
    check_model,
    entry_digest,
    in_model,
    read_lineage,
)

LINEAGE_FILE: Final = "lineage.json"
MODEL_FILE: Final = "model.safetensors"


def read_folder(folder: Path, signer: str) -> tuple[Lineage, TensorLeaves]:
    """The lineage of a model's folder; raises Misuse where there is none, NotVerified if false."""
    try:
        text = (folder / LINEAGE_FILE).read_text(encoding="utf-8", errors="replace")
        model = (folder / MODEL_FILE).read_bytes()
    except OSError as problem:
        raise Misuse(
            f"{problem.filename}: {problem.strerror}", fix="name a folder that `dpin fetch` wrote"
        ) from None
    try:
        lineage = read_lineage(text)
        leaves = check_model(lineage, model)
    except PeerFault as fault:
        raise NotVerified(f"not proven: {fault}", fix="fetch the model again") from None
    if signer and lineage.origin.requester.hex() != signer.lower():
        raise NotVerified(
            f"not proven: signed by {lineage.origin.requester.hex()}", fix="ask who that is"
        )
    return lineage, leaves


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


def drawn(lineage: Lineage, tensors: int) -> str:
    """The lineage for people: a line a round, oldest first."""
    origin = lineage.origin
    rows = [
        f"proven: {len(lineage.entries) - 1} rounds, signed by {origin.requester.hex()}",
        f"job {short(origin.job)}  manifest {short(origin.manifest)}  code {short(origin.code)}  "
        f"class {short(origin.fingerprint)}",
        f"data {len(origin.shards)} shards  robust {origin.robust.rule}  "
        f"privacy {origin.privacy.mode}",
    ]
    for entry in lineage.entries:
        state = "unknown " if entry.state_hash == NO_DIGEST else short(entry.state_hash)
        mark = "o" if entry.round == 0 else "|"
        taken = "  ".join(f"{short(one.provider)}:{one.steps}" for one in entry.taken)
        rows.append(f"{mark} {entry.round:>4}  state {state}  {taken or 'the start'}".rstrip())
    rows.append(f"* model {short(lineage.model_root)}, {tensors} tensors")
    return "\n".join(rows)

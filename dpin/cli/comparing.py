"""Somebody's proof held against what the running node knows, told to people."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from dpin.base.errors import NotVerified
from dpin.cli.link import connect
from dpin.light.files import write_proof
from dpin.light.proofs import Proof
from dpin.node.proofviews import CheckpointView, ComparisonView

AT_ONCE: Final = 32  # ends of epochs in one request
SHORT: Final = 8
REFUSED: Final = ("other", "unsigned")


def ask_node(home: str | None, proof: Proof) -> ComparisonView:
    """Hold its checkpoints against the node's, oldest first; raises ClientError.

    Only what was signed is sent. A long proof is asked about in parts, up to one that differs.
    """
    bare = replace(proof, genesis=b"", continuation=None, receipt=None, part=None)
    ends, compared, known = proof.crossings, 0, 0
    with connect(home) as node:
        while True:
            now, ends = ends[:AT_ONCE], ends[AT_ONCE:]
            last = now[-1].closing if ends else proof.certificate
            found = node.compare(
                write_proof(replace(bare, crossings=now[:-1] if ends else now, certificate=last))
            )
            compared, known = compared + found.compared, known + found.known
            found = msgspec.structs.replace(found, compared=compared, known=known)
            if found.verdict in REFUSED or not ends:
                return found


def refuse(found: ComparisonView | None) -> None:
    """Raises NotVerified where the node has another ledger, or knows other validators."""
    if found is None or found.verdict not in REFUSED:
        return
    where = _named(found.checkpoint)
    if found.own is None:
        raise NotVerified(
            f"not signed by a quorum of those who validated epoch {found.checkpoint.epoch} as the "
            f"node knows them: {where}",
            fix="ask where that proof, or what you trust, comes from",
        )
    both = " ".join(node[:SHORT] for node in found.signed_both)
    by = f"; validators that signed both: {both}" if both else ""
    raise NotVerified(
        f"two signed ledgers: {where} contradicts the node's {_named(found.own)}{by}",
        fix="keep this file, and compare checkpoints with people you know: dpin ledger checkpoint",
    )


def node_text(found: ComparisonView | None) -> str:
    """One more row of what is shown."""
    if found is None:
        return ""
    if found.verdict == "same":
        said = f"has the same {found.known} of {found.compared} signed checkpoints"
        return f"\n{'your node':<11} {said}"
    said = f"cannot tell: {_named(found.checkpoint)} is newer than what it has, or older"
    return f"\n{'your node':<11} {said}; {found.known} of {found.compared} are the same"


def with_node(values: Mapping[str, object], found: ComparisonView | None) -> dict[str, object]:
    """The verdict for programs: not verified, where the node refuses it."""
    if found is None:
        return dict(values)
    verified = found.verdict not in REFUSED
    return {**values, "verified": verified, "node": msgspec.to_builtins(found)}


def _named(checkpoint: CheckpointView) -> str:
    return (
        f"checkpoint {checkpoint.sequence} of epoch {checkpoint.epoch} (log of "
        f"{checkpoint.log_size} leaves, root {checkpoint.log_root[: 2 * SHORT]})"
    )

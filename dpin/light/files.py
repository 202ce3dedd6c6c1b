"""Proofs and trusted checkpoints as JSON files; docs/protocol/proofs.md has both."""

import json
from dataclasses import asdict
from typing import Final

from dpin.light.client import Trust
from dpin.light.facts import Checkpoint, Committee, Member, NotProven, Part, Receipt, digest
from dpin.light.fields import BadFile, Fields, read_json, shown
from dpin.light.notes import read_note, write_note
from dpin.light.proofs import (
    Continuation,
    Crossing,
    PlacedPart,
    PlacedReceipt,
    Proof,
    SignedCheckpoint,
)

PROOF: Final = "dpin-proof/1"
CHECKPOINT: Final = "dpin-checkpoint/1"
CHARS_MAX: Final = 64 << 20  # a year of hourly epochs fits


# --- reading -------------------------------------------------------------------------------------


def read_proof(text: str) -> Proof:
    """Read a proof; nothing is shown yet. Raises BadFile, or BadNote for what is no signed note."""
    if len(text) > CHARS_MAX:
        raise BadFile(f"a proof has at most {CHARS_MAX} characters")
    return read_json(text, "proof", _proof)


def read_trust(text: str) -> Trust:
    """Read a checkpoint to be trusted; raises BadFile."""
    if len(text) > CHARS_MAX:
        raise BadFile(f"a checkpoint has at most {CHARS_MAX} characters")
    return read_json(text, "checkpoint", _trust)


def _format(fields: Fields, expected: str) -> None:
    found = fields.text("format")
    if found != expected:
        raise BadFile(f"the format is {found[:40]!r}, and {expected!r} is read here")


def _proof(fields: Fields) -> Proof:
    _format(fields, PROOF)
    chain, genesis = fields.digest("chain"), fields.data("genesis")
    if genesis and digest("dpin/genesis/v1", genesis) != chain:
        raise NotProven("the genesis is not that of this network")
    return Proof(
        chain,
        genesis,
        fields.many("crossings", _crossing),
        fields.inner("certificate", _signed),
        fields.maybe("continuation", lambda name: fields.inner(name, _continuation)),
        fields.maybe("receipt", lambda name: fields.inner(name, _receipt)),
        fields.maybe("part", lambda name: fields.inner(name, _part)),
    )


def _crossing(fields: Fields) -> Crossing:
    return Crossing(fields.inner("certificate", _signed), fields.inner("committee", _committee))


def _signed(fields: Fields) -> SignedCheckpoint:
    checkpoint = fields.inner("checkpoint", _checkpoint)
    return SignedCheckpoint(checkpoint, fields.digests("path"), read_note(fields.text("note")))


def _checkpoint(fields: Fields) -> Checkpoint:
    return Checkpoint(
        sequence=fields.number("sequence"),
        epoch=fields.number("epoch"),
        height=fields.number("height"),
        commit=fields.digest("commit"),
        state_root=fields.digest("state_root"),
        time_ms=fields.number("time_ms"),
        params=fields.digest("params"),
        committee=fields.digest("committee"),
        next_committee=fields.digest("next_committee"),
    )


def _committee(fields: Fields) -> Committee:
    return Committee(
        fields.number("epoch"),
        fields.digest("seed"),
        fields.number("base"),
        fields.many("members", _member),
    )


def _member(fields: Fields) -> Member:
    return Member(
        fields.digest("node"),
        fields.digest("signer"),
        fields.number("weight"),
        fields.digest("anchor"),
        fields.number("anchor_round"),
    )


def _continuation(fields: Fields) -> Continuation:
    return Continuation(fields.number("size"), fields.digests("path"))


def _receipt(fields: Fields) -> PlacedReceipt:
    receipt = Receipt(
        fields.number("height"),
        fields.digest("subject"),
        fields.number("code"),
        fields.text("detail"),
    )
    return PlacedReceipt(receipt, fields.number("index"), fields.digests("path"))


def _part(fields: Fields) -> PlacedPart:
    kind, identity = fields.number("kind"), fields.data("identity")
    number, value = fields.number("number"), fields.maybe("value", fields.data)
    part = Part(kind, identity, number, value)
    return PlacedPart(part, fields.data("bucket"), fields.digests("path"))


def _trust(fields: Fields) -> Trust:
    _format(fields, CHECKPOINT)
    return Trust(
        chain=fields.digest("chain"),
        committee=fields.inner("committee", _committee),
        seen_ms=fields.number("seen_ms"),
        size=fields.number("size"),
        root=fields.digest("root"),
        sequence=fields.number("sequence"),
        time_ms=fields.number("time_ms"),
    )


# --- writing -------------------------------------------------------------------------------------


def write_proof(proof: Proof) -> str:
    """The text of the file."""
    crossings = [
        {"certificate": _signed_json(one.closing), "committee": _committee_json(one.committee)}
        for one in proof.crossings
    ]
    whole = {
        "format": PROOF,
        "chain": proof.chain.hex(),
        "genesis": shown(proof.genesis),
        "crossings": crossings,
        "certificate": _signed_json(proof.certificate),
        "continuation": proof.continuation and _continuation_json(proof.continuation),
        "receipt": proof.receipt and _receipt_json(proof.receipt),
        "part": proof.part and _part_json(proof.part),
    }
    return json.dumps(whole, indent=1) + "\n"


def write_trust(trust: Trust) -> str:
    """The text of the file."""
    whole = {
        "format": CHECKPOINT,
        "chain": trust.chain.hex(),
        "sequence": trust.sequence,
        "time_ms": trust.time_ms,
        "seen_ms": trust.seen_ms,
        "size": trust.size,
        "root": trust.root.hex(),
        "committee": _committee_json(trust.committee),
    }
    return json.dumps(whole, indent=1) + "\n"


def _plain(fact: Checkpoint | Member | Receipt) -> dict[str, object]:
    """Numbers and text as they are, bytes in hexadecimal."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in asdict(fact).items()
    }


def _signed_json(signed: SignedCheckpoint) -> dict[str, object]:
    return {
        "checkpoint": _plain(signed.checkpoint),
        "path": _hex(signed.path),
        "note": write_note(signed.note),
    }


def _committee_json(committee: Committee) -> dict[str, object]:
    return {
        "epoch": committee.epoch,
        "seed": committee.seed.hex(),
        "base": committee.base,
        "members": [_plain(member) for member in committee.members],
    }


def _continuation_json(continuation: Continuation) -> dict[str, object]:
    return {"size": continuation.size, "path": _hex(continuation.path)}


def _receipt_json(placed: PlacedReceipt) -> dict[str, object]:
    return {**_plain(placed.receipt), "index": placed.index, "path": _hex(placed.path)}


def _part_json(placed: PlacedPart) -> dict[str, object]:
    part = placed.part
    return {
        "kind": part.kind,
        "identity": shown(part.identity),
        "number": part.number,
        "value": None if part.value is None else shown(part.value),
        "bucket": shown(placed.bucket),
        "path": _hex(placed.path),
    }


def _hex(hashes: tuple[bytes, ...]) -> list[str]:
    return [one.hex() for one in hashes]

"""Where a model comes from: one entry a round, each naming the one before, the last one signed.

The head is bound to the exported file by a root over its tensors, so any layer can be shown to be
the signed model's without the others. Nothing here needs torch: a reader checks bytes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from dpin.base import merkle
from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SigningKey, digest, verify
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, NO_DIGEST, BlobId, ChainId, Digest, JobId, NodeId, Round
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.task import STATE_TAG

LINEAGE_TAG: Final = "dpin/lineage/v1"
ENTRY_TAG: Final = "dpin/lineage/entry/v1"
SCHEMA: Final = "dpin.v1/lineage"
TEXT_BYTES_MAX: Final = 64 << 20
LENGTH_BYTES: Final = 8
ITEM_BYTES: Final = 4


class Origin(Wire, frozen=True):
    """What all entries of a job share."""

    job: JobId
    requester: NodeId
    manifest: BlobId
    code: Digest  # of the source that exported it
    fingerprint: Digest  # numeric class
    shards: tuple[BlobId, ...]
    robust: RobustSpec
    privacy: PrivacySpec


class Taken(Wire, frozen=True):
    """One update that a round has taken."""

    provider: NodeId
    lease: Digest
    update: BlobId
    steps: int


class Entry(Wire, frozen=True):
    """The state before round `round`, and what the round before it took to come there."""

    origin: Digest
    parent: Digest  # digest of the entry before; NO_DIGEST for the first
    round: Round
    state_hash: Digest
    taken: tuple[Taken, ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """A chain of entries from the initial state to an exported model."""

    chain: ChainId
    origin: Origin
    entries: tuple[Entry, ...]
    model_root: Digest
    signature: bytes


def entry_digest(entry: Entry) -> Digest:
    """What the next entry names as its parent."""
    return digest(ENTRY_TAG, encode(entry))


def linked(
    origin: Origin, start: Digest, rounds: Sequence[tuple[Digest, tuple[Taken, ...]]]
) -> tuple[Entry, ...]:
    """Entries from the initial state on; of each round the state it led to and what it took."""
    named = digest(LINEAGE_TAG, encode(origin))
    entries = [Entry(named, NO_DIGEST, Round(0), start, ())]
    for number, (state_hash, taken) in enumerate(rounds, 1):
        parent = entry_digest(entries[-1])
        entries.append(Entry(named, parent, Round(number), state_hash, taken))
    return tuple(entries)


def signed(
    key: SigningKey, chain: ChainId, origin: Origin, entries: tuple[Entry, ...], model_root: Digest
) -> Lineage:
    """The lineage, signed by the job's requester."""
    signature = key.sign(LINEAGE_TAG, chain, _said(entries[-1], model_root))
    return Lineage(chain, origin, entries, model_root, signature)


def _said(head: Entry, model_root: Digest) -> Digest:
    return digest(LINEAGE_TAG, encode([entry_digest(head), model_root]))


def lineage_text(lineage: Lineage) -> str:
    """The file `lineage.json`; canonical bytes as hexadecimal."""
    record = {
        "schema": SCHEMA,
        "chain": lineage.chain.hex(),
        "origin": encode(lineage.origin).hex(),
        "entries": [encode(entry).hex() for entry in lineage.entries],
        "model_root": lineage.model_root.hex(),
        "signature": lineage.signature.hex(),
    }
    return json.dumps(record, indent=1) + "\n"


def read_lineage(text: str) -> Lineage:
    """Read the file and check the chain and its signature; raises PeerFault, saying what."""
    try:
        record = json.loads(text)
        entries = tuple(decode(Entry, bytes.fromhex(entry)) for entry in record["entries"])
        lineage = Lineage(
            chain=ChainId(bytes.fromhex(record["chain"])),
            origin=decode(Origin, bytes.fromhex(record["origin"])),
            entries=entries,
            model_root=Digest(bytes.fromhex(record["model_root"])),
            signature=bytes.fromhex(record["signature"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        raise PeerFault("the lineage cannot be read") from None
    if len(text) > TEXT_BYTES_MAX or not entries:
        raise PeerFault("the lineage is empty or too long")
    _check_chain(lineage)
    head = _said(entries[-1], lineage.model_root)
    if not verify(lineage.origin.requester, LINEAGE_TAG, lineage.chain, head, lineage.signature):
        raise PeerFault("the lineage is not signed by its requester: it is forged or cut short")
    return lineage


def _check_chain(lineage: Lineage) -> None:
    named, parent = digest(LINEAGE_TAG, encode(lineage.origin)), NO_DIGEST
    for number, entry in enumerate(lineage.entries):
        if entry.origin != named:
            raise PeerFault(f"entry {number} is of another job")
        if entry.round != number:
            raise PeerFault(f"entry {number} is of round {entry.round}: entries are missing")
        if entry.parent != parent:
            raise PeerFault(f"entry {number} does not follow from the one before")
        parent = entry_digest(entry)


# --- the file it is about ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TensorLeaves:
    """The leaves of a model file: what its root is over."""

    names: tuple[str, ...]  # sorted
    leaves: tuple[Digest, ...]

    @property
    def root(self) -> Digest:
        """As a lineage names it."""
        return merkle.root(self.leaves)

    def proof(self, name: str) -> tuple[int, list[Digest]]:
        """Index and path of one tensor; raises PeerFault where there is none."""
        if name not in self.names:
            raise PeerFault(f"the model has no tensor {name}")
        index = self.names.index(name)
        return index, merkle.inclusion_proof(self.leaves, index)


def tensor_leaves(data: bytes) -> TensorLeaves:
    """Of a safetensors file of float32; raises PeerFault for gaps, overlaps, or a short file."""
    parts = _parts(data)
    named = sorted(parts)
    leaves = [tensor_leaf(name, *parts[name]) for name in named]
    return TensorLeaves(tuple(named), tuple(leaves))


def tensor_leaf(name: str, shape: list[int], data: bytes) -> Digest:
    """The leaf of one float32 tensor; see compute.tensors."""
    head = encode([f"parameters/{name}", "float32", shape])
    return merkle.leaf_hash(STATE_TAG.encode() + b"\0" + head + data)


def in_model(root: Digest, leaf: Digest, place: tuple[int, int], path: Sequence[bytes]) -> bool:
    """Whether a leaf stands at (index, of so many) under a model's root."""
    return merkle.root_from_inclusion(leaf, *place, path) == root


def _parts(data: bytes) -> dict[str, tuple[list[int], bytes]]:
    """Shape and bytes of each tensor."""
    start = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    try:
        header = json.loads(data[LENGTH_BYTES:start] if start <= len(data) else b"")
        header.pop("__metadata__", None)
        placed = sorted((*map(int, part["data_offsets"]), name) for name, part in header.items())
        shapes = {name: [int(size) for size in part["shape"]] for name, part in header.items()}
        kinds = {str(part["dtype"]) for part in header.values()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise PeerFault("the model file is cut short or its header cannot be read") from None
    at, found = 0, {}
    for begin, end, name in placed:
        if begin != at or end - begin != ITEM_BYTES * prod(shapes[name]) or kinds != {"F32"}:
            raise PeerFault("the model file has gaps, overlaps or another type of numbers")
        found[name] = shapes[name], data[start + begin : start + end]
        at = end
    if start + at != len(data) or not found:
        raise PeerFault("the model file is cut short, or something follows it")
    return found


def check_model(lineage: Lineage, data: bytes) -> TensorLeaves:
    """Raise PeerFault unless a model file is the one that the lineage ends in."""
    leaves = tensor_leaves(data)
    if len(lineage.model_root) != ID_BYTES or leaves.root != lineage.model_root:
        raise PeerFault("the model file is not the one that was signed")
    return leaves

"""What a job starts from: shards, what is held out, and the state of round 0, as files."""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from msgspec.structs import replace
from torch import Tensor

from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import Digest, Round
from dpin.base.units import MILLION
from dpin.compute import hub
from dpin.compute.checkpoint import decode_model, encode_global
from dpin.compute.corpus import SHARDS_MAX, cut
from dpin.compute.door import Door, read_text
from dpin.compute.examples import encode_shard, examples_of
from dpin.compute.export import MODEL_FILE
from dpin.compute.foreign import count_of, trial
from dpin.compute.hubspec import CAUSAL, SEQUENCE, TEXT, HubSpec, canonical_config
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.noise import words
from dpin.compute.passes import cut_tokens, pass_over
from dpin.compute.reporting import Preparing
from dpin.compute.sealing import sealing
from dpin.compute.state import GlobalState, initial_state, state_hash
from dpin.compute.task import Architecture, ModelSpec, Prepare, Prepared
from dpin.compute.tensors import as_units
from dpin.compute.weights import parameter_count

SEED_BYTES: Final = 7  # torch takes 63 bits
SHOWN: Final = 2  # examples on which a model is tried


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """Where training begins: the state, what is never trained, and how many numbers there are."""

    state: GlobalState
    weights: bytes
    parameters: int


def prepare(command: Prepare, door: Door, fingerprint: Digest) -> Prepared:
    """Do what a Prepare asks; raises Misuse for data or a model that do not fit."""
    first = "loading transformers, and " if isinstance(command.model, HubSpec) else ""
    door.report(Preparing(f"{first}reading {command.corpus}"))
    if isinstance(command.model, ModelSpec):
        corpus = read_text(door.files, command.corpus, command.suffixes, command.bytes_max)
        pieces, held_out = _cut(corpus, command, command.model.context)
        state = _built_in(command.model, command, door)
        start = _Start(state, b"", parameter_count(command.model))
    elif isinstance(command.model, ModuleSpec):
        pieces, held_out, own = _own_data(command.model, command, door)
        door.report(Preparing(f"running {command.base}, locked up, and trying it twice"))
        start = _own_code(own, command, door, held_out)
    else:
        pieces, held_out, spec = _hub_shards(command, command.model, door)
        shown = examples_of(spec, [held_out or pieces[0]]).spread(SHOWN)
        door.report(Preparing(f"reading the model in {command.base}, and trying it"))
        start = _hub_start(command, spec, shown)
    return _written(command, door, (pieces, held_out, start), fingerprint)


def _cut(corpus: bytes, command: Prepare, context: int) -> tuple[tuple[bytes, ...], bytes]:
    """Shards and the held-out end; of a job on private data, all is held out."""
    if command.whole:
        bounds = cut_tokens(len(corpus), command.shards, context)
        return tuple(corpus[low:high] for low, high in bounds), b""
    if command.shards:
        return cut(corpus, command.shards, command.holdout_ppm, context)
    if len(corpus) <= context:
        raise Misuse(f"{len(corpus)} bytes are too few to measure a context of {context}")
    return (), corpus


def _written(
    command: Prepare,
    door: Door,
    made: tuple[tuple[bytes, ...], bytes, _Start],
    fingerprint: Digest,
) -> Prepared:
    pieces, held_out, start = made
    if command.folder:
        what = f"{len(pieces)} shards" if pieces else "what is held out"
        door.report(Preparing(f"writing {what}, and the model that round 1 starts with"))
    folder = command.folder
    write = sealing(door, command.key).files.write if folder else _unwritten
    shards = [write(folder, f"shard-{index:04}.bin", part) for index, part in enumerate(pieces)]
    initial = encode_global(start.state)
    weights = start.weights
    model = start.state.spec
    longest, text_bytes = (_measured(command, model, door, pieces)) if command.whole else (0, 0)
    return Prepared(
        shards=tuple(shards),
        holdout=shards[0] if command.whole else write(folder, "holdout.bin", held_out),
        initial=write(folder, "checkpoint-0.safetensors", initial),
        state_hash=state_hash(start.state),
        parameters=start.parameters,
        fingerprint=fingerprint,
        model=model,
        weights=write(folder, "weights.safetensors", weights) if weights else "",
        examples=longest,
        text_bytes=text_bytes,
    )


def _unwritten(_folder: str, name: str, *_parts: bytes | memoryview) -> str:
    """The name of a file that nobody asked for."""
    return name


def _measured(
    command: Prepare, model: Architecture, door: Door, pieces: tuple[bytes, ...]
) -> tuple[int, int]:
    """Examples in the longest part; bytes of the text, where the model has to tell all of it."""
    longest = max(pass_over(model, piece).count for piece in pieces)
    running = not isinstance(model, HubSpec) or (
        model.head == CAUSAL and command.data.kind == "text"
    )
    if not running:
        return longest, 0
    return longest, len(door.files.corpus(command.corpus, command.suffixes, command.bytes_max))


def _built_in(model: ModelSpec, command: Prepare, door: Door) -> GlobalState:
    """Where a built-in model starts: from the seed, or from a folder of it."""
    if not command.base:
        return initial_state(model, command.seed)
    file = f"{command.base}/{MODEL_FILE}"
    try:
        held = decode_model(door.files.read(file), model)
    except PeerFault as fault:  # It is nobody's fault but that of a copy.
        raise Misuse(f"{file}: {fault}", "copy the folder again: dpin fetch JOB") from None
    return GlobalState(model, Round(0), as_units(held))


def _own_data(
    spec: ModuleSpec, command: Prepare, door: Door
) -> tuple[tuple[bytes, ...], bytes, ModuleSpec]:
    """Shards and held-out examples of a module of somebody's own: text, or rows of numbers."""
    if command.data.kind == TEXT.kind:
        corpus = read_text(door.files, command.corpus, command.suffixes, command.bytes_max)
        return *_cut(corpus, command, spec.context), spec
    rows = hub.read_numbers(command.data, door.files, command.corpus)
    rows = rows[_shuffled(len(rows), command.seed)]
    return *_shared_out(command, rows, 0), replace(spec, width=rows.shape[1])


def _own_code(spec: ModuleSpec, command: Prepare, door: Door, text: bytes) -> _Start:
    """What the requester's own code makes, run here as it will be everywhere; raises PeerFault."""
    code = door.files.read(command.base)
    cell = door.cells.open(code, spec.entry, int.from_bytes(command.seed[:SEED_BYTES]))
    named = replace(spec, layout=cell.layout)
    flat = trial(cell, examples_of(named, [text]).spread(command.batch))
    state = GlobalState(named, Round(0), as_units(flat))
    return _Start(state, code, count_of(cell.layout))


def _hub_start(command: Prepare, spec: HubSpec, shown: Tensor) -> _Start:
    parameters, weights, count = hub.start(spec, command.base, command.seed, shown)
    return _Start(GlobalState(spec, Round(0), parameters), weights, count)


def _hub_shards(
    command: Prepare, spec: HubSpec, door: Door
) -> tuple[tuple[bytes, ...], bytes, HubSpec]:
    """Shards and held-out examples, and the spec that knows their classes."""
    where = (command.corpus, command.suffixes, command.bytes_max)
    vocabulary = hub.words_of(spec, command.data, door.files, command.base)
    rows, labels = hub.read_rows(spec, command.data, door.files, where, vocabulary)
    if rows.shape[1] > 1:
        rows = rows[_shuffled(len(rows), command.seed)]
    if not command.shards:
        return (), encode_shard(rows), labelled(spec, labels)
    if command.whole:
        return _parts(command, rows, spec), b"", labelled(spec, labels)
    least = spec.context if rows.shape[1] == 1 else 0
    return *_shared_out(command, rows, least), labelled(spec, labels)


def _shared_out(command: Prepare, rows: Tensor, least: int) -> tuple[tuple[bytes, ...], bytes]:
    """Shards and what is held out, each of more than `least` rows; raises Misuse."""
    kept = len(rows) * (MILLION - command.holdout_ppm) // MILLION
    if command.shards > SHARDS_MAX or not 0 < command.holdout_ppm < MILLION:
        raise Misuse(f"{command.shards} shards with {command.holdout_ppm} ppm held out")
    if kept // command.shards <= least or len(rows) - kept <= least or kept < command.batch:
        what = "tokens" if least else "examples"
        raise Misuse(
            f"{len(rows)} {what} are too few for {command.shards} shards, "
            f"batches of {command.batch} and a held-out part",
            "give more data, fewer seats or a smaller batch",
        )
    bounds = [kept * index // command.shards for index in range(command.shards + 1)]
    pieces = [encode_shard(rows[low:high]) for low, high in pairwise(bounds)]
    return tuple(pieces), encode_shard(rows[kept:])


def _parts(command: Prepare, rows: Tensor, spec: HubSpec) -> tuple[bytes, ...]:
    """All of the rows, a part a seat."""
    if rows.shape[1] == 1:
        bounds = cut_tokens(len(rows), command.shards, spec.context)
    elif len(rows) < command.shards:
        raise Misuse(f"{len(rows)} examples are too few for {command.shards} nodes", "fewer nodes")
    else:
        ends = [len(rows) * index // command.shards for index in range(command.shards + 1)]
        bounds = list(pairwise(ends))
    return tuple(encode_shard(rows[low:high]) for low, high in bounds)


def _shuffled(count: int, seed: bytes) -> Tensor:
    """An order of examples that the seed fixes: what is held out is of every kind."""
    draws = words(("order", seed), count)
    return torch.tensor(sorted(range(count), key=draws.__getitem__))


def labelled(spec: HubSpec, labels: tuple[str, ...]) -> HubSpec:
    """The spec with these classes in its config, and a padding token where one is needed."""
    if not labels:
        return spec
    config = json.loads(spec.config)
    config["id2label"] = {str(index): label for index, label in enumerate(labels)}
    config["label2id"] = {label: index for index, label in enumerate(labels)}
    config.pop("num_labels", None)
    if spec.head == SEQUENCE and config.get("pad_token_id") is None:
        config["pad_token_id"] = 0
    return replace(spec, config=canonical_config(json.dumps(config)))

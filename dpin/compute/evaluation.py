"""The evaluation that a worker holds: count a part's examples, check counts, add them up.

A unit of an evaluation is one of training whose steps count instead of learn. What moves from
window to window is a tally; the parameters stay. So everything that holds for units (leaves,
commits, checks, pay) holds for it.
"""

import json
import math
from dataclasses import dataclass
from typing import Final

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, Digest, JobId, Round, short
from dpin.base.leaf import Leaf, leaf_digest, window_bounds
from dpin.compute import tallies
from dpin.compute.checkpoint import decode_global, float_root, global_file
from dpin.compute.door import Door, read_update
from dpin.compute.engine import Engine
from dpin.compute.limits import check_train
from dpin.compute.networks import network
from dpin.compute.passes import Listed, Windows, counted, pass_over
from dpin.compute.shelf import Shelf
from dpin.compute.state import GlobalState, state_hash
from dpin.compute.tallies import TALLY_TAG, PartTally, Tally, Total, Totalled
from dpin.compute.task import (
    CheckUpdate,
    CheckWindow,
    Command,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    Report,
    Trained,
    TrainManifest,
    TrainUnit,
    UpdateChecked,
    WindowChecked,
)
from dpin.compute.tensors import as_float
from dpin.compute.ticker import Ticker, micronats
from dpin.compute.unit import FAULTS, TimeBox
from dpin.compute.weights import shapes

RESULT_FILE: Final = "evaluation.json"


@dataclass(frozen=True, slots=True)
class Turn:
    """Who counts which part in which round."""

    job: JobId
    manifest: TrainManifest
    lease: Digest
    round: Round
    part: int
    state: Digest  # hash of the model's state

    @property
    def bounds(self) -> list[int]:
        """Step counts at which the windows of a full unit end."""
        return window_bounds(self.manifest.inner.steps, self.manifest.windows)

    def leaf(self, window: int, tally: Tally) -> Leaf:
        """The leaf of what is counted at the end of a window; its cursor says of which part."""
        step = self.bounds[window]
        return Leaf(
            job=self.job,
            lease=self.lease,
            round=self.round,
            window=window,
            step=step,
            parameters=self.state,
            optimizer=digest(TALLY_TAG, encode(tally)) if window else NO_DIGEST,
            error_buffer=NO_DIGEST,
            cursor=self.part * self.manifest.inner.steps + step,
        )


class HeldEvaluation:
    """One job whose steps count. Every method raises Misuse, PeerFault or OSError."""

    def __init__(self, command: OpenJob, door: Door, device: str, engine: Engine) -> None:
        self._door = door
        self._job = command.job
        self._folder = command.folder
        self._manifest = decode(TrainManifest, command.manifest)
        check_train(self._manifest)
        if not len(command.shards) == len(self._manifest.shards) == self._manifest.seats:
            raise Misuse("the files given are not those of the manifest's parts")
        self._files = command.shards
        self._passes: dict[int, Windows | Listed] = {}
        self._checkpoint = command.checkpoint
        model = self._manifest.model
        state = decode_global(door.files.read(command.checkpoint), model)
        if state.round != command.round:
            raise PeerFault(f"corrupt checkpoint: of round {state.round}, not {command.round}")
        frozen = door.files.read(command.weights) if command.weights else b""
        self._device = device
        self._network = network(model, frozen, engine, torch.device(device))
        _fill(self._network.module, state, device)
        self._state, self._hash = state, state_hash(state)
        self._root = float_root(model, as_float(state.parameters))
        self._shelf = Shelf(door.files)
        self.opened = Opened(state.round, self._hash)

    def do(self, command: Command) -> Report:
        """Any command for a held job; raises Misuse for one that evaluations know nothing of."""
        match command:
            case TrainUnit():
                return self._count(command)
            case MergeRound():
                return self._merge(command)
            case CheckWindow():
                return self._check_window(command)
            case CheckUpdate():
                return self._check_update(command)
            case Total():
                return self._total(command)
            case _:
                raise Misuse(f"an evaluation knows no {type(command).__name__}")

    def _turn(self, lease: Digest, round_: Round, part: int) -> Turn:
        if not 0 <= part < self._manifest.seats:
            raise Misuse(f"part {part} of {self._manifest.seats}")
        return Turn(self._job, self._manifest, lease, round_, part, self._hash)

    # --- units ---

    def _count(self, command: TrainUnit) -> Trained:
        if command.fault not in FAULTS:
            raise Misuse(f"no such fault: {command.fault}")
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        turn = self._turn(command.lease, command.round, command.seat)
        box, tally = TimeBox(command.limit_ms, self._door.clock_ms), Tally()
        ticker = Ticker(turn, self._door)
        self._shelf.open_unit()
        leaves, states = [turn.leaf(0, tally)], [self._put(turn, 0, tally)]
        for window in range(1, len(turn.bounds)):
            if command.fault == "skip-work":
                tally = self._invented(turn, window, tally)
            else:
                tally = self._window(turn, window, tally, ticker)
            leaves.append(turn.leaf(window, tally))
            states.append(self._put(turn, window, tally))
            if not box.room_for_another():
                break
        shown = replace(tally, loss_micronats=0) if command.fault == "wrong-weights" else tally
        name = f"update-{turn.round}-{short(turn.lease)}.bin"
        update = self._door.files.write(self._folder, name, self._update(turn.part, shown))
        return Trained(
            lease=turn.lease,
            round=turn.round,
            leaves=tuple(leaves),
            states=tuple(states),
            update=update,
            base=self._checkpoint,
            loss_micronats=micronats(tallies.loss_of(tally) or 0.0),
            tokens=tally.targets,
            milliseconds=box.used_ms,
        )

    def _put(self, turn: Turn, window: int, tally: Tally) -> str:
        name = f"state-{turn.round}-{short(turn.lease)}-{window}.bin"
        return self._shelf.put(self._folder, name, encode(tally))

    def _update(self, part: int, tally: Tally) -> bytes:
        return encode(PartTally(self._job, part, tally))

    def _window(self, turn: Turn, window: int, tally: Tally, ticker: Ticker) -> Tally:
        """What is counted at the end of a window, on from the end of the one before."""
        batch = self._manifest.inner.batch
        examples = self._pass(turn.part)
        for step in range(turn.bounds[window - 1], turn.bounds[window]):
            rows, real = examples.batch(step * batch, batch)
            found = Tally()
            if len(rows):
                found = counted(self._network.scores, rows.to(self._device), real)
            tally = tally.plus(found)
            ticker.on_step(step + 1, tallies.loss_of(found) or 0.0)
        return tally

    def _invented(self, turn: Turn, window: int, tally: Tally) -> Tally:
        """Counts of a window that nobody looked at (a fault of development networks)."""
        batch, bounds = self._manifest.inner.batch, turn.bounds
        steps = bounds[window] - bounds[window - 1]
        targets = steps * batch * max(1, self._manifest.model.context)
        return tally.plus(Tally(steps * batch, targets, targets // 3, 2_000_000 * targets))

    def _pass(self, part: int) -> Windows | Listed:
        if part not in self._passes:
            shard = self._door.files.read(self._files[part])
            self._passes = {part: pass_over(self._manifest.model, shard)}
        return self._passes[part]

    # --- checks ---

    def _check_window(self, command: CheckWindow) -> WindowChecked:
        began, leaf = self._door.clock_ms(), command.opened
        turn = self._turn(leaf.lease, leaf.round, command.seat)
        ok, found = False, NO_DIGEST
        if 0 <= leaf.window < len(turn.bounds) - 1:
            tally = self._read(command.state)
            ok = tally is not None and turn.leaf(leaf.window, tally) == leaf
            if ok and tally is not None:
                ticker = Ticker(turn, self._door)
                later = self._window(turn, leaf.window + 1, tally, ticker)
                found = leaf_digest(turn.leaf(leaf.window + 1, later))
        return WindowChecked(leaf, ok, found, self._door.clock_ms() - began)

    def _check_update(self, command: CheckUpdate) -> UpdateChecked:
        first, last = command.first, command.last
        part = (last.cursor - last.step) // self._manifest.inner.steps
        turn = self._turn(last.lease, last.round, part)
        tally = self._read(command.final)
        ok = (
            tally is not None
            and first == turn.leaf(0, Tally())
            and 0 < last.window < len(turn.bounds)
            and last == turn.leaf(last.window, tally)
        )
        if not ok or tally is None:
            return UpdateChecked(last, states_ok=False, update=NO_BLOB)
        update = blob_id(manifest_of(self._update(part, tally)))
        return UpdateChecked(last, command.error_buffer == NO_DIGEST, update)

    def _read(self, path: str) -> Tally | None:
        """What a state file holds; None where it is none."""
        try:
            return tallies.read_tally(self._door.files.read(path))
        except PeerFault:
            return None

    # --- rounds and the result ---

    def _merge(self, command: MergeRound) -> Merged:
        """The next round: nothing moves but its number."""
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        state = self._state
        later = GlobalState(state.spec, Round(state.round + 1), state.parameters)
        self._state = later
        file = f"checkpoint-{later.round}.safetensors"
        files = self._door.files
        self._checkpoint = files.write(self._folder, file, *global_file(later))
        read = sum(len(read_update(files, part.update)) for part in command.contributions)
        return Merged(later.round, self._hash, self._checkpoint, (), read, self._root)

    def _total(self, command: Total) -> Totalled:
        parts = [tallies.read_part(read_update(self._door.files, path)) for path in command.parts]
        if any(part.job != self._job or part.part >= self._manifest.seats for part in parts):
            raise PeerFault("a tally of another job or part")
        tally, count = tallies.total_of(parts)
        text = result_text(tally, command.text_bytes, command.provenance)
        path = self._door.files.write(command.folder, RESULT_FILE, text.encode())
        return Totalled(command.folder, (path,), count, tally)


def result_text(tally: Tally, text_bytes: int, provenance: str) -> str:
    """The result for people and programs; names as a Trainer of transformers gives them."""
    result = {
        "schema": "dpin.v1/evaluation",
        "eval_loss": tallies.loss_of(tally),
        "eval_accuracy": tallies.accuracy_of(tally),
        "eval_samples": tally.samples,
        "perplexity": tallies.perplexity_of(tally),
        "bits_per_byte": tallies.bits_per_byte_of(tally, text_bytes),
        "counts": {
            "targets": tally.targets,
            "correct": tally.correct,
            "loss_micronats": tally.loss_micronats,
            "text_bytes": text_bytes,
        },
        "provenance": json.loads(provenance),
    }
    return json.dumps(result, indent=2) + "\n"


def _fill(module: nn.Module, state: GlobalState, device: str) -> None:
    """Put the state's parameters into a module."""
    weights = dict(module.named_parameters())
    flat: Tensor = as_float(state.parameters).to(device)
    at = 0
    for name, shape in shapes(state.spec).items():
        end = at + math.prod(shape)
        weights[name].data = flat[at:end].view(shape)
        at = end

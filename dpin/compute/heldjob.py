"""The training job that a worker holds: train its units, merge its rounds, check its windows."""

from dataclasses import replace
from typing import Final

import torch

from dpin.base.codec import decode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_DIGEST, Digest, Round, short
from dpin.compute import hub
from dpin.compute.alone import Measure, Measured
from dpin.compute.checkpoint import (
    Moments,
    Start,
    WindowState,
    decode_global,
    encode_global,
    encode_window,
)
from dpin.compute.course import course_of
from dpin.compute.door import Door
from dpin.compute.examples import Examples, encode_shard, examples_of
from dpin.compute.export import copied_files, model_directory
from dpin.compute.leftover import LeftOver
from dpin.compute.limits import check_train
from dpin.compute.outer import error_root, merge
from dpin.compute.rechecks import Rechecks
from dpin.compute.rules import rule_of
from dpin.compute.shelf import Shelf
from dpin.compute.state import state_hash
from dpin.compute.task import (
    ADAMW,
    Evaluated,
    Export,
    Exported,
    Merged,
    MergeRound,
    ModelSpec,
    Opened,
    OpenJob,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.ticker import Ticker, micronats
from dpin.compute.train import Trainer, seat_examples
from dpin.compute.unit import (
    FAULTS,
    Outcome,
    Seat,
    UnitOrder,
    Watch,
    run_unit,
)
from dpin.compute.updates import Update, decode_update, encode_update

LEASES_KEPT: Final = 8  # whose optimizer state stays in memory


class HeldJob:
    """One job, its text and its global state. Every method raises Misuse, PeerFault or OSError."""

    def __init__(self, command: OpenJob, door: Door, device: str) -> None:
        self._door = door
        self._job = command.job
        self._folder = command.folder
        self._manifest = decode(TrainManifest, command.manifest)
        check_train(self._manifest)
        if len(command.shards) != len(self._manifest.shards):
            raise Misuse("the files given are not those of the manifest's shards")
        self._shards = [door.files.read(path) for path in command.shards]
        model = self._manifest.model
        self._private = _private_examples(command, self._manifest, door)
        self._holdout = examples_of(model, [door.files.read(command.holdout)])
        self._checkpoint = command.checkpoint
        self._state = decode_global(door.files.read(command.checkpoint), model)
        if self._state.round != command.round:
            raise PeerFault(
                f"corrupt checkpoint: of round {self._state.round}, not {command.round}"
            )
        self._opened = self._state
        frozen = door.files.read(command.weights) if command.weights else b""
        self._trainer = Trainer(model, course_of(self._manifest), device, frozen)
        self._moments: dict[Digest, Moments] = {}
        self._errors = LeftOver(self._manifest.model)
        self._rule = rule_of(self._manifest)
        self._shelf = Shelf(door.files)

    @property
    def opened(self) -> Opened:
        """What was loaded."""
        return Opened(self._opened.round, state_hash(self._opened))

    @property
    def checks(self) -> Rechecks:
        """Units of others, done again in part."""
        return Rechecks(self._manifest, self._trainer, self._door, self._seat)

    def train(self, command: TrainUnit) -> Trained:
        """One unit, from the held state; raises Diverged."""
        if command.fault not in FAULTS:
            raise Misuse(f"no such fault: {command.fault}")
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        seat = self._seat(command.lease, command.round, command.seat)
        start = self._start(command)
        seat = replace(seat, error_buffer=error_root(self._manifest.model, start.error))
        order = UnitOrder(seat, start, command.limit_ms, command.error_age, command.fault)
        states: list[str] = []
        name = f"{command.round}-{short(command.lease)}"
        self._shelf.open_unit()

        def on_state(window: int, state: WindowState) -> None:
            file = f"state-{name}-{window}.safetensors"
            states.append(self._shelf.put(self._folder, file, encode_window(state)))

        ticker = Ticker(seat, self._door)
        outcome = run_unit(
            self._trainer, order, Watch(self._door.clock_ms, ticker.on_step, on_state)
        )
        self._keep(command.lease, outcome.moments)
        data = encode_update(outcome.written.update)
        update = self._door.files.write(self._folder, f"update-{name}.bin", data)
        return self._trained(outcome, tuple(states), update)

    def _start(self, command: TrainUnit) -> Start:
        """What a unit starts from: a lease keeps its moments, and what was left over of it."""
        if command.fresh_optimizer:
            return Start(self._state, None)
        adds_up = self._manifest.outer.rule == ADAMW
        moments = None if adds_up else self._moments.get(command.lease)
        return Start(self._state, moments, self._errors.of(command.lease, command.error_buffer))

    def _trained(self, outcome: Outcome, states: tuple[str, ...], update: str) -> Trained:
        first = outcome.leaves[0]
        left = self._errors.keep(first.lease, outcome.written.error)
        tokens = outcome.steps * self._manifest.inner.batch * max(1, self._manifest.model.context)
        return Trained(
            lease=first.lease,
            round=first.round,
            leaves=outcome.leaves,
            states=states,
            update=update,
            base=self._checkpoint if first.error_buffer == NO_DIGEST else states[0],
            loss_micronats=micronats(outcome.loss),
            tokens=tokens,
            milliseconds=outcome.milliseconds,
            error_buffer=left,
        )

    def merge(self, command: MergeRound) -> Merged:
        """The outer step. A malformed update counts for nothing: all nodes hold the same bytes."""
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        updates: list[Update] = []
        read = 0
        steps: list[int] = []
        refused: list[str] = []
        for part in command.contributions:
            data = self._door.files.read(part.update)
            read += len(data)
            try:
                updates.append(
                    decode_update(data, self._manifest.encoding, len(self._state.parameters))
                )
                steps.append(part.steps)
            except PeerFault as fault:
                refused.append(f"{part.update}: {fault}")
        self._state = merge(self._state, self._rule, updates, steps)
        file = f"checkpoint-{self._state.round}.safetensors"
        data = encode_global(self._state)
        self._checkpoint = self._door.files.write(self._folder, file, data)
        found = state_hash(self._state)
        return Merged(self._state.round, found, self._checkpoint, tuple(refused), read)

    def evaluate(self) -> Evaluated:
        """Held-out loss of the held state."""
        self._trainer.load(Start(self._state, None))
        loss = self._trainer.held_out_loss(self._holdout)
        return Evaluated(self._state.round, micronats(loss))

    def export(self, command: Export) -> Exported:
        """The held state as a model directory."""
        files = model_directory(self._state, command.provenance, command.base)
        files |= copied_files(self._door.files, self._state.spec, command.base)
        write = self._door.files.write
        paths = [write(command.folder, name, data) for name, data in files.items()]
        return Exported(command.folder, tuple(paths))

    def measure(self, command: Measure) -> Measured:
        """Train alone, from the state as it was opened; the held state stays as it is."""
        began = self._door.clock_ms()
        seats = range(self._manifest.seats if command.joint else 1)
        texts = [seat_examples(self._manifest, self._shards, seat) for seat in seats]
        self._trainer.load(Start(self._opened, None))
        for step in range(command.steps):
            self._door.pulse()
            parts = [
                text.batch((self._job, NO_DIGEST, seat, step), self._manifest.inner.batch)
                for seat, text in enumerate(texts)
            ]
            self._trainer.step(torch.cat(parts), step)
        loss = self._trainer.held_out_loss(self._holdout)
        spent = self._door.clock_ms() - began
        return Measured(command.joint, micronats(loss), spent)

    def _seat(self, lease: Digest, round_: Round, seat: int) -> Seat:
        if not 0 <= seat < self._manifest.seats:
            raise Misuse(f"seat {seat} of a job of {self._manifest.seats}")
        text = self._private or seat_examples(self._manifest, self._shards, seat)
        return Seat(self._job, self._manifest, lease, round_, text)

    def _keep(self, lease: Digest, moments: Moments) -> None:
        self._moments.pop(lease, None)
        self._moments[lease] = moments
        if len(self._moments) > LEASES_KEPT:
            del self._moments[next(iter(self._moments))]


def _private_examples(command: OpenJob, manifest: TrainManifest, door: Door) -> Examples | None:
    """The owner's part of a job on private data, read where it lies."""
    place = command.private
    if manifest.private is None or place is None:
        return None
    files, where = door.files, (place.path, place.suffixes, place.bytes_max)
    if isinstance(manifest.model, ModelSpec):
        return examples_of(manifest.model, [files.corpus(*where)])
    words = (files.read(command.tokenizer) if command.tokenizer else b"", "")
    rows, _ = hub.read_rows(manifest.model, manifest.private.format, files, where, words)
    return examples_of(manifest.model, [encode_shard(rows)])

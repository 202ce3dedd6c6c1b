"""The training job that a worker holds: train its units, merge its rounds, check its windows."""

from typing import Final

import torch

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import decode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, Digest, Round, short
from dpin.base.leaf import leaf_digest
from dpin.base.units import MILLION
from dpin.compute.checkpoint import (
    Moments,
    Start,
    WindowState,
    decode_global,
    decode_later,
    decode_start,
    encode_global,
    encode_window,
)
from dpin.compute.door import Door
from dpin.compute.export import model_directory
from dpin.compute.limits import check_train
from dpin.compute.outer import merge, movement, state_hash
from dpin.compute.shelf import Shelf
from dpin.compute.task import (
    CheckUpdate,
    CheckWindow,
    Evaluated,
    Export,
    Exported,
    Measure,
    Measured,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    Progress,
    Trained,
    TrainManifest,
    TrainUnit,
    UpdateChecked,
    WindowChecked,
)
from dpin.compute.train import Diverged, Text, Trainer, course_of, seat_text
from dpin.compute.unit import FAULTS, Outcome, Seat, UnitOrder, Watch, run_unit, run_window
from dpin.compute.updates import Update, decode_update, encode_update

PROGRESS_MS: Final = 250
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
        context = self._manifest.model.context
        self._holdout = Text([door.files.read(command.holdout)], context)
        self._checkpoint = command.checkpoint
        self._state = decode_global(door.files.read(command.checkpoint), self._manifest.model)
        if self._state.round != command.round:
            raise PeerFault(
                f"corrupt checkpoint: of round {self._state.round}, not {command.round}"
            )
        self._opened = self._state
        self._trainer = Trainer(self._manifest.model, course_of(self._manifest), device)
        self._moments: dict[Digest, Moments] = {}
        self._shelf = Shelf(door.files)

    @property
    def opened(self) -> Opened:
        """What was loaded."""
        return Opened(self._opened.round, state_hash(self._opened))

    def train(self, command: TrainUnit) -> Trained:
        """One unit, from the held state; raises Diverged."""
        if command.fault not in FAULTS:
            raise Misuse(f"no such fault: {command.fault}")
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        seat = self._seat(command.lease, command.round, command.seat)
        kept = None if command.fresh_optimizer else self._moments.get(command.lease)
        order = UnitOrder(seat, Start(self._state, kept), command.limit_ms, command.fault)
        states: list[str] = []
        name = f"{command.round}-{short(command.lease)}"
        self._shelf.open_unit()

        def on_state(window: int, state: WindowState) -> None:
            file = f"state-{name}-{window}.safetensors"
            states.append(self._shelf.put(self._folder, file, encode_window(state)))

        ticker = _Ticker(seat, self._door)
        outcome = run_unit(
            self._trainer, order, Watch(self._door.clock_ms, ticker.on_step, on_state)
        )
        self._keep(command.lease, outcome.moments)
        data = encode_update(outcome.update)
        update = self._door.files.write(self._folder, f"update-{name}.bin", data)
        return self._trained(outcome, tuple(states), update)

    def _trained(self, outcome: Outcome, states: tuple[str, ...], update: str) -> Trained:
        first = outcome.leaves[0]
        tokens = outcome.steps * self._manifest.inner.batch * self._manifest.model.context
        return Trained(
            lease=first.lease,
            round=first.round,
            leaves=outcome.leaves,
            states=states,
            update=update,
            base=self._checkpoint,
            loss_micronats=_micronats(outcome.loss),
            tokens=tokens,
            milliseconds=outcome.milliseconds,
        )

    def merge(self, command: MergeRound) -> Merged:
        """The outer step. A malformed update counts for nothing: all nodes hold the same bytes."""
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        updates: list[Update] = []
        steps: list[int] = []
        refused: list[str] = []
        for part in command.contributions:
            data = self._door.files.read(part.update)
            try:
                updates.append(decode_update(data, len(self._state.parameters)))
                steps.append(part.steps)
            except PeerFault as fault:
                refused.append(f"{part.update}: {fault}")
        self._state = merge(self._state, self._manifest.outer, updates, steps)
        file = f"checkpoint-{self._state.round}.safetensors"
        data = encode_global(self._state)
        self._checkpoint = self._door.files.write(self._folder, file, data)
        found = state_hash(self._state)
        return Merged(self._state.round, found, self._checkpoint, tuple(refused))

    def evaluate(self) -> Evaluated:
        """Held-out loss of the held state."""
        self._trainer.load(Start(self._state, None))
        loss = self._trainer.held_out_loss(self._holdout)
        return Evaluated(self._state.round, _micronats(loss))

    def check_window(self, command: CheckWindow) -> WindowChecked:
        """Do the window after `opened` again. A state that cannot be read or trained is not ok."""
        began, leaf = self._door.clock_ms(), command.opened
        seat = self._seat(leaf.lease, leaf.round, command.seat)
        opened_ok, found = False, NO_DIGEST
        data = self._door.files.read(command.state)
        if 0 <= leaf.window < len(seat.bounds) - 1:
            try:
                state = self._decoded(data, leaf.window)
                opened_ok = seat.leaf(leaf.window, state) == leaf
                found = self._redone(seat, leaf.window, state) if opened_ok else NO_DIGEST
            except (PeerFault, Diverged):
                found = NO_DIGEST
        return WindowChecked(leaf, opened_ok, found, self._door.clock_ms() - began)

    def _decoded(self, data: bytes, window: int) -> WindowState:
        model = self._manifest.model
        return decode_start(data, model) if window == 0 else decode_later(data, model)

    def _redone(self, seat: Seat, window: int, state: WindowState) -> Digest:
        self._trainer.load(state)
        later = run_window(self._trainer, seat, window + 1, _Ticker(seat, self._door).on_step)
        return leaf_digest(seat.leaf(window + 1, later))

    def check_update(self, command: CheckUpdate) -> UpdateChecked:
        """Encode the update again. Files that cannot be read as states are not ok."""
        first, last, seat = command.first, command.last, self._seat_of_update(command)
        base_data = self._door.files.read(command.base)
        final_data = self._door.files.read(command.final)
        try:
            base = decode_global(base_data, self._manifest.model)
            final = decode_later(final_data, self._manifest.model)
        except PeerFault:
            return UpdateChecked(last, states_ok=False, update=NO_BLOB)
        ok = (
            (first.window, base.round) == (0, first.round)
            and state_hash(base) == first.parameters
            and (first.job, first.lease, first.round) == (last.job, last.lease, last.round)
            and 0 < last.window < len(seat.bounds)
            and seat.leaf(last.window, final) == last
        )
        if not ok:
            return UpdateChecked(last, states_ok=False, update=NO_BLOB)
        data = encode_update(movement(final.parameters, base))
        return UpdateChecked(last, states_ok=True, update=blob_id(manifest_of(data)))

    def _seat_of_update(self, command: CheckUpdate) -> Seat:
        """Whose text it was does not matter for an encoding."""
        return self._seat(command.last.lease, command.last.round, 0)

    def export(self, command: Export) -> Exported:
        """The held state as a model directory."""
        files = model_directory(self._state, command.provenance)
        write = self._door.files.write
        paths = [write(command.folder, name, data) for name, data in files.items()]
        return Exported(command.folder, tuple(paths))

    def measure(self, command: Measure) -> Measured:
        """Train alone, from the state as it was opened; the held state stays as it is."""
        began = self._door.clock_ms()
        seats = range(self._manifest.seats if command.joint else 1)
        texts = [seat_text(self._manifest, self._shards, seat) for seat in seats]
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
        return Measured(command.joint, _micronats(loss), spent)

    def _seat(self, lease: Digest, round_: Round, seat: int) -> Seat:
        if not 0 <= seat < self._manifest.seats:
            raise Misuse(f"seat {seat} of a job of {self._manifest.seats}")
        text = seat_text(self._manifest, self._shards, seat)
        return Seat(self._job, self._manifest, lease, round_, text)

    def _keep(self, lease: Digest, moments: Moments) -> None:
        self._moments.pop(lease, None)
        self._moments[lease] = moments
        if len(self._moments) > LEASES_KEPT:
            del self._moments[next(iter(self._moments))]


class _Ticker:
    """Reports progress a few times a second."""

    def __init__(self, seat: Seat, door: Door) -> None:
        self._seat = seat
        self._door = door
        self._began = self._told = door.clock_ms()

    def on_step(self, done: int, loss: float) -> None:
        self._door.pulse()
        now = self._door.clock_ms()
        if now - self._told < PROGRESS_MS:
            return
        self._told = now
        manifest = self._seat.manifest
        tokens = done * manifest.inner.batch * manifest.model.context
        rate = tokens * 1000 // max(1, now - self._began)
        self._door.report(
            Progress(
                self._seat.lease,
                self._seat.round,
                done,
                manifest.inner.steps,
                _micronats(loss),
                rate,
            )
        )


def _micronats(loss: float) -> int:
    return round(loss * MILLION)

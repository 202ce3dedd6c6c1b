"""The training job that a worker holds: train its units, merge its rounds, check its windows."""

from dataclasses import replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from dpin.base.codec import decode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_DIGEST, Digest, Round, short
from dpin.compute import hub
from dpin.compute.aggregation.screen import read_offered, round_mean, screened
from dpin.compute.alone import Measure, Measured
from dpin.compute.budget import check_budget, epsilon_milli
from dpin.compute.checkpoint import (
    Moments,
    Start,
    WindowState,
    decode_global,
    global_file,
    window_file,
)
from dpin.compute.course import course_of
from dpin.compute.door import Door, read_update
from dpin.compute.examples import Examples, encode_shard, examples_of
from dpin.compute.export import (
    CODE_FILE,
    LINEAGE_FILE,
    copied_files,
    exported_root,
    model_directory,
)
from dpin.compute.fragments import fragment
from dpin.compute.hubspec import HubSpec
from dpin.compute.leftover import LeftOver
from dpin.compute.limits import check_train, is_replayable
from dpin.compute.maskwork import MaskWork
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.rechecks import Rechecks
from dpin.compute.rules import next_state, rule_of
from dpin.compute.scores import Scored, ScoreRound
from dpin.compute.scoring import Scoring
from dpin.compute.sealing import opening
from dpin.compute.secagg.orders import MergeMasked
from dpin.compute.shelf import Checkpoints, Shelf
from dpin.compute.state import GlobalState, hashed, state_hash
from dpin.compute.statements import SCORES_FILE
from dpin.compute.task import (
    ADAMW,
    Contribution,
    EncodingSpec,
    Evaluated,
    Export,
    Exported,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.tensors import as_float
from dpin.compute.ticker import Ticker, micronats, told_loss
from dpin.compute.train import PLAIN, GroupLost, Inner, Tools, held_out, seat_examples
from dpin.compute.trainers import trainer_of
from dpin.compute.unit import (
    FAULTS,
    Outcome,
    Seat,
    UnitOrder,
    Watch,
    run_unit,
    trusted_movement,
)
from dpin.compute.updates import encode_update

GROUPS_LOST_MAX: Final = 2  # in one unit
LEASES_KEPT: Final = 8  # whose optimizer state stays in memory
SPARE_BYTES_MAX: Final = 1 << 28  # of the state before, kept as room for the next: no new pages


class HeldJob:
    """One job, its text and its global state. Every method raises Misuse, PeerFault or OSError."""

    def __init__(self, command: OpenJob, door: Door, device: str, tools: Tools = PLAIN) -> None:
        self._job = command.job
        self._folder = command.folder
        self._manifest = decode(TrainManifest, command.manifest)
        check_train(self._manifest)
        self._door = door = opening(door, command.key, self._manifest.privacy)
        check_budget(self._manifest.privacy, self._manifest.rounds)
        if len(command.shards) != len(self._manifest.shards):
            raise Misuse("the files given are not those of the manifest's shards")
        self._shards = [door.files.read(path) for path in command.shards]
        model = self._manifest.model
        self._private = _private_examples(command, self._manifest, door)
        self._holdout = examples_of(model, [door.files.read(command.holdout)])
        self._checkpoint = self._begun = command.checkpoint
        self._state = hashed(decode_global(door.files.read(command.checkpoint), model))
        if self._state.round != command.round:
            raise PeerFault(
                f"corrupt checkpoint: of round {self._state.round}, not {command.round}"
            )
        self.opened = Opened(
            self._state.round, state_hash(self._state), _root(self._state, self._manifest)
        )
        frozen = door.files.read(command.weights) if command.weights else b""
        self._frozen = frozen
        self._trainer = trainer_of(model, course_of(self._manifest), device, frozen, tools)
        self._moments: dict[Digest, Moments] = {}
        self._errors = LeftOver(self._manifest.model)
        self._spare: Tensor | None = None
        self._rule = rule_of(self._manifest)
        self._shelf = Shelf(door.files)
        self._checkpoints = Checkpoints(door.files, checked=is_replayable(self._manifest))
        count = len(self._state.parameters)
        _here(self._state, self._manifest)  # Raises where a round might merge nothing.
        self.masks = MaskWork(door, self._manifest, command.folder, count)

    @property
    def checks(self) -> Rechecks:
        """Units of others, done again in part."""
        return Rechecks(self._manifest, self._trainer, self._door, self._seat)

    def score(self, command: ScoreRound) -> Scored:
        """What each update of the round is worth by itself, from the held state."""
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        text = partial(seat_examples, self._manifest, self._shards)
        scoring = Scoring(self._job, self._manifest, self._trainer, self._door, text)
        return scoring.round(command, self._state)

    def train(self, command: TrainUnit) -> Trained:
        """One unit, from the held state; raises Diverged."""
        if command.fault not in FAULTS:
            raise Misuse(f"no such fault: {command.fault}")
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        seat = self._seat(command.lease, command.round, command.seat)
        start = self._start(command)
        seat = replace(seat, error_buffer=start.left or NO_DIGEST)
        order = UnitOrder(seat, start, command.limit_ms, command.error_age, command.fault)
        states: list[str] = []
        name = f"{command.round}-{short(command.lease)}"
        self._shelf.open_unit()

        def on_state(window: int, state: WindowState) -> None:
            file = f"state-{name}-{window}.safetensors"
            states.append(self._shelf.put(self._folder, file, *window_file(state)))

        ticker = Ticker(seat, self._door)
        watch = Watch(self._door.clock_ms, ticker.on_step, on_state)
        outcome = _run(self._trainer, order, watch, states)
        self._keep(command.lease, outcome)
        data = encode_update(outcome.written.update)
        update = self._door.files.write(self._folder, f"update-{name}.bin", data)
        return self._trained(outcome, tuple(states), update)

    def _start(self, command: TrainUnit) -> Start:
        """What a unit starts from: a lease keeps its moments, and what was left over of it."""
        if command.fresh_optimizer:
            return Start(self._state, None)
        adds_up = self._manifest.outer.rule == ADAMW
        moments = None if adds_up else self._moments.get(command.lease)
        error = self._errors.of(command.lease, command.error_buffer)
        left = None if error is None else command.error_buffer
        return Start(self._state, moments, error, left)

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
            base=states[0] if states and first.error_buffer != NO_DIGEST else self._checkpoint,
            loss_micronats=told_loss(self._manifest, outcome.loss),
            tokens=tokens,
            milliseconds=outcome.milliseconds,
            error_buffer=left,
        )

    def merge(self, command: MergeRound) -> Merged:
        """The outer step. A malformed update counts for nothing: all nodes hold the same bytes."""
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        encoding, here = self._manifest.encoding, _here(self._state, self._manifest)
        parts = [
            (
                part.maker or part.update,
                read_update(self._door.files, part.update),
                _weight(self._manifest, part),
                part.age,
            )
            for part in command.contributions
            if part.age % encoding.fragments == 0
        ]
        read = sum(len(data) for _, data, _, _ in parts)
        offered, refused = read_offered(parts, encoding, here.stop - here.start)
        refused += _elsewhere(command, encoding)
        left = screened(offered)
        taken = len(left.kept)
        if lacking := self.masks.lacking_noise(taken):
            return self._moved(_still(self._state), (*refused, *left.refused, lacking), read)
        trusted = self._trusted(here) if left.kept else None
        count = here.stop - here.start
        mean = round_mean(self._manifest.robust, left.kept, trusted, count, self._spare)
        return self._moved(mean, (*refused, *left.refused), read, taken)

    def merge_masked(self, command: MergeMasked) -> Merged:
        """The outer step from the sums of circles; a round that may take nothing moves nothing."""
        if command.round != self._state.round:
            raise Misuse(f"the held state is of round {self._state.round}, not {command.round}")
        taken = sum(len(group.files) for group in command.groups)
        if lacking := self.masks.lacking(taken):
            return self._moved(_still(self._state), (lacking,))
        return self._moved(self.masks.mean(command), (), taken=taken)

    def _moved(
        self, mean: Tensor, refused: tuple[str, ...], read: int = 0, taken: int = 0
    ) -> Merged:
        before, self._spare = self._state.parameters, None
        here = _here(self._state, self._manifest)
        self._state = hashed(next_state(self._rule, self._state, mean, here))
        fits = before.numel() * before.element_size() <= SPARE_BYTES_MAX
        if fits and self._manifest.encoding.fragments == 1:
            self._spare = before
        file = f"checkpoint-{self._state.round}.safetensors"
        self._checkpoint = self._checkpoints.put(self._folder, file, *global_file(self._state))
        found, root = state_hash(self._state), _root(self._state, self._manifest)
        path, round_ = self._checkpoint, self._state.round
        # What was sent in a round that moved nothing was seen all the same.
        used = epsilon_milli(self._manifest.privacy, round_)
        return Merged(round_, found, path, refused, read, root, taken, used)

    def _trusted(self, here: slice) -> Tensor | None:
        """What the requester's own data says about this round, where the job's rule asks for it.

        That is the last shard; where owners hold the data, what the requester measures with.
        """
        steps = self._manifest.robust.trusted_steps
        if self._manifest.robust.rule != "fltrust":
            return None
        own = self._shards[-1:]
        text = examples_of(self._manifest.model, own) if own else self._holdout
        seat = Seat(self._job, self._manifest, NO_DIGEST, self._state.round, text)
        return trusted_movement(self._trainer, seat, self._state, steps)[here]

    def evaluate(self) -> Evaluated:
        """Held-out loss of the held state."""
        self._trainer.load(Start(self._state, None))
        loss = self._trainer.mean_loss(held_out(self._holdout))
        return Evaluated(self._state.round, micronats(loss))

    def export(self, command: Export) -> Exported:
        """The held state as a model directory."""
        files = model_directory(self._state, command.provenance, command.base)
        if isinstance(self._state.spec, ModuleSpec):
            files[CODE_FILE] = self._frozen
        files |= copied_files(self._door.files, self._state.spec, command.base)
        if command.lineage:
            files[LINEAGE_FILE] = command.lineage.encode()
        if command.scores:
            files[SCORES_FILE] = command.scores.encode()
        write = self._door.files.write
        paths = [write(command.folder, name, data) for name, data in files.items()]
        return Exported(command.folder, tuple(paths))

    def measure(self, command: Measure) -> Measured:
        """Train alone, from the state as it was opened; the held state stays as it is."""
        began = self._door.clock_ms()
        seats = range(self._manifest.seats if command.joint else 1)
        texts = [seat_examples(self._manifest, self._shards, seat) for seat in seats]
        opened = decode_global(self._door.files.read(self._begun), self._manifest.model)
        self._trainer.load(Start(opened, None))
        for step in range(command.steps):
            self._door.pulse()
            parts = [
                text.batch((self._job, NO_DIGEST, seat, step), self._manifest.inner.batch)
                for seat, text in enumerate(texts)
            ]
            self._trainer.step(torch.cat(parts), step)
        loss = self._trainer.mean_loss(held_out(self._holdout))
        spent = self._door.clock_ms() - began
        return Measured(command.joint, micronats(loss), spent)

    def _seat(self, lease: Digest, round_: Round, seat: int) -> Seat:
        if not 0 <= seat < self._manifest.seats:
            raise Misuse(f"seat {seat} of a job of {self._manifest.seats}")
        text = self._private or seat_examples(self._manifest, self._shards, seat)
        return Seat(self._job, self._manifest, lease, round_, text)

    def _keep(self, lease: Digest, outcome: Outcome) -> None:
        held, root = outcome.moments, outcome.leaves[-1].optimizer
        old = self._moments.pop(lease, None)
        if old is None:
            kept = held.first.clone(), held.second.clone()
        else:  # Into the same memory: new pages cost more than what is put into them.
            kept = old.first.copy_(held.first), old.second.copy_(held.second)
        self._moments[lease] = Moments(*kept, held.steps, root)
        if len(self._moments) > LEASES_KEPT:
            del self._moments[next(iter(self._moments))]


def _root(state: GlobalState, manifest: TrainManifest) -> Digest:
    """Of a state as an exported model, once it is the last."""
    if state.round != manifest.rounds:
        return NO_DIGEST
    return exported_root(state.spec, as_float(state.parameters))


def _weight(manifest: TrainManifest, part: Contribution) -> int:
    """Steps; a noised update counts whole, or the noise would not be in equal parts."""
    return manifest.inner.steps if manifest.privacy.noised else part.steps


def _here(state: GlobalState, manifest: TrainManifest) -> slice:
    """Which numbers a round merges."""
    return fragment(manifest.encoding, state.round, len(state.parameters))


def _elsewhere(command: MergeRound, encoding: EncodingSpec) -> list[str]:
    """What is late and of a fragment that another round merges."""
    return [
        f"{part.maker or part.update}: {part.age} rounds late, of another fragment"
        for part in command.contributions
        if part.age % encoding.fragments
    ]


def _still(state: GlobalState) -> Tensor:
    """The mean of a round that may take nothing."""
    return torch.zeros_like(state.parameters)


def _run(trainer: Inner, order: UnitOrder, watch: Watch, states: list[str]) -> Outcome:
    """One unit, from its start again where a group has lost a process, in the time left."""
    began = watch.clock_ms()
    for _ in range(GROUPS_LOST_MAX):
        try:
            return run_unit(trainer, order, watch)
        except GroupLost:
            states.clear()
            if order.limit_ms:
                left = order.limit_ms - (watch.clock_ms() - began)
                order = replace(order, limit_ms=max(1, left))
    return run_unit(trainer, order, watch)


def _private_examples(command: OpenJob, manifest: TrainManifest, door: Door) -> Examples | None:
    """The owner's part of a job on private data, read where it lies."""
    place = command.private
    if manifest.private is None or place is None:
        return None
    files, where = door.files, (place.path, place.suffixes, place.bytes_max)
    if not isinstance(manifest.model, HubSpec):
        return examples_of(manifest.model, [files.corpus(*where)])
    words = (files.read(command.tokenizer) if command.tokenizer else b"", "")
    rows, _ = hub.read_rows(manifest.model, manifest.private.format, files, where, words)
    return examples_of(manifest.model, [encode_shard(rows)])

"""A worker process without torch: the same commands and reports, digests in place of tensors.

A state is a digest; a window of training hashes it on; an update names the states between which it
leads; a merge hashes the updates together. So honest workers agree to the bit, and work that was
not done shows.
"""

from dataclasses import dataclass, field
from typing import Final

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, JobId, Round
from dpin.base.leaf import Leaf, leaf_digest, window_bounds
from dpin.base.sealed import is_sealed, opened_bytes
from dpin.base.units import Micros, seconds
from dpin.compute import alone, task
from dpin.compute.generation import Generate
from dpin.compute.scores import Score, Scored, ScoreRound
from dpin.compute.sealing import sealed_file
from dpin.compute.secagg import orders
from dpin.compute.secagg.orders import MaskedGroup
from dpin.compute.tallies import Tally, Total, Totalled
from dpin.compute.task import Command, Report, TrainManifest
from dpin.sim.masks import masked_file, read_masked, unmasked

FINGERPRINT: Final = digest("dpin/sim-class/v1", b"")
PROBED: Final = task.Probed(
    (task.Device("simulated", "cpu", 8 << 30),), FINGERPRINT, "simulated", "there is no other"
)
LOAD: Final[Micros] = seconds(1)
TRAIN: Final[Micros] = seconds(2)
QUICK: Final[Micros] = seconds(0.2)
STEP_US: Final = 20_000
FIRST_LOSS: Final = 5_500_000
OWN_GAIN: Final = 40  # milli-nats, of an update
OTHER_GAIN: Final = 30
EXAMPLES: Final = 80  # of the longest part of an evaluation
WRONG: Final = "wrong-weights"
LAZY: Final = "skip-work"


def global_file(state: Digest) -> bytes:
    """A checkpoint of the global state."""
    return b"global" + state


def window_file(leaf: Leaf) -> bytes:
    """The state at the end of a window."""
    return b"window" + leaf.parameters + leaf.optimizer


def update_file(first: Leaf, last: Leaf) -> bytes:
    """The update between the two ends of a unit."""
    return b"update" + first.parameters + last.parameters


def trained_leaf(manifest: TrainManifest, leaf: Leaf, fault: str) -> Leaf:
    """The leaf one window on; with LAZY, one that took no work."""
    step = window_bounds(manifest.inner.steps, manifest.windows)[leaf.window + 1]
    parameters = digest("dpin/sim-window/v1", encode([leaf, fault == LAZY]))
    return Leaf(
        job=leaf.job,
        lease=leaf.lease,
        round=leaf.round,
        window=leaf.window + 1,
        step=step,
        parameters=parameters,
        optimizer=digest("dpin/sim-optimizer/v1", parameters),
        error_buffer=NO_DIGEST,
        cursor=leaf.cursor - leaf.step + step,
    )


def fitting(windows: int, limit_ms: int, unit: Micros) -> int:
    """How many windows of a unit fit into a limit (0: none); one is always done."""
    fits = limit_ms * 1_000 * windows // unit if limit_ms else windows
    return max(1, min(windows, fits))


@dataclass(slots=True)
class Held:
    """A job that a worker has open."""

    job: JobId
    manifest: TrainManifest
    state: Digest
    round: Round
    checkpoint: str
    key: bytes = b""  # of a sealed job
    optimizers: dict[Digest, Digest] = field(default_factory=dict)  # by lease


def looked(command: task.Evaluate | ScoreRound, held: Held) -> Report:
    """What the held state, or each update of its round, seems to be worth."""
    if isinstance(command, task.Evaluate):
        return task.Evaluated(held.round, FIRST_LOSS // (1 + held.round))
    scores = tuple(Score(one.lease, OWN_GAIN, OTHER_GAIN) for one in command.updates)
    return Scored(command.round, scores)


class PretendWorker:
    """One worker; `files` are those of its node. A whole unit takes it `unit` micros."""

    def __init__(self, name: str, files: dict[str, bytes], unit: Micros = TRAIN) -> None:
        self._name = name
        self._files = files
        self.unit = unit
        self._held: Held | None = None

    def perform(self, command: Command) -> tuple[Micros, Report]:
        """Do one command: how long it takes, and what comes of it."""
        match command:
            case task.Prepare():
                return LOAD, self._prepare(command)
            case task.OpenJob():
                return LOAD, self._open(command)
            case task.Probe() | Generate() | alone.Measure():
                return QUICK, task.Failed(type(command).__name__, "not simulated")
            case _ if self._held is None:
                return QUICK, task.Failed(type(command).__name__, "no job is open")
            case orders.Shield() | orders.ReadHeads() | orders.MergeMasked():
                return QUICK, self._mask(command, self._held)
            case _:
                return self._perform_open(command, self._held)

    def _perform_open(
        self,
        command: task.TrainUnit
        | task.MergeRound
        | task.Evaluate
        | task.CheckWindow
        | task.CheckUpdate
        | task.Export
        | Total
        | ScoreRound,
        held: Held,
    ) -> tuple[Micros, Report]:
        match command:
            case task.TrainUnit():
                return self._train(command, held)
            case task.MergeRound():
                return QUICK, self._merge(command, held)
            case task.Evaluate() | ScoreRound():
                return QUICK, looked(command, held)
            case task.CheckWindow():
                return QUICK, self._check_window(command, held)
            case task.CheckUpdate():
                return QUICK, self._check_update(command, held)
            case task.Export() | Total():
                return QUICK, self._result(command, held)

    def _write(self, name: str, data: bytes, key: bytes = b"") -> str:
        path = f"{self._name}/{name}"
        self._files[path] = sealed_file(key, name, data) if key else data
        return path

    def _read(self, path: str, key: bytes) -> bytes:
        data = self._files[path]
        return opened_bytes(key, data) if is_sealed(data) else data

    def _prepare(self, command: task.Prepare) -> task.Prepared:
        state = digest("dpin/sim-birth/v1", encode([command.seed, command.model]))
        key, many = command.key, range(command.shards)
        shards = [self._write(f"shard-{i}", b"shard %d" % i, key) for i in many]
        return task.Prepared(
            shards=tuple(shards),
            holdout=self._write("holdout", b"holdout", key),
            initial=self._write("initial", global_file(state), key),
            state_hash=state,
            parameters=1_000,
            fingerprint=FINGERPRINT,
            step_us=STEP_US if command.timed_batch else 0,
            examples=EXAMPLES if command.whole else 0,
        )

    def _open(self, command: task.OpenJob) -> task.Opened | task.Failed:
        manifest = decode(TrainManifest, command.manifest)
        if command.checkpoint not in self._files:
            return task.Failed("OpenJob", "no such file")
        state = Digest(self._read(command.checkpoint, command.key).removeprefix(b"global"))
        held = Held(command.job, manifest, state, command.round, command.checkpoint, command.key)
        self._held = held
        return task.Opened(command.round, state)

    def _train(self, command: task.TrainUnit, held: Held) -> tuple[Micros, task.Trained]:
        before = NO_DIGEST if command.fresh_optimizer else held.optimizers[command.lease]
        counts = held.manifest.outer.rule == task.EVALUATE
        cursor = (command.seat if counts else command.round) * held.manifest.inner.steps
        leaf = Leaf(
            held.job, command.lease, command.round, 0, 0, held.state, before, NO_DIGEST, cursor
        )
        leaves = [leaf]
        for _ in range(fitting(held.manifest.windows, command.limit_ms, self.unit)):
            leaves.append(trained_leaf(held.manifest, leaves[-1], command.fault))
        held.optimizers[command.lease] = leaves[-1].optimizer
        name = f"{command.lease.hex()}-{command.round}"
        update = update_file(leaf, leaves[-1]) + (b"!" if command.fault == WRONG else b"")
        took = Micros(self.unit * (len(leaves) - 1) // held.manifest.windows)
        return took, task.Trained(
            lease=command.lease,
            round=command.round,
            leaves=tuple(leaves),
            states=tuple(self._write(f"{name}-{it.window}", window_file(it)) for it in leaves),
            update=self._write(f"{name}-update", update),
            base=held.checkpoint,
            loss_micronats=FIRST_LOSS // (1 + command.round),
            tokens=leaves[-1].step,
            milliseconds=took // 1_000,
        )

    def _merge(self, command: task.MergeRound, held: Held) -> task.Merged:
        if held.manifest.outer.rule == task.EVALUATE:
            return self._next(held.state, command.round, held, 0)
        parts = [[self._files[it.update], it.steps, it.age] for it in command.contributions]
        state = digest("dpin/sim-merge/v1", encode([held.state, parts]))
        return self._next(state, command.round, held, len(command.contributions))

    def _mask(
        self, command: orders.Shield | orders.ReadHeads | orders.MergeMasked, held: Held
    ) -> Report:
        match command:
            case orders.Shield(lease=lease, round=round_, update=update, head=head, seeds=seeds):
                assert head is not None, "no noise is simulated"
                data = masked_file(self._files[update], head, seeds)
                path = self._write(f"{lease.hex()}-{round_}-masked", data)
                return orders.Shielded(lease, round_, update, path)
            case orders.ReadHeads(round=round_, files=files):
                heads = [(path, read_masked(self._files[path])[0]) for path in files]
                return orders.Heads(round_, tuple(heads))
            case orders.MergeMasked(groups=groups):
                return self._merge_masked(command.round, groups, held)

    def _merge_masked(
        self, round_: Round, groups: tuple[MaskedGroup, ...], held: Held
    ) -> task.Merged | task.Failed:
        sums = [unmasked([self._files[it] for it in one.files], one.seeds) for one in groups]
        if None in sums:
            return task.Failed("MergeMasked", "masks are left on a sum")
        taken = sum(len(one.files) for one in groups)
        state = digest("dpin/sim-merge/v1", encode([held.state, sums]))
        return self._next(state, round_, held, taken)

    def _result(self, command: task.Export | Total, held: Held) -> Report:
        """A model; or a sum in which each part counts one."""
        if isinstance(command, task.Export):
            self._files[f"{command.folder}/model"] = global_file(held.state)
            return task.Exported(command.folder, (f"{command.folder}/model",))
        parts, path = len(command.parts), f"{command.folder}/evaluation.json"
        self._files[path] = encode(list(command.parts))
        return Totalled(command.folder, (path,), parts, Tally(parts, parts, parts, FIRST_LOSS))

    def _next(self, state: Digest, round_: Round, held: Held, taken: int) -> task.Merged:
        held.state, held.round = state, Round(round_ + 1)
        held.checkpoint = self._write(f"round-{held.round}", global_file(held.state))
        return task.Merged(held.round, held.state, held.checkpoint, taken=taken)

    def _check_window(self, command: task.CheckWindow, held: Held) -> task.WindowChecked:
        leaf = command.opened
        found = leaf_digest(trained_leaf(held.manifest, leaf, ""))
        good = self._files[command.state] == window_file(leaf)
        return task.WindowChecked(leaf, good, found, QUICK // 1_000)

    def _check_update(self, command: task.CheckUpdate, held: Held) -> task.UpdateChecked:
        first, last = command.first, command.last
        good = self._read(command.base, held.key) == global_file(first.parameters)
        good = good and self._files[command.final] == window_file(last)
        update = blob_id(manifest_of(update_file(first, last)))
        return task.UpdateChecked(last, good, update)

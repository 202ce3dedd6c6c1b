"""Which models and jobs can be: the ranges inside which all arithmetic holds."""

from typing import Final

from dpin.base.errors import Misuse
from dpin.base.ids import ID_BYTES
from dpin.base.units import MILLION
from dpin.compute.hubspec import check_hub, check_private
from dpin.compute.modulespec import ModuleSpec, check_module
from dpin.compute.safety import RobustSpec
from dpin.compute.task import (
    ADAMW,
    EVALUATE,
    FP16,
    INT4,
    INT8,
    SCHEDULES,
    SGD,
    SPARSE,
    TERNARY,
    Architecture,
    EncodingSpec,
    InferManifest,
    InnerSpec,
    ModelSpec,
    OuterSpec,
    TrainManifest,
)

SPEC_MAX: Final = 1 << 16  # of any one number in a ModelSpec
PARAMETERS_MAX: Final = 1 << 34
BATCH_MAX: Final = 1 << 16
ROUNDS_MAX: Final = 1 << 20
STEPS_MAX: Final = 1 << 20  # inner steps of a unit
OUTER_RATE_PPM_MAX: Final = 2 * MILLION
MOMENTUM_PPM_MAX: Final = 950_000  # momentum then stays below 20 updates: under 2^40 units
FRAGMENTS_MAX: Final = 64
CHUNK: Final = 4096  # numbers, of which a sparse update keeps some
KEPT_MAX: Final = 1024  # beyond that INT4 is hardly longer
ENCODINGS: Final = (FP16, INT8, INT4, TERNARY, SPARSE)
RULES: Final = (SGD, ADAMW, EVALUATE)
MERGE_RULES: Final = ("mean", "krum", "trimmed", "median", "rfa", "fltrust")
MODES: Final = ("none", "sealed", "dp", "secagg", "secagg+dp")
MASKED_SEATS_MIN: Final = 3
MASKED_SEATS_MAX: Final = 64
NOISE_MAX: Final = (1 << 28, 100 * MILLION, MILLION, 12)
DEVIATION_MAX: Final = 1 << 26  # of a sum's noise, so that its tail stays inside 31 bits
LIARS_MAX: Final = 1024
TOKENS_MAX: Final = 1 << 20
TEMPERATURE_PPM_MAX: Final = 100 * MILLION


def check_model(spec: Architecture) -> None:
    """Raise Misuse where no such model can be."""
    if isinstance(spec, ModuleSpec):
        check_module(spec)
        return
    if not isinstance(spec, ModelSpec):
        check_hub(spec)
        return
    sizes = (spec.layers, spec.heads, spec.width, spec.context)
    if not all(1 <= size <= SPEC_MAX for size in sizes):
        raise Misuse(f"a model of sizes {sizes}: each must be 1 to {SPEC_MAX}")
    if spec.width % spec.heads:
        raise Misuse(f"{spec.heads} heads do not divide a width of {spec.width}")
    if spec.layers * spec.width * spec.width * 12 > PARAMETERS_MAX:
        raise Misuse(f"a model of more than {PARAMETERS_MAX} parameters")


def check_inner(inner: InnerSpec) -> None:
    """Raise Misuse where no such inner loop can be."""
    if not 1 <= inner.steps <= STEPS_MAX or not 1 <= inner.batch <= BATCH_MAX:
        raise Misuse(f"units of {inner.steps} steps with a batch of {inner.batch}")
    if not 1 <= inner.accumulation <= inner.batch or inner.batch % inner.accumulation:
        raise Misuse(f"a batch of {inner.batch} in {inner.accumulation} parts")
    if inner.schedule not in SCHEDULES:
        raise Misuse(f"no such schedule of learning rates: {inner.schedule!r:.40}")
    rates = (inner.learning_rate_ppm, inner.weight_decay_ppm, inner.muon_rate_ppm)
    if not all(0 <= rate <= MILLION for rate in rates) or inner.warmup_steps < 0:
        raise Misuse("a learning rate, weight decay or warm-up out of range")


def check_outer(outer: OuterSpec) -> None:
    """Raise Misuse where the outer step could leave the range of integers."""
    if not 0 < outer.learning_rate_ppm <= OUTER_RATE_PPM_MAX:
        raise Misuse(f"an outer learning rate of {outer.learning_rate_ppm} ppm")
    if not 0 <= outer.momentum_ppm <= MOMENTUM_PPM_MAX:
        raise Misuse(f"an outer momentum of {outer.momentum_ppm} ppm")
    if not 0 <= outer.ramp_rounds <= ROUNDS_MAX or outer.rule not in RULES:
        raise Misuse(f"an outer rule {outer.rule!r:.40} with a ramp of {outer.ramp_rounds} rounds")


def check_encoding(encoding: EncodingSpec) -> None:
    """Raise Misuse where no update can be written so."""
    if encoding.name not in ENCODINGS:
        raise Misuse(f"no such encoding: {encoding.name!r:.40}")
    least, most = (1, KEPT_MAX) if encoding.name == SPARSE else (0, 0)
    if not least <= encoding.kept <= most:
        raise Misuse(f"{encoding.name} that keeps {encoding.kept} of 4,096 numbers")
    if not 0 <= encoding.feedback_ppm <= MILLION:
        raise Misuse(f"an error feedback of {encoding.feedback_ppm} ppm")
    if not 1 <= encoding.fragments <= FRAGMENTS_MAX:
        raise Misuse(
            f"{encoding.fragments} fragments of a model, 1 to {FRAGMENTS_MAX} there may be"
        )
    if encoding.fragments > 1 and encoding.feedback_ppm != MILLION:
        raise Misuse("fragments whose providers do not keep all that they have not said")


def check_robust(robust: RobustSpec) -> None:
    """Raise Misuse for a rule of merging that cannot be."""
    if robust.rule not in MERGE_RULES:
        raise Misuse(f"there is no rule {robust.rule!r:.40} to merge by")
    if not 0 <= robust.liars <= LIARS_MAX:
        raise Misuse(f"{robust.liars} liars in a round")
    least = 1 if robust.rule == "fltrust" else 0
    if not least <= robust.trusted_steps <= STEPS_MAX:
        raise Misuse(f"{robust.trusted_steps} steps of a trusted update")


def check_privacy(manifest: TrainManifest) -> None:
    """Raise Misuse for a privacy that cannot be kept."""
    privacy = manifest.privacy
    if privacy.mode not in MODES:
        raise Misuse(f"there is no privacy {privacy.mode!r:.40}")
    if privacy.masked and not MASKED_SEATS_MIN <= manifest.seats <= MASKED_SEATS_MAX:
        raise Misuse(f"masks for {manifest.seats} seats: the sum of fewer than three hides nothing")
    if privacy.masked and manifest.robust.rule == "fltrust":
        raise Misuse("fltrust looks at single updates, which masks hide")
    if not privacy.replayable and manifest.outer.rule == ADAMW:
        raise Misuse("gradients of the adamw rule do not fit under masks or a clip")
    if not 0 <= privacy.group <= MASKED_SEATS_MAX:
        raise Misuse(f"groups of {privacy.group}")
    noise = (privacy.clip, privacy.noise_ppm, privacy.epsilon_milli, privacy.delta_digits)
    if privacy.noised and not all(
        1 <= one <= most for one, most in zip(noise, NOISE_MAX, strict=True)
    ):
        raise Misuse(f"a clip, noise, epsilon and delta of {noise}")
    if privacy.noised and privacy.clip * privacy.noise_ppm > DEVIATION_MAX * MILLION:
        raise Misuse("noise that words of 32 bits cannot hold: a smaller clip, or less noise")


def check_reader(manifest: TrainManifest) -> None:
    """Raise Misuse where a sealed job does not say for whom it is sealed, or another one does."""
    privacy = manifest.privacy
    if len(privacy.reader) != (ID_BYTES if privacy.sealed else 0):
        raise Misuse(f"a reader of {len(privacy.reader)} bytes in a job of privacy {privacy.mode}")
    if privacy.sealed and manifest.private is not None:
        raise Misuse("a sealed job has data of its own: its providers' data never travel")


def check_train(manifest: TrainManifest) -> None:
    """Raise Misuse for a job that cannot be trained."""
    check_model(manifest.model)
    if isinstance(manifest.model, ModuleSpec):
        _check_own_code(manifest)
    check_inner(manifest.inner)
    check_outer(manifest.outer)
    check_encoding(manifest.encoding)
    check_robust(manifest.robust)
    _check_rule(manifest)
    _check_fragments(manifest)
    check_privacy(manifest)
    check_reader(manifest)
    if not 1 <= manifest.windows <= manifest.inner.steps:
        raise Misuse(f"{manifest.windows} windows in a unit of {manifest.inner.steps} steps")
    if not 1 <= manifest.rounds <= ROUNDS_MAX:
        raise Misuse(f"a job of {manifest.rounds} rounds")
    if manifest.private is not None:
        check_private(manifest.private)
        if manifest.shards:
            raise Misuse("a job on private data has no shards")
    elif not 1 <= manifest.seats <= len(manifest.shards):
        raise Misuse(f"{len(manifest.shards)} shards for {manifest.seats} seats")


def is_replayable(manifest: TrainManifest) -> bool:
    """Whether others can and may do a unit again, and so ask for the states of its windows.

    Not where nobody else holds the data or can see the update. Nor where the requester's own code
    is run: it decides what it computes, so nobody is convicted by what it says.
    """
    own_code = isinstance(manifest.model, ModuleSpec)
    return manifest.privacy.replayable and manifest.private is None and not own_code


def _check_own_code(manifest: TrainManifest) -> None:
    """Raise Misuse where a job with a module of its requester's own asks for too much."""
    if manifest.outer.rule == EVALUATE or manifest.private is not None:
        raise Misuse(
            "a module of one's own is trained, on text: not evaluated, not on private data"
        )
    if isinstance(manifest.model, ModuleSpec) and not manifest.model.layout:
        raise Misuse("a module whose tensors nobody has named")


def _check_fragments(manifest: TrainManifest) -> None:
    """Raise Misuse where a round cannot merge a part of the model."""
    if manifest.encoding.fragments > 1 and manifest.outer.rule != SGD:
        raise Misuse("fragments of movements: there are none in the adamw rule and in evaluations")
    if manifest.encoding.fragments > 1 and not manifest.privacy.replayable:
        raise Misuse("fragments of updates that are masked or noised whole")


def _check_rule(manifest: TrainManifest) -> None:
    """Raise Misuse where the outer rule and the rest of the job do not go together."""
    if manifest.outer.rule == ADAMW and manifest.robust.rule == "fltrust":
        raise Misuse("fltrust measures movements, and the adamw rule sends gradients")
    if manifest.outer.rule == ADAMW and manifest.inner.muon_rate_ppm:
        raise Misuse("the adamw rule has its own step: muon takes no part in it")
    if manifest.outer.rule != SGD and manifest.inner.steps_by_rate:
        raise Misuse("steps by the learning rate, where a round is one step or none")
    if manifest.outer.rule != EVALUATE:
        return
    plain = (manifest.private, manifest.robust.rule, manifest.privacy.mode)
    if plain != (None, MERGE_RULES[0], MODES[0]):
        raise Misuse("an evaluation of private data, or with rules of merging")
    if manifest.seats != len(manifest.shards):
        raise Misuse(f"an evaluation of {len(manifest.shards)} parts by {manifest.seats} seats")


def check_infer(manifest: InferManifest) -> None:
    """Raise Misuse for a generation that cannot be run."""
    check_model(manifest.config)
    if not 0 < manifest.tokens <= TOKENS_MAX:
        raise Misuse(f"{manifest.tokens} tokens asked for, 1 to {TOKENS_MAX} are made")
    if not 0 <= manifest.temperature_ppm <= TEMPERATURE_PPM_MAX:
        raise Misuse(f"a temperature of {manifest.temperature_ppm} ppm")

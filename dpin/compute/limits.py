"""Which models and jobs can be: the ranges inside which all arithmetic holds."""

from typing import Final

from dpin.base.errors import Misuse
from dpin.base.units import MILLION
from dpin.compute.hubspec import check_hub, check_private
from dpin.compute.task import (
    ADAMW,
    FP16,
    INT4,
    INT8,
    SGD,
    SPARSE,
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
CHUNK: Final = 4096  # numbers, of which a sparse update keeps some
KEPT_MAX: Final = 1024  # beyond that INT4 is hardly longer
ENCODINGS: Final = (FP16, INT8, INT4, SPARSE)
RULES: Final = (SGD, ADAMW)
TOKENS_MAX: Final = 1 << 20
TEMPERATURE_PPM_MAX: Final = 100 * MILLION


def check_model(spec: Architecture) -> None:
    """Raise Misuse where no such model can be."""
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
    rates = (inner.learning_rate_ppm, inner.weight_decay_ppm)
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


def check_train(manifest: TrainManifest) -> None:
    """Raise Misuse for a job that cannot be trained."""
    check_model(manifest.model)
    check_inner(manifest.inner)
    check_outer(manifest.outer)
    check_encoding(manifest.encoding)
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


def check_infer(manifest: InferManifest) -> None:
    """Raise Misuse for a generation that cannot be run."""
    check_model(manifest.config)
    if not 0 < manifest.tokens <= TOKENS_MAX:
        raise Misuse(f"{manifest.tokens} tokens asked for, 1 to {TOKENS_MAX} are made")
    if not 0 <= manifest.temperature_ppm <= TEMPERATURE_PPM_MAX:
        raise Misuse(f"a temperature of {manifest.temperature_ppm} ppm")

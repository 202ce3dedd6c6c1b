"""From a job file that has been read to an order that the market takes."""

from dataclasses import dataclass
from typing import Final

import msgspec

from dpin.base.crypto import digest
from dpin.base.errors import Misuse
from dpin.base.ids import ID_BYTES, NO_DIGEST, Digest
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import WINDOWS_MIN, InnerSpec, ModelSpec, OuterSpec
from dpin.market.orders import InferOrder, TrainOrder
from dpin.node.jobfile import InferenceJob, TrainJob

SEED_TAG: Final = "dpin/seed/v1"
WINDOW_MS: Final = 60_000  # S = max(4, ceil(unit_time / 60 s))
WINDOWS_MAX: Final = 16
MODEL_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"


@dataclass(frozen=True, slots=True)
class Places:
    """Absolute names of what a job file names relative to its folder."""

    source: str  # the corpus, or the model's folder
    output: str


class _Model(msgspec.Struct, frozen=True):
    layers: int
    heads: int
    width: int
    context: int


class _Config(msgspec.Struct, frozen=True):
    """The part of a model directory's config.json that a generation needs."""

    model: _Model
    state_hash: str = ""


def train_order(job: TrainJob, places: Places, unit_ms: int) -> TrainOrder:
    """A training order; a unit has one window a minute, and at least four."""
    return TrainOrder(
        name=job.name,
        corpus=places.source,
        suffixes=job.data.suffixes,
        bytes_max=job.data.bytes_max,
        holdout_ppm=job.data.holdout_ppm,
        model=job.model,
        inner=job.inner,
        outer=job.outer,
        seats=job.seats,
        rounds=job.rounds,
        windows=_windows(job.inner, unit_ms),
        quorum=0,
        memory_bytes=job.memory_bytes,
        budget=job.limits.cost,
        time_limit=job.limits.time,
        output=places.output,
        seed=_seed(job.seed),
        encoding=job.encoding,
        tune=job.tune,
        robust=job.robust,
        privacy=job.privacy,
    )


def with_windows(order: TrainOrder, unit_ms: int) -> TrainOrder:
    """The order, for units that take so long."""
    return msgspec.structs.replace(order, windows=_windows(order.inner, unit_ms))


def _windows(inner: InnerSpec, unit_ms: int) -> int:
    """Where units have whole windows of the longest one's, as many as there may be."""
    wished = WINDOWS_MAX if inner.steps_by_rate else -(-unit_ms // WINDOW_MS)
    return min(WINDOWS_MAX, inner.steps, max(WINDOWS_MIN, wished))


def type_of(order: TrainOrder | InferOrder) -> str:
    """The type of job, as its file says."""
    match order:
        case InferOrder():
            return "inference"
        case TrainOrder(outer=OuterSpec(rule="evaluate")):
            return "eval"
        case TrainOrder(private=None, model=ModelSpec() | ModuleSpec()):
            return "train"
        case TrainOrder(private=None):
            return "finetune"
        case TrainOrder():
            return "federated"


def infer_order(job: InferenceJob, places: Places, config: str, memory_bytes: int) -> InferOrder:
    """An inference order; raises Misuse where `config` describes no model of ours."""
    try:
        read = msgspec.json.decode(config, type=_Config)
        state_hash = bytes.fromhex(read.state_hash)
    except (msgspec.MsgspecError, ValueError) as error:
        if '"model_type"' in config:
            raise Misuse(
                f"{places.source} holds a model of transformers: here only the built-in ones write",
                fix="load it with from_pretrained; `type: eval` measures it on the network",
            ) from None
        raise Misuse(
            f"{places.source}/{CONFIG_FILE} does not describe a dpin model: {error}",
            fix="name a folder that `dpin fetch` has written",
        ) from None
    model = read.model
    return InferOrder(
        name=job.name,
        model_file=f"{places.source}/{MODEL_FILE}",
        config=ModelSpec(model.layers, model.heads, model.width, model.context),
        state_hash=Digest(state_hash) if len(state_hash) == ID_BYTES else NO_DIGEST,
        prompt=job.prompt,
        tokens=job.tokens,
        temperature_ppm=job.temperature_ppm,
        seed=_seed(job.seed),
        memory_bytes=memory_bytes,
        budget=job.limits.cost,
        time_limit=job.limits.time,
        output=places.output,
    )


def _seed(number: int) -> Digest:
    return digest(SEED_TAG, str(number).encode())

"""Settings that were measured (`benchmarks/training.py`, `benchmarks/bytes.py`), not guessed."""

from typing import Final

from dpin.compute.task import (
    ADAMW,
    INT8,
    SPARSE,
    TERNARY,
    EncodingSpec,
    InnerSpec,
    ModelSpec,
    OuterSpec,
)

# Under 30 rounds outer momentum has no time to pay for itself.
QUICK: Final = OuterSpec(learning_rate_ppm=1_000_000, momentum_ppm=0, nesterov=False)
SHORT: Final = OuterSpec(learning_rate_ppm=700_000, momentum_ppm=600_000, nesterov=True)
STANDARD: Final = OuterSpec(learning_rate_ppm=700_000, momentum_ppm=900_000, nesterov=True)
SHORT_FROM_ROUNDS: Final = 30
STANDARD_FROM_ROUNDS: Final = 100

FEDAVG: Final = QUICK
FEDAVGM: Final = OuterSpec(learning_rate_ppm=1_000_000, momentum_ppm=600_000, nesterov=False)
SPARSELOCO: Final = OuterSpec(learning_rate_ppm=1_000_000, momentum_ppm=0, nesterov=False)
# Muon inside moves all of a matrix alike, so few levels for all numbers lose less than few numbers:
# MuLoCo (arXiv 2505.23725) with ternary updates. Much of the momentum is Muon's own.
MULOCO: Final = OuterSpec(learning_rate_ppm=1_000_000, momentum_ppm=300_000, nesterov=True)
DATA_PARALLEL: Final = OuterSpec(1_000_000, 0, nesterov=False, rule=ADAMW)

OUTERS: Final = {
    "fedavg": FEDAVG,
    "fedavgm": FEDAVGM,
    "diloco": STANDARD,
    "sparseloco": SPARSELOCO,
    "muloco": MULOCO,
    "data-parallel": DATA_PARALLEL,
}

OUTER_ENCODINGS: Final = {"sparseloco": SPARSE, "muloco": TERNARY}  # of others INT8

DENSE: Final = EncodingSpec(INT8)
FEEDBACK_PPM: Final = 950_000  # of sparse updates, whose errors grow old
TERNARY_FEEDBACK_PPM: Final = 1_000_000
# The larger the model, the fewer of its numbers matter in a round.
KEPT_BY_SIZE: Final = ((10_000_000, 256), (100_000_000, 128), (1 << 63, 64))

DEMO_MODEL: Final = ModelSpec(layers=2, heads=4, width=128, context=64)
DEMO_INNER: Final = InnerSpec(
    learning_rate_ppm=3_000, weight_decay_ppm=100_000, warmup_steps=20, batch=8, steps=20
)
DEMO_ROUNDS: Final = 10
DEMO_SEATS: Final = 3
DEMO_WINDOWS: Final = 4
DEMO_SHARDS: Final = 24
DEMO_CORPUS_BYTES: Final = 3_000_000
DEMO_HOLDOUT_PPM: Final = 50_000


def outer_preset(rounds: int) -> OuterSpec:
    """The outer step for a job of that many rounds."""
    if rounds < SHORT_FROM_ROUNDS:
        return QUICK
    return SHORT if rounds < STANDARD_FROM_ROUNDS else STANDARD


def sparse_preset(parameters: int) -> EncodingSpec:
    """The sparse encoding for a model of that size."""
    kept = next(kept for below, kept in KEPT_BY_SIZE if parameters < below)
    return EncodingSpec(SPARSE, kept, FEEDBACK_PPM)

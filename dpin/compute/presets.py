"""Settings that were measured (`benchmarks/training.py`), not guessed."""

from typing import Final

from dpin.compute.task import InnerSpec, ModelSpec, OuterSpec

# Under 30 rounds outer momentum has no time to pay for itself.
QUICK: Final = OuterSpec(learning_rate_ppm=1_000_000, momentum_ppm=0, nesterov=False)
SHORT: Final = OuterSpec(learning_rate_ppm=700_000, momentum_ppm=600_000, nesterov=True)
SHORT_FROM_ROUNDS: Final = 30

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
    return QUICK if rounds < SHORT_FROM_ROUNDS else SHORT

"""Rounds of a small model in one process, some of whose makers lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from dpin.base.ids import NO_BLOB, NO_DIGEST, Digest, JobId
from dpin.compute.checkpoint import Moments, Start
from dpin.compute.course import course_of
from dpin.compute.examples import Examples, examples_of
from dpin.compute.safety import RobustSpec
from dpin.compute.state import GlobalState, initial_state
from dpin.compute.task import INT8, EncodingSpec, InnerSpec, ModelSpec, OuterSpec, TrainManifest
from dpin.compute.train import Trainer, held_out, seat_examples
from dpin.compute.unit import Seat, UnitOrder, Watch, run_unit, trusted_movement
from dpin.compute.updates import Update, written

SEATS: Final = 4
ROUNDS: Final = 4
SMALL: Final = ModelSpec(layers=1, heads=2, width=32, context=32)
INNER: Final = InnerSpec(
    learning_rate_ppm=5_000, weight_decay_ppm=0, warmup_steps=4, batch=8, steps=12
)
JOB: Final = JobId(b"a" * 32)
INT8_SPEC: Final = EncodingSpec(INT8)
WORDS: Final = ("round", "of", "many", "nodes", "merge", "their", "updates", "and", "some", "lie")

Attack = Callable[[Sequence[Tensor], int], Tensor]  # (honest movements, round) -> a lie


def corpus(count: int = 60_000) -> bytes:
    """Text that a small model learns something of."""
    generator = torch.Generator().manual_seed(5)
    picks = torch.randint(len(WORDS), (count // 4,), generator=generator).tolist()
    return " ".join(WORDS[pick] for pick in picks).encode()[:count]


def manifest(
    seats: int = SEATS, rounds: int = ROUNDS, robust: RobustSpec | None = None
) -> TrainManifest:
    """A job of this size."""
    return TrainManifest(
        model=SMALL,
        inner=INNER,
        outer=OuterSpec(1_000_000, 0, nesterov=False),
        seats=seats,
        rounds=rounds,
        windows=4,
        shards=(NO_BLOB,) * seats,
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=NO_DIGEST,
        fingerprint=NO_DIGEST,
        robust=robust or RobustSpec(),
    )


@dataclass
class Arena:
    """A job whose rounds run here, one seat after the other."""

    job: TrainManifest
    state: GlobalState = field(init=False)
    holdout: Examples = field(init=False)

    def __post_init__(self) -> None:
        text = corpus()
        size = len(text) // (self.job.seats + 1)
        cut = [text[at * size : (at + 1) * size] for at in range(self.job.seats + 1)]
        self.shards, self.holdout = cut[:-1], examples_of(self.job.model, cut[-1:])
        self.state = initial_state(SMALL, b"arena")
        self.trainer = Trainer(self.job.model, course_of(self.job), "cpu")
        self._moments: dict[int, Moments] = {}

    def trained(self, seat: int) -> Update:
        """One honest unit from the held state."""
        text = seat_examples(self.job, self.shards, seat)
        place = Seat(JOB, self.job, Digest(bytes([seat]) * 32), self.state.round, text)
        start = Start(self.state, self._moments.get(seat))
        outcome = run_unit(self.trainer, UnitOrder(place, start), Watch(lambda: 0, _quiet, _still))
        kept = outcome.moments  # The trainer's own, as they are until it trains again.
        self._moments[seat] = Moments(kept.first.clone(), kept.second.clone(), kept.steps)
        return outcome.written.update

    def updates(self, liars: int, attack: Attack | None) -> list[Update]:
        """A round's updates; the last `liars` seats lie."""
        honest = [self.trained(seat) for seat in range(self.job.seats - (liars if attack else 0))]
        if attack is None:
            return honest
        seen = [update.dense() for update in honest]
        return [
            *honest,
            *(written(INT8_SPEC, attack(seen, int(self.state.round))) for _ in range(liars)),
        ]

    def trusted(self) -> Tensor:
        """What a requester's own data says about the round."""
        text = examples_of(self.job.model, [self.shards[-1]])
        seat = Seat(JOB, self.job, NO_DIGEST, self.state.round, text)
        return trusted_movement(self.trainer, seat, self.state, self.job.robust.trusted_steps)

    def loss(self) -> float:
        """Held-out loss of the held state, in nats a byte."""
        self.trainer.load(Start(self.state, None))
        return self.trainer.mean_loss(held_out(self.holdout))


def _quiet(done: int, loss: float) -> None:
    pass


def _still(window: int, state: object) -> None:
    pass


def sign_flip(honest: Sequence[Tensor], _: int) -> Tensor:
    """Ten times the way back."""
    return torch.stack(list(honest)).sum(0) // len(honest) * -10


def a_little_is_enough(honest: Sequence[Tensor], _: int) -> Tensor:
    """ALIE (Baruch et al. 2019): the mean less 1.5 deviations, inside the crowd everywhere."""
    crowd = torch.stack(list(honest)).double()
    return (crowd.mean(0) - 1.5 * crowd.std(0)).round().to(torch.int64)


def copied(honest: Sequence[Tensor], _: int) -> Tensor:
    """The first honest update again."""
    return honest[0].clone()


def garbage(honest: Sequence[Tensor], round_: int) -> Tensor:
    """Noise of an honest length."""
    generator = torch.Generator().manual_seed(round_)
    noise = torch.randn(len(honest[0]), generator=generator, dtype=torch.float64)
    length = float(honest[0].double().norm()) / float(noise.norm())
    return noise.mul(length).round().to(torch.int64)


ATTACKS: Final[dict[str, Attack]] = {
    "sign flip": sign_flip,
    "alie": a_little_is_enough,
    "copies": copied,
    "garbage": garbage,
}

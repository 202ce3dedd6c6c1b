"""A federated job tried out on one machine: texts of many clients, and the rounds they would make.

For trying out how many clients, steps and rounds a job wants, before anybody is paid for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.crypto import digest
from dpin.base.ids import NO_BLOB, NO_DIGEST, Digest, JobId
from dpin.compute.corpus import check_clients
from dpin.compute.examples import examples_of
from dpin.compute.limits import check_train
from dpin.compute.population import Client, Population
from dpin.compute.presets import DEMO_INNER, DEMO_MODEL, outer_preset
from dpin.compute.probe import settle
from dpin.compute.state import initial_state
from dpin.compute.task import WINDOWS_MIN, InnerSpec, ModelSpec, TrainManifest
from dpin.compute.ticker import micronats
from dpin.compute.train import held_out

TAG: Final = "dpin/rehearsal/v1"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What one round came to; losses in micro-nats per byte."""

    number: int
    trained: int  # clients whose update was taken
    loss: int
    holdout: int
    state_hash: Digest


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried out."""

    rounds: int
    steps: int
    batch: int
    fresh: bool = False  # clients forget their optimizer after each round
    model: ModelSpec = DEMO_MODEL


def rehearse(texts: Sequence[bytes], plan: Plan) -> Iterator[Rehearsed]:
    """Round after round; the end of each client's text is held out. Raises Misuse."""
    settle()
    kept = check_clients(texts, plan.model.context)
    last = b"".join(text[size:] for text, size in zip(texts, kept, strict=True))
    clients = [
        Client(digest(TAG, at.to_bytes(8)), examples_of(plan.model, [text[:size]]))
        for at, (text, size) in enumerate(zip(texts, kept, strict=True))
    ]
    job = JobId(digest(TAG, b"".join(texts)))
    state = initial_state(plan.model, job)
    manifest = _manifest(len(clients), plan)
    check_train(manifest)
    many = Population(job, manifest, state, clients, fresh=plan.fresh)
    batches = held_out(examples_of(plan.model, [last]))
    for number in range(plan.rounds):
        found = many.round()
        yield Rehearsed(
            number,
            len(clients) - found.diverged - len(found.refused),
            micronats(found.loss),
            micronats(many.mean_loss(batches)),
            found.state_hash,
        )


def _manifest(clients: int, plan: Plan) -> TrainManifest:
    """The job as it would be proposed, but for what only others need of it."""
    inner = InnerSpec(
        learning_rate_ppm=DEMO_INNER.learning_rate_ppm,
        weight_decay_ppm=DEMO_INNER.weight_decay_ppm,
        warmup_steps=min(DEMO_INNER.warmup_steps, plan.steps),
        batch=plan.batch,
        steps=plan.steps,
    )
    return TrainManifest(
        model=plan.model,
        inner=inner,
        outer=outer_preset(plan.rounds),
        seats=clients,
        rounds=plan.rounds,
        windows=min(WINDOWS_MIN, plan.steps),
        shards=(NO_BLOB,) * clients,
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=NO_DIGEST,
        fingerprint=NO_DIGEST,
    )

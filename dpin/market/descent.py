"""The lineage of a model that a job of ours has made, from what the ledger says of its rounds."""

from dataclasses import dataclass

from dpin.base.crypto import SigningKey
from dpin.base.ids import NO_DIGEST, ChainId, Digest
from dpin.compute.lineage import Origin, Taken, lineage_text, linked, signed
from dpin.compute.task import TrainManifest
from dpin.ledger.accounts import Job, RoundRecord
from dpin.market.merging import Merging


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs what the own jobs make, and with which code it was made."""

    key: SigningKey
    chain: ChainId
    code: Digest = NO_DIGEST


def lineage_of(signer: Signer, job: Job, manifest: TrainManifest, merging: Merging) -> str:
    """`lineage.json` of a finished job. Raises nothing: a round nobody merged keeps its state."""
    origin = Origin(
        job=job.id,
        requester=job.requester,
        manifest=job.propose.manifest,
        code=signer.code,
        fingerprint=job.propose.fingerprint,
        shards=manifest.shards,
        robust=manifest.robust,
        privacy=manifest.privacy,
    )
    states = [merging.states.get(record.round) or _named(job, record) for record in job.rounds]
    rounds = [(state, _taken(record)) for state, record in zip(states, job.rounds, strict=True)]
    entries = linked(origin, job.propose.state_hash, rounds)
    return lineage_text(signed(signer.key, signer.chain, origin, entries, merging.model_root))


def _named(job: Job, record: RoundRecord) -> Digest:
    """The state after a round that was not merged here, as the next one began with it."""
    later = job.rounds[record.round + 1 : record.round + 2]
    return next((one.state_hash for one in later if one.state_hash is not None), NO_DIGEST)


def _taken(record: RoundRecord) -> tuple[Taken, ...]:
    return tuple(
        Taken(one.provider, one.lease, one.update, one.steps)
        for one in sorted(record.included, key=lambda one: (one.lease, one.age))
    )

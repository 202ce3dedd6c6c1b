"""What the ledger says of a job's rounds, for whoever compares a model's lineage with it."""

from dpin.base.errors import NotFound
from dpin.base.ids import NO_DIGEST, Digest, JobId
from dpin.ledger.accounts import Included, Job, RoundRecord, State
from dpin.ledger.views import ended_in
from dpin.market.merging import by_commit
from dpin.node.descentviews import DescentRound, DescentView, SaidView, TakenView

HEX_DIGITS = 64


def descent_of(state: State, job: str) -> DescentView:
    """By the job's whole id on the ledger; raises NotFound."""
    digits = job if len(job) == HEX_DIGITS and set(job) <= set("0123456789abcdef") else ""
    found = state.jobs.get(JobId(bytes.fromhex(digits)))
    if found is None:
        raise NotFound(
            f"the ledger knows no job {job[:HEX_DIGITS]!r}", fix="ask a node of the job's network"
        )
    propose, agreed = found.propose, ended_in(found)
    return DescentView(
        job=job,
        requester=found.requester.hex(),
        manifest=propose.manifest.hex(),
        fingerprint=propose.fingerprint.hex(),
        state_hash=propose.state_hash.hex(),
        rounds=[_round(record, state) for record in found.rounds],
        said=[_said(found, lease, state) for lease in sorted(found.said)],
        ended_in=None if agreed is None else agreed.hex(),
        said_open=NO_DIGEST in found.said.values() and state.tick < found.deadline,
    )


def _said(job: Job, lease: Digest, state: State) -> SaidView:
    word = job.said[lease]
    return SaidView(
        provider=state.leases[lease].provider.hex(),
        lease=lease.hex(),
        state_hash=None if word == NO_DIGEST else word.hex(),
    )


def _round(record: RoundRecord, state: State) -> DescentRound:
    places = {_key(one): place for place, one in enumerate(by_commit(record, state))}
    taken = [
        TakenView(
            provider=one.provider.hex(),
            lease=one.lease.hex(),
            update=one.update.hex(),
            steps=one.steps,
            seat=state.leases[one.lease].seat,
            age=one.age,
            committed=places[_key(one)],
        )
        for one in sorted(record.included, key=_key)
    ]
    return DescentRound(
        round=record.round,
        state_hash=record.state_hash.hex() if record.state_hash else None,
        taken=taken,
        closed=record.closed,
        beacon="" if record.beacon == NO_DIGEST else record.beacon.hex(),
    )


def _key(included: Included) -> tuple[Digest, int]:
    return included.lease, included.age

"""What the ledger says of a job's rounds, for whoever compares a model's lineage with it."""

from dpin.base.errors import NotFound
from dpin.base.ids import JobId
from dpin.ledger.accounts import RoundRecord, State
from dpin.node.status import View

HEX_DIGITS = 64


class TakenView(View):
    """One update that a round has taken."""

    provider: str
    lease: str
    update: str
    steps: int


class DescentRound(View):
    """One round: the state that most of its providers committed to, and what it took."""

    round: int
    state_hash: str | None
    taken: list[TakenView]


class DescentView(View):
    """One job of anybody, as it stands on the ledger."""

    job: str
    requester: str
    manifest: str
    fingerprint: str
    state_hash: str  # that it began with
    rounds: list[DescentRound]


def descent_of(state: State, job: str) -> DescentView:
    """By the job's whole id on the ledger; raises NotFound."""
    digits = job if len(job) == HEX_DIGITS and set(job) <= set("0123456789abcdef") else ""
    found = state.jobs.get(JobId(bytes.fromhex(digits)))
    if found is None:
        raise NotFound(
            f"the ledger knows no job {job[:HEX_DIGITS]!r}", fix="ask a node of the job's network"
        )
    propose = found.propose
    return DescentView(
        job=job,
        requester=found.requester.hex(),
        manifest=propose.manifest.hex(),
        fingerprint=propose.fingerprint.hex(),
        state_hash=propose.state_hash.hex(),
        rounds=[_round(record) for record in found.rounds],
    )


def _round(record: RoundRecord) -> DescentRound:
    taken = [
        TakenView(
            provider=one.provider.hex(),
            lease=one.lease.hex(),
            update=one.update.hex(),
            steps=one.steps,
        )
        for one in sorted(record.included, key=lambda one: one.lease)
    ]
    state_hash = record.state_hash.hex() if record.state_hash else None
    return DescentRound(round=record.round, state_hash=state_hash, taken=taken)

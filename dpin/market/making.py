"""The record of a model's making, which lies beside it."""

import msgspec

from dpin.ledger.accounts import Job, State
from dpin.market.ownjob import OwnJob
from dpin.market.story import verdicts
from dpin.market.takings import privacy_of


def provenance(own: OwnJob, job: Job, state: State) -> str:
    """Where the model comes from, for whoever finds it later."""
    record = {
        "schema": "dpin.v1/provenance",
        "job": job.id.hex(),
        "name": own.order.name,
        "requester": job.requester.hex(),
        "manifest": job.propose.manifest.hex(),
        "initial_state": job.propose.state_hash.hex(),
        "final_state": own.merging.state_hash.hex()
        if own.merging and own.merging.state_hash
        else "",
        "fingerprint": job.propose.fingerprint.hex(),
        "rounds": [
            {
                "round": record.round,
                "state_hash": record.state_hash.hex() if record.state_hash else None,
                "updates": [
                    {
                        "provider": included.provider.hex(),
                        "update": included.update.hex(),
                        "steps": included.steps,
                        "age": included.age,
                    }
                    for included in record.included
                ],
            }
            for record in job.rounds
        ],
        "verdicts": verdicts(job, state),
        "privacy": privacy_of(own),
    }
    return msgspec.json.format(msgspec.json.encode(record)).decode()

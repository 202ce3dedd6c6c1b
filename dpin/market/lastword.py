"""What a lease still has to do when it is over: its last unit, and a word on its job's last state.

Nobody is paid for that word and nothing waits for it. Whoever cannot merge says nothing: a job that
is over takes a seat of its provider's no longer than its own machine needs.
"""

from collections.abc import Iterator
from typing import Final

from dpin.base.ids import NO_DIGEST, Digest
from dpin.base.units import Instant, after, seconds
from dpin.ledger.accounts import Job, State
from dpin.ledger.transactions import LastState
from dpin.ledger.wishes import Wish
from dpin.market.engagement import Engagement, Fault, renew
from dpin.market.merging import Merging

PATIENCE: Final = seconds(60)  # with updates, or shares of masks, that do not come
WORDS_MAX: Final = 64  # not on the ledger yet; of more the oldest goes


def awaited(job: Job, lease: Digest, state: State) -> bool:
    """Whether the ledger would still take this lease's word on what the job has come to."""
    return job.said.get(lease) == NO_DIGEST and state.tick < job.deadline


class LastWords:
    """What own leases have found to say, until the ledger has it or it is too late."""

    def __init__(self) -> None:
        self._words: dict[Digest, LastState] = {}
        self._until: dict[Digest, Instant] = {}  # leases that may still merge wait for updates

    def keeps(self, engagement: Engagement, state: State, now: Instant) -> bool:
        """Whether a lease that has ended has still something to do; harmless to repeat.

        Its last unit may be committed, and is paid then; or it merges the last round of its job.
        """
        lease = state.leases.get(engagement.lease.id)
        if engagement.failed or engagement.files.fault or engagement.fault == Fault.VANISH:
            return False
        if lease is None:
            return False
        job = state.jobs[lease.job]
        renew(engagement, job, lease)
        if engagement.commits.unfinished(job, state):
            return True
        merging = engagement.merging
        done = merging.holding is None or merging.holding == len(job.rounds)
        if done or not awaited(job, lease.id, state):
            return False
        until = self._until.setdefault(lease.id, after(now, PATIENCE))
        told = merging.resting is None and not merging.privacy.masked  # The worker is at it.
        return told or now < until

    def find(self, lease: Digest, merging: Merging) -> None:
        """A lease is over: what it holds is its word, if that is what the last round led to."""
        self._until.pop(lease, None)
        rounds, held = merging.job.rounds, merging.state_hash
        if held is not None and rounds and merging.holding == len(rounds):
            self._words[lease] = LastState(lease, held)
            while len(self._words) > WORDS_MAX:
                del self._words[next(iter(self._words))]

    def follow(self, state: State) -> Iterator[Wish]:
        """What is still to be said; harmless to repeat."""
        for identity, word in list(self._words.items()):
            lease = state.leases.get(identity)
            if lease is None or not awaited(state.jobs[lease.job], identity, state):
                del self._words[identity]
            else:
                yield Wish(f"last-state:{identity.hex()}", word)

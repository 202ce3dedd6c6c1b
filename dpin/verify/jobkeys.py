"""The keys of sealed jobs: who holds one hands it to whoever has a seat, sealed for him alone.

The files of a sealed job are sealed (`base.sealed`) for one reader: a key that its requester makes
for the job. That key goes, sealed in turn for one node, to those who hold a live lease of the job,
so also to who takes over a seat, and to the verifiers seated in one of its units. The ledger says
who these are. Whoever holds the key answers, so a requester that is away stops nobody.
"""

from collections.abc import Iterator
from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import JobId, NodeId
from dpin.base.machine import Send, Wake
from dpin.base.sealed import KEY_BYTES, RANDOM_BYTES, opened_bytes, sealed_bytes
from dpin.base.units import Instant, after, seconds
from dpin.ledger.accounts import State
from dpin.ledger.views import live_leases, live_units

RETRY: Final = seconds(1)
_KEY: Final = "dpin/sealed/job/v1"
_WRAP: Final = "dpin/sealed/wrap/v1"


class AskJobKey(Wire, frozen=True, tag=23):
    """What opens the files of this job? I have a seat in it."""

    job: JobId


class JobKeyMail(Wire, frozen=True, tag=24):
    """The job's key, in a sealed file for the one who asked."""

    job: JobId
    sealed: bytes


def entitled(state: State, job: JobId, node: NodeId) -> bool:
    """Whether a node works on a job, or checks a unit of it, as the ledger says now."""
    works = any(one.id == job and lease.provider == node for one, lease in live_leases(state))
    return works or any(
        one.id == job and any(seat.verifier == node for seat in unit.seats)
        for one, _, unit in live_units(state)
    )


class JobKeys:
    """The keys that one node has, and those that it needs."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._held: dict[JobId, bytes] = {}
        self._wanted: dict[JobId, bytes] = {}  # and for which reader their files are sealed
        self._wrapped: dict[tuple[JobId, NodeId], bytes] = {}
        self._ask_at = Instant(0)

    def made_for(self, local_id: str) -> bytes:
        """The key of an own job: the same after a restart, and known to nobody else."""
        return self._key.derived(_KEY, local_id.encode(), KEY_BYTES)

    def hold(self, job: JobId, seed: bytes) -> None:
        """Remember the key of a job."""
        self._held[job] = seed
        self._wanted.pop(job, None)

    def of(self, job: JobId, reader: bytes) -> bytes | None:
        """What opens the files of a job; None: it is asked for from now on."""
        seed = self._held.get(job)
        if seed is None:
            self._wanted[job] = reader
        return seed

    def follow(self, state: State, now: Instant) -> Iterator[Send | Wake]:
        """Ask for what is wanted, where the ledger says that this node may have it."""
        for kept in (self._held, self._wanted):
            for job in [job for job in kept if job not in state.live_jobs]:
                del kept[job]
        self._wrapped = {key: mail for key, mail in self._wrapped.items() if key[0] in self._held}
        me = self._key.node_id
        wanted = [job for job in sorted(self._wanted) if entitled(state, job, me)]
        if not wanted or now < self._ask_at:
            return
        self._ask_at = after(now, RETRY)
        yield Wake(self._ask_at)
        for job in wanted:
            providers = {state.leases[lease].provider for lease in state.jobs[job].leases}
            for peer in sorted({state.jobs[job].requester, *providers} - {me}):
                yield Send(peer, encode(AskJobKey(job)))

    def asked(self, peer: NodeId, message: AskJobKey, state: State) -> Iterator[Send]:
        """Hand a key to who may have it, and nothing to others."""
        job = message.job
        if job not in self._held or not entitled(state, job, peer):
            return
        if (job, peer) not in self._wrapped:
            randomness = self._key.derived(_WRAP, job + peer, RANDOM_BYTES)
            self._wrapped[job, peer] = sealed_bytes([peer], randomness, self._held[job])
        yield Send(peer, encode(JobKeyMail(job, self._wrapped[job, peer])))

    def told(self, message: JobKeyMail) -> None:
        """Somebody says what a job's key is; raises PeerFault for what is not."""
        reader = self._wanted.get(message.job)
        if reader is None:
            return
        try:
            seed = opened_bytes(self._key.seed, message.sealed)
        except Misuse:
            raise PeerFault("the key of a job, sealed for somebody else") from None
        if len(seed) != KEY_BYTES or SigningKey(seed).node_id != reader:
            raise PeerFault("a key that does not open the job's files")
        self.hold(message.job, seed)

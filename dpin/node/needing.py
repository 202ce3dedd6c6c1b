"""What of a node's blobs its jobs need, gathered from the machines that work on them.

Nothing of it is written down: after a restart the same machines, which follow the same ledger, come
to the same list. Until they have read what their jobs consist of, nothing that was here may go.
"""

from collections.abc import Iterator

from dpin.base.ids import BlobId
from dpin.ledger.accounts import State
from dpin.market.needs import is_under_way, of_lease, of_own
from dpin.market.provider import Provider
from dpin.market.requester import Requester
from dpin.storage.wanted import Need
from dpin.verify.defender import Defender
from dpin.verify.verifier import Verifier


class Needing:
    """Says what must stay whenever that has changed."""

    def __init__(
        self, provider: Provider, requester: Requester, verifier: Verifier, defender: Defender
    ) -> None:
        self._provider = provider
        self._requester = requester
        self._verifier = verifier
        self._defender = defender
        self._said: Need | None = None

    def look(self, state: State) -> Iterator[Need]:
        """To be called after the machines have followed the ledger."""
        room = self._provider.room
        room.other = dict(self._claims(state))
        need = Need(frozenset(self._blobs(state)), self._settled, room.claimed)
        if need != self._said:
            self._said = need
            yield need

    def again(self, state: State) -> Iterator[Need]:
        """To be called whenever else they may need something new."""
        if self._said is not None:
            yield from self.look(state)

    def _blobs(self, state: State) -> Iterator[BlobId]:
        leases = (*self._provider.engagements.values(), *self._provider.lingering.values())
        for engagement in leases:
            yield from of_lease(engagement, state)
        yield from self._provider.legacy.needed
        for own in self._requester.jobs.values():
            yield from of_own(own, state)
        for examination in self._verifier.examinations:
            yield from examination.bench.files.needed
            yield from examination.blobs
        yield from self._defender.shown

    def _claims(self, state: State) -> Iterator[tuple[bytes, int]]:
        """What own jobs take, and jobs that this node checks."""
        for own in self._requester.jobs.values():
            if own.propose is not None and is_under_way(own, state):
                job = own.propose.manifest if own.job is None else own.job.id
                yield job, own.propose.disk_bytes
        yield from self._provider.legacy.claims
        for examination in self._verifier.examinations:
            checked = examination.bench.job
            yield checked.id, checked.propose.disk_bytes

    @property
    def _settled(self) -> bool:
        """Whether all of them know what their jobs consist of."""
        leases = self._provider.engagements.values()
        seats = self._verifier.examinations
        files = [lease.files for lease in leases if not lease.failed]
        files += [seat.bench.files for seat in seats]
        return all(one.manifest is not None or one.fault for one in files)

"""Who masks with whom: the members of a group, and a random regular graph over them.

Everything here follows from the roster that the ledger has fixed, so nobody has to be believed
about it: there is no coordinator (Bell et al. 2020, with the ledger in the server's place).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import ChainId, Digest, JobId, NodeId, Round

GRAPH_TAG: Final = "dpin/secagg/graph/v1"
DEGREE: Final = 20  # neighbours of each; of 21 members or fewer all are neighbours
MEMBERS_MIN: Final = 3  # the sum of two tells each the other's update


@dataclass(frozen=True)
class Circle:
    """The members of one group in one round."""

    chain: ChainId
    job: JobId
    round: Round
    members: tuple[tuple[Digest, NodeId], ...]  # (lease, provider), sorted

    @cached_property
    def place(self) -> Digest:
        """What tells this circle from every other."""
        listed = [list(member) for member in self.members]
        return digest(GRAPH_TAG, encode([self.chain, self.job, self.round, listed]))

    @cached_property
    def nodes(self) -> dict[Digest, NodeId]:
        """Who holds a lease."""
        return dict(self.members)

    @cached_property
    def _graph(self) -> dict[Digest, tuple[Digest, ...]]:
        """Sorted neighbours of each: a ring in drawn order, joined DEGREE / 2 to each side."""
        ring = Chance(self.place).chosen(sorted(self.nodes), len(self.nodes))
        count, reach = len(ring), min(DEGREE, len(ring) - 1)
        if count - 1 <= DEGREE:
            return {one: tuple(sorted(set(ring) - {one})) for one in ring}
        steps = [*range(1, reach // 2 + 1)]
        offsets = [sign * step for step in steps for sign in (1, -1)]
        return {
            one: tuple(sorted(ring[(at + offset) % count] for offset in offsets))
            for at, one in enumerate(ring)
        }

    def neighbours(self, lease: Digest) -> tuple[Digest, ...]:
        """Whom a member masks with."""
        return self._graph[lease]

    def holders(self, lease: Digest) -> tuple[Digest, ...]:
        """Who has a share of a member's secrets, itself too; a share's place is 1 + the index."""
        return tuple(sorted((*self._graph[lease], lease)))

    def threshold(self, lease: Digest) -> int:
        """How many shares restore a secret of this member: more than half of them."""
        return len(self.holders(lease)) // 2 + 1


def circles(
    chain: ChainId, job: JobId, round_: Round, roster: dict[Digest, NodeId], size: int
) -> list[Circle]:
    """Cut a roster into groups of about `size` (0: one group), none of fewer than three.

    The draw is fixed by the roster. Robust rules then run over the groups' sums.
    """
    seed = digest(GRAPH_TAG, encode([chain, job, round_, sorted(roster)]))
    order = Chance(seed).chosen(sorted(roster), len(roster))
    groups = max(1, len(order) // max(size, MEMBERS_MIN)) if size else 1
    return [
        Circle(chain, job, round_, tuple(sorted((one, roster[one]) for one in order[at::groups])))
        for at in range(groups)
    ]

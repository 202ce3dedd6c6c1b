"""After every start, before the first signature: does anybody know a newer block of ours (H10)?

A log that was lost or restored from a back-up would let a validator sign a round twice. So it asks
the others for the newest block of its own, and waits until those that answered make, with its own
weight, a quorum. Whoever finds a block newer than its log never signs again in this epoch.
"""

from typing import Final

from dpin.base.errors import PeerFault
from dpin.base.ids import Round
from dpin.base.units import NEVER, Instant, Micros, after, seconds
from dpin.ledger.blocks import Rules, Vertex, check_signature, header_digest
from dpin.ledger.messages import Newest

ASK_AGAIN: Final[Micros] = seconds(1)


class Restart:
    """Whether a member of the committee may sign."""

    def __init__(self, rules: Rules, author: int) -> None:
        self.silenced: str | None = None  # why this node does not sign in this epoch
        self._ask_at = Instant(0)
        self._rules = rules
        self._author = author
        self._answered = {author}

    @property
    def waiting(self) -> bool:
        """Whether too few have answered."""
        committee = self._rules.committee
        return committee.weigh(self._answered) < committee.quorum

    @property
    def may_sign(self) -> bool:
        """Whether enough have answered and nobody knew anything newer."""
        return self.silenced is None and not self.waiting

    @property
    def next_at(self) -> Instant:
        """When to ask again."""
        return self._ask_at if self.waiting else NEVER

    def due(self, now: Instant) -> bool:
        """Whether to ask again now."""
        if not self.waiting or now < self._ask_at <= after(now, ASK_AGAIN):
            return False
        self._ask_at = after(now, ASK_AGAIN)
        return True

    def answer(self, author: int | None, newest: Newest, last: Vertex) -> None:
        """Weigh an answer, None: an observer's; raises PeerFault for a header we never signed."""
        header = newest.header
        if header is not None:
            name = header_digest(header)
            if header.author != self._author:
                raise PeerFault("answered with a block of somebody else")
            check_signature(header, name, newest.signature, self._rules)
            if header.round >= last.round and name != last.digest:
                self.silence(header.round)
        if author is not None:
            self._answered.add(author)

    def silence(self, round_: Round) -> None:
        """A block of ours turned up that the log does not have."""
        self.silenced = (
            f"the network has a block of round {round_} signed by this node that its log lacks: "
            "it signs no more in this epoch"
        )

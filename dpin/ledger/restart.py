"""After every start, before the first signature: does anybody know a newer block of ours (H10)?

A log that was lost or restored from a back-up would let a validator sign a round twice. So it asks
the others for the newest block of its own, and waits until those that answered from its own epoch
make, with its own weight, a quorum. Whoever finds a block newer than its log signs no more in the
epoch of that block, and asks again before it signs in a later one.
"""

from typing import Final

from dpin.base.crypto import verify
from dpin.base.errors import PeerFault
from dpin.base.units import NEVER, Instant, Micros, after, seconds
from dpin.ledger.blocks import BLOCK_TAG, Header, Rules, Vertex, check_signature, header_digest
from dpin.ledger.messages import Newest

ASK_AGAIN: Final[Micros] = seconds(1)


class Restart:
    """Whether this node may sign in the epoch that it has entered; one for the life of a node."""

    def __init__(self) -> None:
        self._rules: Rules | None = None
        self._author: int | None = None  # in the present epoch
        self._answered: set[int] = set()
        self._cleared = False  # by a quorum, since the start
        self.silent_until = 0  # in epochs before this one it signs nothing
        self._reason = ""
        self._ask_at = Instant(0)

    def enter(self, rules: Rules, author: int | None) -> None:
        """An epoch begins, in which this node is that author, if it is a member."""
        self._rules, self._author = rules, author
        self._answered = set() if author is None else {author}
        self._ask_at = Instant(0)
        self._clear()

    def _clear(self) -> None:
        """Enough have answered, once and for all, unless something newer turns up."""
        if self._author is not None and self.silenced is None and not self.waiting:
            self._cleared = True

    @property
    def silenced(self) -> str | None:
        """Why this member does not sign in this epoch, if so."""
        if self._rules is None or self._author is None:
            return None
        return self._reason if self._rules.committee.epoch < self.silent_until else None

    @property
    def waiting(self) -> bool:
        """Whether too few have answered."""
        if self._rules is None or self._author is None or self._cleared:
            return False
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
        if self._rules is None or self._author is None:
            return
        epoch = self._rules.committee.epoch
        header = newest.header
        if header is not None and header.epoch == epoch:
            name = header_digest(header)
            if header.author != self._author:
                raise PeerFault("answered with a block of somebody else")
            check_signature(header, name, newest.signature, self._rules)
            if header.round >= last.round and name != last.digest:
                self.silence(header)
        elif header is not None and header.epoch > epoch:
            signer, name = self._rules.committee.signer(self._author), header_digest(header)
            if verify(signer, BLOCK_TAG, self._rules.chain, name, newest.signature):
                self.silence(header)
        if author is not None and newest.epoch == epoch:
            self._answered.add(author)
            self._clear()

    def silence(self, header: Header) -> None:
        """A block of ours turned up that the log does not have; the first of an epoch is named.

        There may be many more: whoever has our key may go on signing.
        """
        self._cleared = False
        if header.epoch >= self.silent_until:
            self.silent_until = header.epoch + 1
            self._reason = (
                f"the network has a block of round {header.round} signed by this node that its "
                "log lacks: it signs no more in this epoch"
            )

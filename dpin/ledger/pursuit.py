"""All that one epoch's blocks are followed by: what is missing, who is ahead, when to ask whom."""

from collections.abc import Sequence

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Send
from dpin.base.units import Instant
from dpin.ledger.blocks import Reference, Vertex
from dpin.ledger.core import Core
from dpin.ledger.dag import Offered, encoded
from dpin.ledger.fetch import Fetch
from dpin.ledger.links import Links
from dpin.ledger.messages import BlockMessage
from dpin.ledger.push import Push
from dpin.ledger.sync import Ahead, Ranges, Triggers


class Pursuit:
    """Keeps up with the others in the epoch of `core`."""

    def __init__(self, core: Core) -> None:
        self.ahead = Ahead(core.rules.committee)
        self.ranges = Ranges(core.epoch, core.dag)
        self.triggers = Triggers(core.dag, self.ranges)
        self._push = Push(core.dag, core.rules.committee)
        self._dag = core.dag
        self._fetch = Fetch()

    @property
    def behind(self) -> bool:
        """Whether members of whom one is correct are well beyond this node."""
        return self.ahead.behind(self._dag.highest)

    def spread(self, vertex: Vertex, links: Links, *, own: bool) -> list[Send]:
        """Tell an accepted block to who is to hear of it; an own one after what it links to."""
        audience = links.audience(own=own)
        message = encode(BlockMessage(encoded(vertex))) if audience else b""
        sends: list[Send] = []
        for peer in audience:
            ahead = self._push.ahead_of(vertex, peer) if own else ()
            sends += [Send(peer, encode(BlockMessage(block))) for block in ahead]
            sends.append(Send(peer, message))
        return sends

    def asked(self, peer: NodeId, links: Sequence[Reference]) -> None:
        """A peer lacks these blocks."""
        self._push.asked(peer, links)

    def took(self, vertex: Vertex, offered: Offered, peer: NodeId, now: Instant) -> list[Send]:
        """A peer sent a valid block."""
        self.ahead.saw(vertex.author, vertex.round)
        if offered.accepted:
            self.triggers.accepted(now)
        return self._fetch.want(offered.missing, peer, now)

    def step(self, sources: Sequence[NodeId], now: Instant, *, behind: bool) -> list[Send]:
        """Ask for what is missing or overdue; the ranges come last, after `quiet` was looked at."""
        asked = self._fetch.step(self._dag, sources, now)
        self.triggers.suspended(sources, now)
        if behind:
            self.triggers.behind(sources, now)
        return asked

    def next_at(self, *, behind: bool) -> Instant:
        """When to look again."""
        due = self.triggers.next_at(behind=behind)
        return min(due, self._fetch.next_at, self.ranges.next_at)

"""Who is connected, whom we follow, who follows us."""

from collections.abc import Sequence
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Send
from dpin.ledger.committee import Committee
from dpin.ledger.messages import Subscribe
from dpin.ledger.serve import Followers

FOLLOWED_MAX: Final = 2  # members that an observer asks to be told every block by


class Links:
    """The peers of a replica. `me` may be a member or an observer."""

    def __init__(self, committee: Committee, me: NodeId) -> None:
        self.followers = Followers()
        self._committee = committee
        self._me = me
        self._up: dict[NodeId, None] = {}
        self._followed: dict[NodeId, None] = {}  # asked, and not refused
        self._refused: set[NodeId] = set()
        self._changed()

    def _changed(self) -> None:
        """Others are connected, or others are members: asked at every step, so listed once."""
        self.members: Sequence[NodeId] = [
            node for node in self._committee.members if node in self._up
        ]  # other members that are connected, in the order of the committee
        self.all: Sequence[NodeId] = list(self._up)  # every connected peer
        self.sources: Sequence[NodeId] = self.members or sorted(self._up)  # whom to ask for blocks

    def enter(self, committee: Committee) -> None:
        """An epoch begins: others may be members."""
        self._committee = committee
        self._followed = {peer: None for peer in self._followed if peer in committee.members}
        self._refused.clear()
        self._changed()

    def audience(self, *, own: bool) -> Sequence[NodeId]:
        """Who is sent a block: followers, and the members too if it is our own."""
        return [*self.members, *self.followers.list()] if own else self.followers.list()

    def up(self, peer: NodeId) -> None:
        """A peer is connected."""
        if peer != self._me:
            self._up[peer] = None
            self._changed()

    def down(self, peer: NodeId) -> None:
        """A peer is gone, and with it what was agreed."""
        self._up.pop(peer, None)
        self._changed()
        self._followed.pop(peer, None)
        self._refused.discard(peer)
        self.followers.remove(peer)

    def refused(self, peer: NodeId) -> None:
        """A member has too many followers."""
        if peer in self._followed:
            del self._followed[peer]
            self._refused.add(peer)

    def follow(self) -> list[Send]:
        """Subscribe with members until enough tell us their blocks; members themselves need not."""
        if self._committee.index(self._me) is not None:
            return []
        tried = {*self._followed, *self._refused}
        free = [node for node in self.members if node not in tried]
        chosen = free[: FOLLOWED_MAX - len(self._followed)]
        for peer in chosen:
            self._followed[peer] = None
        return [Send(peer, encode(Subscribe())) for peer in chosen]

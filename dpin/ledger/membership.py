"""A node among the validators: whether it is one in the present epoch, and may act as one."""

from dpin.base.ids import NodeId
from dpin.ledger.beacon import OwnChain
from dpin.ledger.blocks import Vertex
from dpin.ledger.checkpoint import CommitteeRecord, Member
from dpin.ledger.core import Core
from dpin.ledger.identity import Identity
from dpin.ledger.proposer import Author
from dpin.ledger.restart import Restart
from dpin.ledger.role import Role

KEYLESS = "this node has a seat in the committee, but not the consensus key that it registered"


class Membership:
    """What this node is in the present epoch."""

    def __init__(self, identity: Identity) -> None:
        self.role: Role | None = None  # None: it signs nothing in this epoch
        self.restart = Restart()
        self._identity = identity
        self._chain: OwnChain | None = None
        self._lack: str | None = None
        self._signer: NodeId | None = None  # the consensus key of the present epoch

    def enter(self, core: Core) -> None:
        """An epoch begins."""
        author = self._author(core.opening.committee)
        self.role = None if author is None else Role(core, author)
        self.restart.enter(core.rules, None if author is None else author.index)

    def _author(self, record: CommitteeRecord) -> Author | None:
        node, self._lack = self._identity.key.node_id, None
        for index, member in enumerate(record.members):
            if member.node == node:
                key = self._identity.holder(member.signer)
                if key is not None:
                    self._signer = key.node_id
                    self._chain = self._reveals(member)
                    return Author(index, key, self._chain)
                self._lack = KEYLESS
        return None

    def _reveals(self, member: Member) -> OwnChain | None:
        """The own chain where it meets the anchor that the committee names."""
        own = self._chain
        if own is not None and own.at(member.anchor_round) == member.anchor:
            return own
        return self._identity.chains.meeting(member.anchor_round, member.anchor)

    @property
    def reveals(self) -> OwnChain | None:
        """What a member reveals from; None: its chain is not here, and blocks carry zeros."""
        return self._chain if self.role is not None else None

    @property
    def used_up(self) -> NodeId | None:
        """The key that this node signs with no more: others know blocks that its log lacks."""
        silenced = self.role is not None and self.restart.silenced is not None
        return self._signer if silenced else None

    @property
    def silenced(self) -> str | None:
        """Why this node has a seat and does not sign."""
        return self._lack or self.restart.silenced

    @property
    def may_sign(self) -> bool:
        """Whether it makes blocks at present."""
        return self.role is not None and self.restart.may_sign

    @property
    def last(self) -> Vertex | None:
        """The newest own block of the epoch, if any was made."""
        return self.role.last if self.role is not None else None

    def restore(self, vertex: Vertex, *, own: bool) -> None:
        """A block from the log, written down as our own or as one that others sent."""
        if self.role is not None and vertex.author == self.role.index:
            self.role.restore(vertex)
            if not own:  # Others brought it back: this log is not the whole.
                self.restart.silence(vertex.block.header)

    def made(self, vertex: Vertex) -> bool:
        """Whether a block is this node's, and none that it lacked has turned up."""
        mine = self.role is not None and vertex.author == self.role.index
        return mine and self.silenced is None

    def saw(self, vertex: Vertex) -> None:
        """Somebody sent a valid block that is not known here."""
        if self.role is not None and vertex.author == self.role.index:
            self.restart.silence(vertex.block.header)

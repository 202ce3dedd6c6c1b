"""What a replica answers when peers ask: blocks, their own newest one, how an epoch ended."""

from collections.abc import Sequence

from dpin.base.codec import Wire, encode
from dpin.base.ids import NodeId
from dpin.base.machine import Send
from dpin.base.units import Instant
from dpin.ledger.blocks import Vertex
from dpin.ledger.chase import Chase
from dpin.ledger.checkpoint import CommitteeRecord
from dpin.ledger.early import Early
from dpin.ledger.engine import Engine
from dpin.ledger.forks import certified
from dpin.ledger.links import Links
from dpin.ledger.messages import (
    AskBlocks,
    AskCertificate,
    AskHandover,
    AskNewest,
    AskRange,
    Blocks,
    CertificateMessage,
    Handed,
    Newest,
    Subscribe,
    Subscribed,
)
from dpin.ledger.serve import Allowance, answer_blocks, answer_newest, answer_range, blocks_of
from dpin.ledger.statemessages import AskBucket, AskState, NoState

Question = (
    AskBlocks
    | AskRange
    | AskNewest
    | AskHandover
    | AskCertificate
    | Subscribe
    | AskState
    | AskBucket
)


class Answers:
    """Answers from what the engine knows; `chase` is told of peers that ask for later epochs."""

    def __init__(self, engine: Engine, links: Links, early: Early, chase: Chase) -> None:
        self._engine = engine
        self._links = links
        self._early = early
        self._chase = chase
        self._allowance = Allowance()

    def reply(self, peer: NodeId, question: Question, now: Instant) -> list[Send]:
        """Answer a question, unless the peer has asked too many."""
        if not self._allowance.spend(peer, now):
            return []  # It asks again.
        return [Send(peer, encode(answer)) for answer in self._answers(peer, question)]

    def _answers(self, peer: NodeId, question: Question) -> Sequence[Wire]:
        match question:
            case AskBlocks():
                epoch = self._engine.core.epoch
                cores = [self._engine.annals.cores.get(one) for one in (epoch, epoch - 1)]
                return [answer_blocks([it.dag for it in cores if it is not None], question)]
            case AskRange():
                return self._range(peer, question)
            case AskNewest():
                return [self._newest(peer)]
            case AskHandover(epoch):
                return self.handed(epoch)
            case AskCertificate() | AskState() | AskBucket():
                return self._checkpoint(question)
            case Subscribe():
                member = self._engine.member.role is not None
                return [Subscribed(member and self._links.followers.add(peer))]

    def _checkpoint(self, question: AskCertificate | AskState | AskBucket) -> Sequence[Wire]:
        """Who signed a checkpoint, or a part of the state that it is of."""
        if isinstance(question, AskCertificate):
            found = certified(self._engine, question.sequence)
            return [] if found is None else [CertificateMessage(found)]
        keeper = self._engine.keeper
        return [NoState(question.checkpoint) if keeper is None else keeper.answer(question)]

    def _range(self, peer: NodeId, question: AskRange) -> Sequence[Wire]:
        """A page; after the last one of an epoch that is over, how it ended."""
        if question.epoch > self._engine.core.epoch:
            self._chase.heard(peer)
        core = self._engine.annals.cores.get(question.epoch)
        page = Blocks((), None) if core is None else answer_range(core.dag, question)
        return [page] if page.then is not None else [page, *self.handed(question.epoch)]

    def handed(self, epoch: int) -> list[Handed]:
        """How an epoch ended, if that is known here."""
        handover = self._engine.annals.closings.get(epoch)
        return [] if handover is None else [Handed(self._engine.core.epoch, handover)]

    def _newest(self, peer: NodeId) -> Newest:
        """The asker's newest block: of this epoch, or one of the next that came early."""
        core, known = self._engine.core, list[Vertex]()
        author = core.rules.committee.index(peer)
        if author is not None:
            known += blocks_of(core.dag, author)
        closed = self._engine.runner.closed
        if closed is not None:
            known += [one for _, one in self._early if _made_by(one, peer, closed.record)]
        return answer_newest(core.epoch, core.dag, known)


def _made_by(vertex: Vertex, node: NodeId, record: CommitteeRecord) -> bool:
    """Whether a block says that this node made it."""
    author = vertex.author
    return 0 <= author < len(record.members) and record.members[author].node == node

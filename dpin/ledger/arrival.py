"""A node that is epochs behind: it follows the handovers to the newest, and joins at that state.

Each handover is checked against the committee that the one before it named, so the newest is as
certain as the epoch from which the node sets out. Blocks of the epochs between are not needed. A
node that is but one epoch behind takes its blocks, unless nobody sends them any more.
"""

from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Blame, Send
from dpin.base.units import NEVER, Instant, Micros, after, seconds
from dpin.ledger.assembly import Assembly, Restored
from dpin.ledger.committee import Committee, committee_of
from dpin.ledger.engine import Engine, Progress
from dpin.ledger.handover import Handover, check_handover
from dpin.ledger.join import Join
from dpin.ledger.messages import AskHandover, Handed
from dpin.ledger.statemessages import StateAnswer

FAR: Final = 2  # epochs
ASK_AGAIN: Final[Micros] = seconds(1)
ANSWER_PATIENCE: Final[Micros] = seconds(10)  # with all who were asked for one handover
BLOCKS_PATIENCE: Final[Micros] = seconds(15)  # with blocks of an epoch that is known to be over


class Arrival:
    """The way from the present epoch to the newest, and the state at its beginning.

    It does nothing for an engine that keeps no states.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._epochs: dict[NodeId, int] = {}  # in which each peer says that it is
        self._newest = 0  # of these
        self.enter()

    def enter(self) -> None:
        """The node is in another epoch."""
        self._core = self._engine.core
        self._handovers: list[Handover] = []  # from the epoch of `_core` on
        self._join: Join[Restored] | None = None
        self._asked: set[NodeId] = set()  # for the next handover
        self._asked_until = Instant(0)  # then they are asked again
        self._ask_at = Instant(0)
        self._blocks_until = NEVER

    @property
    def next_at(self) -> Instant:
        """When to go on, at the latest."""
        if self._at_home or self._engine.runner.diverged is not None:
            return NEVER
        if self._join is not None:
            return self._join.next_at
        if self._ahead or len(self._handovers) >= FAR:
            return self._ask_at
        again = self._asked_until if self._asked else NEVER
        return min(again, max(self._ask_at, self._blocks_until) if self._handovers else NEVER)

    def left(self, peer: NodeId) -> None:
        """The peer is gone."""
        self._epochs.pop(peer, None)
        self._asked.discard(peer)
        self._newest = max(self._epochs.values(), default=0)
        if self._join is not None:
            self._join.down(peer)

    def heard(self, peer: NodeId, epoch: int) -> None:
        """The peer says in which epoch it is."""
        if self._engine.keeper is None:
            return
        self._epochs[peer] = epoch
        self._newest = max(self._epochs.values())
        if self._join is not None and epoch >= self._reached:
            self._join.up(peer)

    def handed(self, message: Handed, now: Instant) -> None:
        """A peer says how an epoch ended; raises PeerFault for a handover that nobody signed."""
        news = message.handover.epoch == self._reached and self._join is None
        if self._engine.keeper is None or not news:
            return
        check_handover(message.handover, self._core.rules.chain, self._committee)
        self._handovers.append(message.handover)
        self._asked.clear()
        self._ask_at = Instant(0)
        if len(self._handovers) == 1:
            self._blocks_until = after(now, BLOCKS_PATIENCE)

    def take(self, peer: NodeId, answer: StateAnswer) -> list[Send | Blame]:
        """A part of the state has come."""
        return self._join.take(peer, answer) if self._join is not None else []

    def go(self, now: Instant) -> tuple[list[Send | Blame], Progress | None]:
        """Ask for what is next; where all is there, the engine is in the newest epoch then."""
        if self._at_home or self._engine.runner.diverged is not None:
            return [], None
        effects = self._step(now)
        if self._join is None or self._join.restored is None:
            return effects, None
        return effects, self._engine.jump(self._handovers, self._join.restored)

    def _step(self, now: Instant) -> list[Send | Blame]:
        if not now < self._asked_until <= after(now, ANSWER_PATIENCE):
            self._asked.clear()
        if self._join is None and not now < self._ask_at <= after(now, ASK_AGAIN):
            if self._ahead:
                return self._walk(now)
            if len(self._handovers) >= FAR or (self._handovers and self._blocks_until <= now):
                self._join = self._begun(self._handovers[-1])
        if self._join is None:
            return []
        effects = self._join.step(now)
        if self._join.stuck:
            self._join = None  # All over again, with who is there by then.
            self._asked.clear()
            self._ask_at = after(now, ASK_AGAIN)
        return effects

    # --- the way ---

    @property
    def _at_home(self) -> bool:
        """Whether nobody says to be far ahead, as nearly always; this is asked at every step."""
        return self._newest < self._core.epoch + FAR and not self._handovers

    @property
    def _reached(self) -> int:
        """The epoch to which the handovers lead."""
        return self._core.epoch + len(self._handovers)

    @property
    def _ahead(self) -> list[NodeId]:
        """Who may know of the next handover and was not asked for it; some may boast."""
        least = max(self._reached + 1, self._core.epoch + FAR)
        return [
            peer
            for peer, epoch in self._epochs.items()
            if epoch >= least and peer not in self._asked
        ]

    @property
    def _committee(self) -> Committee:
        """Who signs the next handover."""
        if not self._handovers:
            return self._core.rules.committee
        return committee_of(self._handovers[-1].record)

    def _walk(self, now: Instant) -> list[Send | Blame]:
        self._ask_at = after(now, ASK_AGAIN)
        peer = self._ahead[0]
        self._asked.add(peer)
        self._asked_until = after(now, ANSWER_PATIENCE)
        return [Send(peer, encode(AskHandover(self._reached)))]

    def _begun(self, last: Handover) -> Join[Restored]:
        join = Join(last.certificate, Assembly)
        for peer, epoch in self._epochs.items():
            if epoch >= self._reached:
                join.up(peer)
        return join

"""Questions to peers over messages: each gets exactly one Answer, from the peer or from the clock.

The id in front of a question comes back in front of its answer. For questions with long answers
there is `Network.request`, which needs none of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, NewType, assert_never

from dpin.base.ids import NodeId
from dpin.base.machine import Blame, PeerDown, Received, Send, Tick, Wake
from dpin.base.units import Instant, Micros, after

REQUEST_ID_BYTES: Final = 8
PENDING_MAX: Final = 1024

RequestId = NewType("RequestId", int)


@dataclass(frozen=True, slots=True)
class Ask:
    """Put a question to a peer."""

    peer: NodeId
    question: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """The question that was just put has this id."""

    request: RequestId


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a question. `reply` is None when the peer stayed silent or is gone."""

    request: RequestId
    reply: bytes | None


Event = Ask | Received | PeerDown | Tick
Effect = Send | Wake | Blame | Asked | Answer


@dataclass(frozen=True, slots=True)
class _Pending:
    peer: NodeId
    deadline: Instant


class Requests:
    """All questions in flight; at most PENDING_MAX, the next is answered with silence at once."""

    def __init__(self, patience: Micros) -> None:
        self._patience = patience
        self._ids = count()
        self._pending: dict[RequestId, _Pending] = {}

    def step(self, event: Event, now: Instant) -> Sequence[Effect]:
        """See dpin.base.machine.Machine."""
        match event:
            case Ask(peer, question):
                return self._ask(peer, question, now)
            case Received(peer, payload):
                return self._settle(peer, payload)
            case PeerDown(peer):
                return self._give_up(peer)
            case Tick():
                return self._expire(now)
            case _:
                assert_never(event)

    def _ask(self, peer: NodeId, question: bytes, now: Instant) -> Sequence[Effect]:
        request = RequestId(next(self._ids))
        if len(self._pending) >= PENDING_MAX:
            return [Asked(request), Answer(request, None)]
        deadline = after(now, self._patience)
        self._pending[request] = _Pending(peer, deadline)
        payload = request.to_bytes(REQUEST_ID_BYTES) + question
        return [Asked(request), Send(peer, payload), Wake(deadline)]

    def _settle(self, peer: NodeId, payload: bytes) -> Sequence[Effect]:
        if len(payload) < REQUEST_ID_BYTES:
            return [Blame(peer, "sent an answer without a request id")]
        request = RequestId(int.from_bytes(payload[:REQUEST_ID_BYTES]))
        pending = self._pending.get(request)
        if pending is None:
            return []  # Too late: the clock has answered already.
        if pending.peer != peer:
            return [Blame(peer, "answered a question put to another peer")]
        del self._pending[request]
        return [Answer(request, payload[REQUEST_ID_BYTES:])]

    def _give_up(self, peer: NodeId) -> Sequence[Effect]:
        return self._end([r for r, pending in self._pending.items() if pending.peer == peer])

    def _expire(self, now: Instant) -> Sequence[Effect]:
        ended = self._end([r for r, p in self._pending.items() if p.deadline <= now])
        wakes = [Wake(min(p.deadline for p in self._pending.values()))] if self._pending else []
        return [*ended, *wakes]

    def _end(self, requests: Sequence[RequestId]) -> list[Effect]:
        for request in requests:
            del self._pending[request]
        return [Answer(request, None) for request in requests]

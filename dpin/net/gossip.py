"""Announcements: paced on the way out, budgeted on the way in. State never hangs on one of them.

Pacing is G1 and G3: above ten a second a topic libp2p, here and elsewhere, drops messages silently.
"""

from collections.abc import Callable
from typing import Final, Protocol

import trio

from dpin.base.errors import Misuse, Unavailable
from dpin.base.ids import NodeId
from dpin.net.budget import GOSSIP_MESSAGES, Budget
from dpin.net.contained import Contained
from dpin.net.links import DELIVERY_SECONDS, clock
from dpin.net.network import GOSSIP_BYTES_MAX, TOPICS_MAX, Event, Gossip, Misbehaved

PACE_SECONDS: Final = 0.125  # between two announcements on one topic
WAIT_SECONDS_MAX: Final = 8.0  # for an announcement's turn


class Message(Protocol):
    """What libp2p hands out: a signed message."""

    from_id: bytes
    data: bytes


class Subscription(Protocol):
    """The local end of a topic."""

    async def get(self) -> Message:
        """The next message."""
        ...


class Pubsub(Protocol):
    """The part of libp2p's Pubsub that is used."""

    async def publish(self, topic_id: str, data: bytes) -> None:
        """Sign and send."""
        ...

    async def subscribe(self, topic_id: str) -> Subscription:
        """Join a topic."""
        ...


class Announcer:
    """All topics of one host."""

    def __init__(
        self,
        pubsub: Pubsub,
        author_of: Callable[[bytes], NodeId | None],
        events: trio.MemorySendChannel[Event],
        nursery: trio.Nursery,
    ) -> None:
        self.undelivered = 0
        self.over_budget = 0
        self._pubsub = pubsub
        self._author_of = author_of
        self._events = events
        self._nursery = nursery
        self._next_turn: dict[str, float] = {}
        self._subscribed: set[str] = set()
        self._budget = Budget(GOSSIP_MESSAGES)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Announce; see `Network.publish`."""
        if len(payload) > GOSSIP_BYTES_MAX:
            raise Misuse(
                f"an announcement of {len(payload)} bytes, at most {GOSSIP_BYTES_MAX} are sent",
                "announce a digest and serve the rest by request",
            )
        if topic not in self._next_turn and len(self._next_turn) >= TOPICS_MAX:
            raise Misuse(f"more than {TOPICS_MAX} topics")
        now = trio.current_time()
        turn = max(now, self._next_turn.get(topic, 0.0))
        if turn - now > WAIT_SECONDS_MAX:
            raise Unavailable(f"too many announcements on {topic} are waiting")
        self._next_turn[topic] = turn + PACE_SECONDS
        await trio.sleep_until(turn)
        with Contained():
            await self._pubsub.publish(topic, payload)

    async def subscribe(self, topic: str) -> None:
        """Join; see `Network.subscribe`."""
        if topic in self._subscribed:
            return
        if len(self._subscribed) >= TOPICS_MAX:
            raise Misuse(f"more than {TOPICS_MAX} topics")
        self._subscribed.add(topic)
        self._nursery.start_soon(self._drain, topic, await self._pubsub.subscribe(topic))

    async def _drain(self, topic: str, subscription: Subscription) -> None:
        while True:
            message = await subscription.get()
            author = self._author_of(message.from_id)
            if author is None:  # Our own announcement comes back too.
                continue
            if not self._budget.charge(author, 1, clock()):
                self.over_budget += 1
                with Contained():
                    self._events.send_nowait(Misbehaved(author, "announces too often"))
                continue
            with trio.move_on_after(DELIVERY_SECONDS) as waiting:
                await self._events.send(Gossip(author, topic, message.data))
            self.undelivered += waiting.cancelled_caught

"""How much each peer may cost us, as data.

A bucket holds `burst` and refills at `rate` a second. What goes over is dropped and reported; the
figures leave an honest peer that catches up on a long absence far below them.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND, Instant

CONNECTIONS_MAX: Final = 256  # at once, in both directions
CONNECTIONS_PER_PEER_MAX: Final = 1  # a second one, dialled at the same moment, is tolerated
OUTBOUND_SHARE: Final = 4  # one connection of so many is kept for those that this node opens
PENDING_INBOUND_MAX: Final = 128  # accepted but not yet authenticated
PENDING_INBOUND_PER_IP_MAX: Final = 32
STREAMS_PER_PEER_MAX: Final = 64  # opened by the peer, at once
REQUESTS_PER_PEER_MAX: Final = 8  # questions of ours in flight to one peer
ANSWERS_PER_PEER_MAX: Final = 16  # questions of one peer being answered
ANSWERS_MAX: Final = 64  # questions being answered, of all peers
OUTBOX_MESSAGES_MAX: Final = 2048  # waiting to be written to one peer
OUTBOX_BYTES_MAX: Final = 16 << 20
EVENTS_MAX: Final = 512  # waiting for the node to take them
TRACKED_PEERS_MAX: Final = 1024
RESERVATIONS_MAX: Final = 64  # of others, on this node as their relay
RESERVATIONS_PER_IP_MAX: Final = 8
RESERVATION_SECONDS: Final = 1800
CIRCUITS_PER_RESERVATION_MAX: Final = 16  # at once
CIRCUIT_SECONDS: Final = 3600  # then it is dialled again
CIRCUIT_BYTES: Final = 1 << 30  # in both directions together
BUFFERED_BYTES_MAX: Final = 32 << 20  # received on one connection and not yet read
BUFFERED_BYTES_OF_ALL_MAX: Final = 256 << 20  # on all connections; beyond it, on each only this:
BUFFERED_BYTES_FREE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bucket holds, and how much flows in each second."""

    burst: int
    per_second: int


INBOUND_BYTES: Final = Rate(burst=64 << 20, per_second=32 << 20)
INBOUND_MESSAGES: Final = Rate(burst=8192, per_second=4096)
INBOUND_STREAMS: Final = Rate(burst=512, per_second=256)
FRAMES: Final = Rate(burst=16384, per_second=4096)  # of yamux, on one connection
CPU_MICROS: Final = Rate(burst=10_000_000, per_second=250_000)  # on the questions of one peer
COMPLAINTS: Final = Rate(burst=20, per_second=2)  # about one peer, so that they fill no queue
RELAYED_BYTES: Final = Rate(burst=8 << 20, per_second=8 << 20)  # for all circuits together
DIRECTORY_PUTS: Final = Rate(burst=512, per_second=64)  # records, each a signature to check
DIRECTORY_DIALS: Final = Rate(burst=32, per_second=1)  # of ours, to whom peers name as nearer
DIRECTORY_SEEKS: Final = Rate(burst=1024, per_second=256)
GOSSIP_MESSAGES: Final = Rate(burst=256, per_second=32)  # by one author, over all topics

INVALID_WEIGHT: Final = 10.0  # of one announcement that is not valid, in its bringer's score
GREYLIST_SCORE: Final = -80.0  # below it nothing is read; half of it: no announcement is taken
COLOCATED_MAX: Final = 8  # peers at one IP address; what is above counts squared
IDLE_ANNOUNCEMENTS_MAX: Final = 64  # that a peer of the mesh may let pass without bringing one
IHAVE_IDS_MAX: Final = 256  # of one list
MEETINGS_PER_PEER_MAX: Final = 4  # tasks that try to open a gossip stream to one peer
GIVEN_AGAIN_MAX: Final = 3  # times that one peer is given one announcement for the asking

BULK_PENDING_PER_IP_MAX: Final = 8  # bulk sockets that have not shown a ticket
BULK_PENDING_MAX: Final = 64
BULK_LINKS_MAX: Final = 32  # bulk sockets at once; each may hold 1 MiB in either direction
BULK_LINKS_PER_PEER_MAX: Final = 2  # both sides may dial at once
BULK_QUESTIONS_MAX: Final = 16  # unanswered on one bulk socket


@dataclass(slots=True)
class _Bucket:
    millionths: int  # of one unit, so that the refill needs no fractions
    filled_at: Instant


class Budget:
    """One bucket a peer. The peer not seen for longest is forgotten when there are too many."""

    def __init__(self, rate: Rate, peers_max: int = TRACKED_PEERS_MAX) -> None:
        self._rate = rate
        self._peers_max = peers_max
        self._buckets: OrderedDict[NodeId, _Bucket] = OrderedDict()

    def charge(self, peer: NodeId, amount: int, now: Instant) -> bool:
        """Take `amount` from the peer's bucket; False, and nothing taken, where it is too low."""
        bucket = self._refilled(peer, now)
        cost = amount * MICROS_PER_SECOND
        if cost > bucket.millionths:
            return False
        bucket.millionths -= cost
        return True

    def spend(self, peer: NodeId, amount: int, now: Instant) -> None:
        """Take what is spent already, into debt: `charge` refuses until it is paid off."""
        self._refilled(peer, now).millionths -= amount * MICROS_PER_SECOND

    def _refilled(self, peer: NodeId, now: Instant) -> _Bucket:
        full = self._rate.burst * MICROS_PER_SECOND
        bucket = self._buckets.pop(peer, None)
        if bucket is None:
            bucket = _Bucket(full, now)
            if len(self._buckets) >= self._peers_max:
                self._buckets.popitem(last=False)
        self._buckets[peer] = bucket
        elapsed = max(0, now - bucket.filled_at)
        bucket.millionths = min(full, bucket.millionths + elapsed * self._rate.per_second)
        bucket.filled_at = now
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)

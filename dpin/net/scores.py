"""What a peer is worth to the gossip mesh: libp2p's score, with its gaps closed, as data.

Scores are those of GossipSub 1.1 (Vyzovitis et al., "GossipSub: Attack-Resilient Message
Propagation in the Filecoin and ETH2.0 Networks", 2020, section 4): first deliveries count for a
peer; what is not valid, floods of control messages, and many peers at one address count against
it. All of it fades, so nobody is bad for ever; bans are another matter (`bans.py`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from libp2p.peer.id import ID
from libp2p.pubsub.score import PeerScorer, ScoreParams, TopicScoreParams

from dpin.net.budget import (
    COLOCATED_MAX,
    GREYLIST_SCORE,
    IDLE_ANNOUNCEMENTS_MAX,
    INVALID_WEIGHT,
    TRACKED_PEERS_MAX,
)
from dpin.net.prefix import is_near

FADING: Final = 0.98  # kept of a fault after each second: half is forgotten in 34
GOOD_MAX: Final = 20.0  # what first deliveries are worth at most: two faults
FLOODS_FREE: Final = 20.0  # in libp2p's units: two early GRAFTs, four rushed IWANTs
FORGOTTEN: Final = 0.1  # less than this of a fault is nothing
PRUNED_AT_ONCE: Final = -10.0  # from a mesh; above it only where there are others

PARAMS: Final = ScoreParams(
    p2_first_message_deliveries=TopicScoreParams(weight=0.5, cap=2 * GOOD_MAX, decay=0.99),
    p4_invalid_messages=TopicScoreParams(weight=INVALID_WEIGHT, cap=100.0, decay=FADING),
    p5_behavior_penalty_weight=1.0,
    p5_behavior_penalty_decay=FADING,
    p5_behavior_penalty_threshold=FLOODS_FREE,
    p6_appl_slack_weight=1.0,
    p7_ip_colocation_weight=1.0,
    p7_ip_colocation_threshold=COLOCATED_MAX,
    gossip_threshold=GREYLIST_SCORE / 4,
    publish_threshold=GREYLIST_SCORE / 2,
    graylist_threshold=GREYLIST_SCORE,
    accept_px_threshold=float("inf"),  # Whom to dial is decided by `dpin.net.discovery` alone.
)


class Scores(PeerScorer):  # type: ignore[misc]  # libp2p has no types here.
    """The scores that one node gives.

    libp2p counts first deliveries and keeps the sums. It does not notice where a peer is, who
    brings nothing, and that a peer left and came back; and it never forgets whom it looked up.
    """

    def __init__(self) -> None:
        super().__init__(PARAMS)
        # A mapping that this object changes: whom nothing may come from, as of the last look.
        self.greylisted: set[ID] = set()
        self._idle: dict[str, dict[ID, int]] = {}  # announcements since each last brought one

    def at(self, peer: ID, ip: str) -> None:
        """Note where a peer is connected from; networks of one's own are no crowd."""
        if ip and not is_near(ip):
            self.add_peer_ip(peer, ip)

    def brought(self, peer: ID, topic: str) -> None:
        """A peer has sent an announcement, new or not: it does its part."""
        self._idle.get(topic, {}).pop(peer, None)

    def spread(self, topic: str, mesh: Iterable[ID]) -> None:
        """A new announcement on a topic: of all in the mesh, somebody brought it."""
        idle = self._idle.get(topic, {})
        self._idle[topic] = {peer: idle.get(peer, 0) + 1 for peer in mesh}

    def is_idle(self, peer: ID, topic: str) -> bool:
        """Whether it has been in a mesh for long and brought nothing."""
        return self._idle.get(topic, {}).get(peer, 0) > IDLE_ANNOUNCEMENTS_MAX

    def faulted(self, peer: ID, topic: str) -> None:
        """What a peer sent on a topic is not valid."""
        self.on_invalid_message(peer, topic)
        self._look_at(peer, [topic])

    def remove_peer(self, peer: ID) -> None:
        """It has left. Its faults stay until they have faded: who returns has them still."""
        invalid = self.invalid_messages.pop(peer, None)
        behaviour = self.behavior_penalty.pop(peer, 0.0)
        super().remove_peer(peer)
        for idle in self._idle.values():
            idle.pop(peer, None)
        if invalid and len(self.invalid_messages) < TRACKED_PEERS_MAX:
            self.invalid_messages[peer] = invalid
        if behaviour and len(self.behavior_penalty) < TRACKED_PEERS_MAX:
            self.behavior_penalty[peer] = behaviour

    def look(self, peers: Collection[ID], topics: list[str]) -> None:
        """Once a second: forget whom nothing is held against, and see who is greylisted."""
        faulty = {peer for peer, found in self.invalid_messages.items() if _any_left(found)}
        faulty |= {peer for peer, held in self.behavior_penalty.items() if held > FORGOTTEN}
        for store in (self.invalid_messages, self.behavior_penalty):
            _keep(store, lambda peer: peer in peers or peer in faulty)
        for store in self._fleeting():
            _keep(store, peers.__contains__)
        self._idle = {topic: idle for topic, idle in self._idle.items() if topic in topics}
        self.greylisted.clear()
        for peer in {*peers, *faulty}:
            self._look_at(peer, topics)

    def unwanted(self, topic: str, mesh: Collection[ID], enough: int) -> list[ID]:
        """Who has to leave a mesh: the bad at once, the useless while enough others stay."""
        scores = {peer: self.score(peer, [topic]) - self.is_idle(peer, topic) for peer in mesh}
        worst = sorted(mesh, key=lambda peer: (scores[peer], peer.to_bytes()))
        bad = [peer for peer in worst if scores[peer] <= PRUNED_AT_ONCE]
        rest = [peer for peer in worst if PRUNED_AT_ONCE < scores[peer] < 0]
        spare = len(mesh) - len(bad) - enough
        return [*bad, *rest[: max(0, spare)]]

    def _look_at(self, peer: ID, topics: list[str]) -> None:
        if self.is_graylisted(peer, topics):
            self.greylisted.add(peer)

    def _fleeting(self) -> Iterable[dict[ID, object]]:
        return (
            self.time_in_mesh,
            self.first_message_deliveries,
            self.mesh_message_deliveries,
            self.app_specific_scores,
            self.graft_flood_penalties,
            self.iwant_spam_penalties,
            self.ihave_spam_penalties,
            self.equivocation_penalties,
        )


def _any_left(found: Mapping[str, float]) -> bool:
    return any(count > FORGOTTEN for count in found.values())


def _keep(store: dict[ID, object], wanted: Callable[[ID], bool]) -> None:
    for peer in [known for known in store if not wanted(known)]:
        del store[peer]

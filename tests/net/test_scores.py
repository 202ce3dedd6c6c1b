"""What peers are worth to the gossip mesh."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.score import PeerScorer

from dpin.base.errors import PeerFault
from dpin.net.budget import COLOCATED_MAX, IDLE_ANNOUNCEMENTS_MAX, TRACKED_PEERS_MAX
from dpin.net.mesh import RPC_BYTES_MAX, Frames, framed
from dpin.net.scores import PARAMS, Scores

TOPIC = "news"


def peer(number: int) -> ID:
    return ID.from_pubkey(create_new_key_pair(number.to_bytes(32)).public_key)


PEERS = [peer(number) for number in range(1, 20)]


def seconds_pass(scores: Scores, count: int, connected: list[ID]) -> None:
    for _ in range(count):
        scores.look(set(connected), [TOPIC])
        scores.on_heartbeat()


def test_who_brings_what_is_not_valid_is_not_heard_until_that_has_faded() -> None:
    scores, liar = Scores(), PEERS[0]
    for _ in range(4):
        scores.faulted(liar, TOPIC)
    assert scores.allow_publish(liar, [TOPIC])
    assert liar not in scores.greylisted
    scores.faulted(liar, TOPIC)
    assert not scores.allow_publish(liar, [TOPIC])
    for _ in range(4):
        scores.faulted(liar, TOPIC)
    assert liar in scores.greylisted
    seconds_pass(scores, 60, [liar])
    assert liar not in scores.greylisted
    assert scores.allow_publish(liar, [TOPIC])


def test_who_leaves_and_returns_has_its_faults_still() -> None:
    scores, liar = Scores(), PEERS[0]
    for _ in range(9):
        scores.faulted(liar, TOPIC)
    scores.remove_peer(liar)
    seconds_pass(scores, 2, [])
    assert liar in scores.greylisted


def test_nobody_is_remembered_for_nothing() -> None:
    """Upstream keeps whom it looked up, for ever."""
    scores = Scores()
    for other in PEERS:
        scores.faulted(other, TOPIC)
        scores.brought(other, TOPIC)
        scores.score(other, [TOPIC, "another"])
        scores.remove_peer(other)
    assert len(scores.invalid_messages) == len(PEERS)
    seconds_pass(scores, 200, [])
    assert not scores.invalid_messages
    assert not scores.greylisted
    assert not any(scores._fleeting())
    assert not scores.behavior_penalty


def test_faults_of_so_many_strangers_are_remembered_and_no_more() -> None:
    scores = Scores()
    for number in range(TRACKED_PEERS_MAX + 5):
        stranger = ID(number.to_bytes(38))
        scores.faulted(stranger, TOPIC)
        scores.remove_peer(stranger)
    assert len(scores.invalid_messages) == TRACKED_PEERS_MAX


def test_a_crowd_at_one_address_is_pruned_and_a_crowd_at_home_is_not() -> None:
    scores = Scores()
    for other in PEERS:
        scores.at(other, "93.184.216.34")
    assert scores.unwanted(TOPIC, PEERS[:6], 4) == sorted(PEERS[:6], key=ID.to_bytes)
    home = Scores()
    for other in PEERS:
        home.at(other, "192.168.1.7")
    assert home.unwanted(TOPIC, PEERS[:6], 4) == []
    few = Scores()
    for other in PEERS[:COLOCATED_MAX]:
        few.at(other, "93.184.216.34")
    assert few.unwanted(TOPIC, PEERS[:6], 4) == []


def test_who_brings_nothing_makes_room_while_enough_others_stay() -> None:
    scores, mesh = Scores(), PEERS[:6]
    idle = mesh[:3]
    for _ in range(IDLE_ANNOUNCEMENTS_MAX + 1):
        scores.spread(TOPIC, mesh)
        for other in mesh[3:]:
            scores.brought(other, TOPIC)
    assert set(scores.unwanted(TOPIC, mesh, 4)) < set(idle)
    assert len(scores.unwanted(TOPIC, mesh, 4)) == 2
    assert scores.unwanted(TOPIC, idle, 4) == []
    scores.brought(idle[0], TOPIC)
    assert idle[0] not in scores.unwanted(TOPIC, mesh, 4)


def test_first_deliveries_make_up_for_two_faults_and_no_more() -> None:
    scores, other = Scores(), PEERS[0]
    for _ in range(1000):
        scores.on_first_delivery(other, TOPIC)
    assert scores.score(other, [TOPIC]) == 20
    for _ in range(3):
        scores.faulted(other, TOPIC)
    assert scores.unwanted(TOPIC, [other], 4) == [other]


def test_upstream_forgets_faults_when_a_peer_leaves() -> None:
    """When this fails, `Scores.remove_peer` can go."""
    upstream = PeerScorer(PARAMS)
    upstream.on_invalid_message(PEERS[0], TOPIC)
    upstream.remove_peer(PEERS[0])
    assert upstream.score(PEERS[0], [TOPIC]) == 0


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_whatever_the_pieces(
    messages: list[bytes], step: int
) -> None:
    data = b"".join(map(framed, messages))
    frames, found = Frames(), list[bytes]()
    for at in range(0, len(data), step):
        found += frames.feed(data[at : at + step])
    assert found == messages


def test_a_frame_that_is_too_long_or_whose_length_does_not_end_is_a_fault() -> None:
    with pytest.raises(PeerFault, match="at most"):
        list(Frames().feed(framed(bytes(RPC_BYTES_MAX + 1))))
    with pytest.raises(PeerFault, match="does not end"):
        list(Frames().feed(b"\xff" * 5))

"""The averaging that is measured beside hivemind's: what it computes."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.averaging import Exact, bounds
from benchmarks.averaging_wire import PIECE_BYTES, after, before, connected, pieces
from tests.support.ports import free_ports

Floats = NDArray[np.float32]


def averaged(vectors: list[Floats]) -> list[Floats]:
    """What each peer has afterwards; twice, as its buffers and seals are kept."""
    ports = free_ports(len(vectors))
    found = [vector.copy() for vector in vectors]

    def work(rank: int) -> None:
        peers = connected(rank, ports)
        averager = Exact(rank, peers, len(vectors[rank]))
        averager.average(found[rank])
        found[rank][:] = vectors[rank]
        averager.average(found[rank])
        for peer in peers.values():
            peer.wire.close()

    jobs = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(len(ports))]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=60)
    assert not any(job.is_alive() for job in jobs)
    return found


def mean_by_hand(vectors: list[Floats]) -> Floats:
    """Each part in the order in which its owner hears the others, in single precision."""
    world, mean = len(vectors), np.empty_like(vectors[0])
    for rank, (low, high) in enumerate(pairwise(bounds(len(mean), world))):
        total = vectors[rank][low:high].copy()
        for at in before(rank, world):
            total += vectors[at][low:high]
        mean[low:high] = total * np.float32(1 / world)
    return mean


@pytest.mark.parametrize(("world", "count"), [(2, 1_001), (3, 500_000), (4, 700_003)])
def test_all_peers_end_with_the_bits_of_the_mean_in_the_order_of_their_ranks(
    world: int, count: int
) -> None:
    dice = np.random.default_rng(7)
    vectors = [dice.standard_normal(count, np.float32) for _ in range(world)]
    mean = mean_by_hand(vectors)
    for found in averaged(vectors):
        assert found.tobytes() == mean.tobytes()


def test_no_two_peers_send_to_the_same_one_at_once() -> None:
    turns = zip(*(after(rank, 8) for rank in range(8)), strict=True)
    assert all(sorted(turn) == list(range(8)) for turn in turns)
    assert all(
        before(to, 8)[step] == rank for rank in range(8) for step, to in enumerate(after(rank, 8))
    )


def test_pieces_have_no_gap_and_whole_numbers() -> None:
    cut = list(pieces(2 * PIECE_BYTES + 4))
    assert [piece.stop - piece.start for piece in cut] == [PIECE_BYTES, PIECE_BYTES, 4]
    assert PIECE_BYTES % 4 == 0
    assert list(pieces(0)) == []

"""Frames on the worker's pipes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import MESSAGE_BYTES_MAX, decode
from dpin.base.errors import PeerFault
from dpin.base.ids import Round
from dpin.compute.frames import Unframer, framed
from dpin.compute.task import Command, Contribution, Evaluate, MergeRound, Probe

COMMANDS: list[Command] = [Probe(), Evaluate(), MergeRound(Round(3), (Contribution("file", 20),))]
STREAM = b"".join(framed(command) for command in COMMANDS)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_frames_come_out_whole_however_the_bytes_arrive(cuts: list[int]) -> None:
    unframer = Unframer()
    found: list[Command] = []
    bounds = [0, *sorted(cuts), len(STREAM)]
    for low, high in pairwise(bounds):
        found += [decode(Command, frame) for frame in unframer.feed(STREAM[low:high])]
    assert found == COMMANDS


def test_a_frame_over_the_limit_is_refused_before_it_is_held() -> None:
    unframer = Unframer()
    with pytest.raises(PeerFault):
        list(unframer.feed((MESSAGE_BYTES_MAX + 1).to_bytes(4)))
    assert list(Unframer().feed((MESSAGE_BYTES_MAX).to_bytes(4))) == []


def test_a_frame_is_a_length_and_canonical_bytes() -> None:
    assert framed(Probe()).hex() == "000000029101"

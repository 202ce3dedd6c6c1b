"""Checkpoint files: read back as written, and refused where anything is off."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, Round
from dpin.compute.checkpoint import (
    Later,
    Moments,
    Start,
    decode_global,
    decode_later,
    decode_model,
    decode_start,
    encode_global,
    encode_model,
    encode_window,
    optimizer_root,
    parameters_root,
)
from dpin.compute.state import GlobalState, initial_state, state_hash
from dpin.compute.tensors import UNITS_MAX, as_float
from tests.support.training import TINY

STATE = initial_state(TINY, b"seed")
FLOATS = as_float(STATE.parameters)
MOMENTS = Moments(FLOATS * 2, FLOATS.square(), 7)
LATER = Later(TINY, FLOATS, MOMENTS)


def tensors_of(data: bytes) -> dict[str, Tensor]:
    return dict(load(data))


def rewritten(data: bytes, change: Callable[[dict[str, Tensor]], None]) -> bytes:
    """The same file with other tensors; the metadata stays."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    tensors = tensors_of(data)
    change(tensors)
    return save(tensors, metadata)


def test_a_global_state_is_read_back_with_its_momentum_and_round() -> None:
    for momentum in (None, STATE.parameters * 3 // 4):
        state = GlobalState(TINY, Round(5), STATE.parameters, momentum)
        data = encode_global(state)
        again = decode_global(data, TINY)
        assert (again.round, state_hash(again)) == (5, state_hash(state))
        assert encode_global(again) == data


@pytest.mark.parametrize("moments", [None, MOMENTS])
def test_the_start_of_a_unit_is_read_back(moments: Moments | None) -> None:
    start = Start(STATE, moments)
    again = decode_start(encode_window(start), TINY)
    assert parameters_root(again) == parameters_root(start) == state_hash(STATE)
    assert optimizer_root(TINY, again.moments) == optimizer_root(TINY, moments)


def test_a_later_window_is_read_back_bit_for_bit() -> None:
    again = decode_later(encode_window(LATER), TINY)
    assert torch.equal(again.parameters, LATER.parameters)
    assert torch.equal(again.moments.first, MOMENTS.first)
    assert torch.equal(again.moments.second, MOMENTS.second)
    assert again.moments.steps == 7
    assert parameters_root(again) == parameters_root(LATER)


def test_the_optimizer_root_covers_both_moments_and_the_step() -> None:
    roots = {
        optimizer_root(TINY, moments)
        for moments in (
            None,
            MOMENTS,
            Moments(MOMENTS.second, MOMENTS.second, 7),
            Moments(MOMENTS.first, MOMENTS.second * 2, 7),
            Moments(MOMENTS.first, MOMENTS.second, 8),
        )
    }
    assert len(roots) == 5
    assert NO_DIGEST in roots


def test_a_model_written_by_another_program_is_read() -> None:
    tensors = {name: part.clone() for name, part in tensors_of(encode_model(TINY, FLOATS)).items()}
    assert torch.equal(decode_model(save(tensors, {"format": "pt"}), TINY), FLOATS)


def drop(tensors: dict[str, Tensor]) -> None:
    del tensors["parameters/norm.weight"]


def add(tensors: dict[str, Tensor]) -> None:
    tensors["parameters/extra"] = torch.zeros(1)


def reshape(tensors: dict[str, Tensor]) -> None:
    tensors["parameters/norm.weight"] = tensors["parameters/norm.weight"].view(1, -1)


def retype(tensors: dict[str, Tensor]) -> None:
    tensors["parameters/norm.weight"] = tensors["parameters/norm.weight"].to(torch.int32)


def exceed(tensors: dict[str, Tensor]) -> None:
    tensors["parameters/norm.weight"][0] = UNITS_MAX + 1


@pytest.mark.parametrize("change", [drop, add, reshape, retype, exceed])
def test_a_global_checkpoint_with_other_tensors_is_refused(
    change: Callable[[dict[str, Tensor]], None],
) -> None:
    with pytest.raises(PeerFault, match="corrupt checkpoint"):
        decode_global(rewritten(encode_global(STATE), change), TINY)


def poison(name: str, value: float) -> bytes:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name].view(-1)[0] = value

    return rewritten(encode_window(LATER), change)


@pytest.mark.parametrize(
    "data",
    [
        poison("parameters/norm.weight", float("nan")),
        poison("exp_avg/norm.weight", float("inf")),
        poison("exp_avg_sq/norm.weight", -1.0),
        encode_global(STATE),
        encode_window(Start(STATE, MOMENTS)),
    ],
)
def test_a_window_state_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault, match="corrupt checkpoint"):
        decode_later(data, TINY)


def with_header(header: bytes) -> bytes:
    data = encode_global(STATE)
    length = int.from_bytes(data[:8], "little")
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def header() -> dict[str, object]:
    data = encode_global(STATE)
    return dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))


def overlapping() -> bytes:
    parts = header()
    parts["parameters/blocks.0.norm_perceptron.weight"] = parts["parameters/norm.weight"]
    return with_header(json.dumps(parts).encode())


def metadata(entry: object) -> bytes:
    return with_header(json.dumps(header() | {"__metadata__": entry}).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        b"\xff" * 100,
        encode_global(STATE)[:-1],
        encode_global(STATE) + b"\0",
        with_header(b"[]"),
        with_header(b"{" * 5000),
        with_header(b'{"parameters/norm.weight": 1}'),
        overlapping(),
        metadata({}),
        metadata([1]),
        metadata({"dpin": "{}"}),
        metadata({"dpin": "[]"}),
        metadata({"dpin": '{"kind": "global", "round": -1, "steps": 0}'}),
        metadata({"dpin": '{"kind": "global", "round": true, "steps": 0}'}),
        metadata({"dpin": '{"kind": "global", "round": 1.5, "steps": 0}'}),
        metadata({"dpin": '{"kind": "later", "round": 1, "steps": 0}'}),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault, match="corrupt checkpoint"):
        decode_global(data, TINY)


@settings(max_examples=60)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_a_damaged_header_does_no_more_than_raise_a_peer_fault(at: int, part: bytes) -> None:
    data = encode_global(STATE)
    with suppress(PeerFault):
        decode_global(data[:at] + part + data[at + len(part) :], TINY)

"""The largest files of a job are no larger than the bounds by which they are fetched."""

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.base.blob import BLOB_BYTES_MAX
from dpin.base.errors import Misuse
from dpin.base.ids import Round
from dpin.base.sealed import sealed_bytes_max
from dpin.compute import sizes
from dpin.compute.checkpoint import (
    Later,
    Moments,
    Start,
    encode_global,
    encode_model,
    encode_window,
)
from dpin.compute.hubspec import CAUSAL, HubSpec, canonical_config
from dpin.compute.modulespec import ModuleSpec, TensorShape
from dpin.compute.safety import PrivacySpec
from dpin.compute.sealing import sealed_file
from dpin.compute.state import GlobalState, Means, initial_state
from dpin.compute.task import FP16, INT4, INT8, SPARSE, TERNARY, EncodingSpec, ModelSpec
from dpin.compute.tensors import as_float
from dpin.compute.updates import update_bytes
from dpin.compute.weights import parameter_count
from tests.support.jobs import train_manifest
from tests.support.training import TINY

STATE = initial_state(TINY, b"seed")
FLOATS = as_float(STATE.parameters)
MOMENTS = Moments(FLOATS * 2, FLOATS.square(), 7)
FIRST = len(encode_global(STATE))
HEADROOM = sizes.HEADER_BYTES_MAX + sizes.LENGTH_BYTES
ENCODINGS = st.one_of(
    st.sampled_from([FP16, INT8, INT4, TERNARY]).map(EncodingSpec),
    st.integers(1, 1024).map(lambda kept: EncodingSpec(SPARSE, kept)),
)


def test_the_first_state_of_a_built_in_model_fits_into_its_bound() -> None:
    numbers = 8 * parameter_count(TINY)
    assert numbers < FIRST <= sizes.first_state_bytes_max(TINY) <= 2 * numbers + HEADROOM


def test_the_first_state_of_a_module_is_bounded_by_its_layout() -> None:
    layout = (TensorShape("a", (3, 5)), TensorShape("b", (7,)))
    assert sizes.first_state_bytes_max(ModuleSpec("build", 8, layout)) == 8 * 22 + HEADROOM


def test_a_model_that_has_to_be_built_to_be_counted_may_fill_a_blob() -> None:
    spec = HubSpec(CAUSAL, canonical_config('{"model_type": "gpt2"}'), 8, masked=False)
    assert sizes.first_state_bytes_max(spec) == BLOB_BYTES_MAX


def test_a_model_that_cannot_be_has_no_bound() -> None:
    with pytest.raises(Misuse):
        sizes.first_state_bytes_max(ModelSpec(1, 1, 1 << 40, 1))


@pytest.mark.parametrize(
    "state",
    [
        STATE,
        GlobalState(TINY, Round(9), STATE.parameters, momentum=STATE.parameters * 1),
        GlobalState(TINY, Round(9), STATE.parameters, means=Means(FLOATS, FLOATS.square())),
    ],
)
def test_every_global_state_fits_into_the_bound_of_checkpoints(state: GlobalState) -> None:
    numbers = 16 * parameter_count(TINY)
    assert len(encode_global(state)) <= sizes.checkpoint_bytes_max(FIRST)
    assert sizes.checkpoint_bytes_max(FIRST) <= numbers + 2 * HEADROOM


def test_the_largest_state_of_a_unit_fits_into_its_bound() -> None:
    state = GlobalState(TINY, Round(9), STATE.parameters, momentum=STATE.parameters * 1)
    largest = Start(state, MOMENTS, error=torch.ones_like(STATE.parameters))
    for one in (largest, Later(TINY, FLOATS, MOMENTS)):
        assert len(encode_window(one)) <= sizes.window_state_bytes_max(FIRST)


def test_a_model_that_generates_fits_into_its_bound() -> None:
    assert len(encode_model(TINY, FLOATS)) <= sizes.model_bytes_max(TINY)


@given(st.integers(1, 10**10), ENCODINGS)
def test_every_update_fits_into_the_bound_of_its_encoding(count: int, spec: EncodingSpec) -> None:
    manifest = msgspec.structs.replace(train_manifest(), encoding=spec)
    most, real = sizes.update_bytes_max(manifest, 8 * count), update_bytes(spec, count)
    assert real <= most <= real + real // 100 + sizes.SPARE_BYTES + 2_048


def test_a_masked_update_has_a_word_a_parameter_and_a_head() -> None:
    manifest = msgspec.structs.replace(train_manifest(), privacy=PrivacySpec("secagg"))
    most = sizes.update_bytes_max(manifest, 8 * 10**9)
    assert 4 * 10**9 + (1 << 20) <= most < 4 * 10**9 + (1 << 21)


@settings(max_examples=20)
@given(st.integers(0, 3 << 20))
def test_a_sealed_file_fits_into_its_bound(length: int) -> None:
    sealed = sealed_file(bytes(32), "shard", bytes(length))
    assert len(sealed) <= sealed_bytes_max(length) <= len(sealed) + (1 << 15)

"""The light client's own encoding is the ledger's: the same bytes both ways, and no others."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpin.light.pack import BadPack, pack, unpack

PLAIN = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=20), max_leaves=30)


# Values in values take long to draw on a machine that has other things to do.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_every_value_has_the_bytes_that_the_ledger_gives_it(value: object) -> None:
    data = pack(value)
    assert data == msgspec.msgpack.encode(value)
    assert unpack(data) == value


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_fail(data: bytes) -> None:
    try:
        value = unpack(data)
    except BadPack:
        return
    assert pack(value) == data


@pytest.mark.parametrize("bad", [b"", b"\xcc\x01", b"\x01\x01", b"\x91" * 50 + b"\x01", b"\x80"])
def test_another_form_of_a_value_is_refused(bad: bytes) -> None:
    with pytest.raises(BadPack):
        unpack(bad)

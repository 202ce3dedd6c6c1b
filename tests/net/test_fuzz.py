"""What a peer sends is taken or is its fault: every reader, a moment of each (see scripts/fuzz)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.base.errors import PeerFault
from scripts.fuzz_handlers import Fuzzed
from scripts.fuzz_targets import TARGETS

EXAMPLES = 60


@st.composite
def mutated(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """Bytes that are nearly right: cut, changed, doubled."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = draw(st.binary(max_size=3))
            case 2:
                data[at:at] = data[: draw(st.integers(0, 40))]
            case _:
                data += draw(st.binary(max_size=8))
    return bytes(data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_bytes_raise_anything_but_a_fault_of_the_peer(name: str) -> None:
    target = TARGETS[name]
    anything = st.binary(max_size=200)
    near = st.one_of(anything, mutated(target.samples)) if target.samples else anything

    @settings(max_examples=EXAMPLES, database=None)
    @given(near)
    def attempt(data: bytes) -> None:
        target(data)

    attempt()


def test_what_is_right_is_taken() -> None:
    for target in TARGETS.values():
        for sample in target.samples:
            target.read(sample)


def test_another_exception_than_a_fault_is_found() -> None:
    """The check can fail."""

    def careless(data: bytes) -> int:
        if not data:
            raise PeerFault("nothing")
        return data[5]

    Fuzzed(careless)(b"")
    with pytest.raises(IndexError):
        Fuzzed(careless)(b"x")

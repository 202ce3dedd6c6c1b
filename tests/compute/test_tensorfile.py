"""Files of tensors: the library's bytes, without its copies."""

import json

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from dpin.compute.tensorfile import tensor_file

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(
    st.dictionaries(NAMES, st.tuples(st.booleans(), SHAPES), max_size=6),
    st.integers(0, 1 << 40),
)
def test_a_file_of_tensors_is_the_librarys_to_the_byte(
    tensors: dict[str, tuple[bool, tuple[int, ...]]], steps: int
) -> None:
    tensors.pop("__metadata__", None)
    made = {
        name: torch.arange(torch.Size(shape).numel()).reshape(shape).to(kind)
        for name, (whole, shape) in tensors.items()
        for kind in [torch.int64 if whole else torch.float32]
    }
    text = json.dumps({"kind": "start", "steps": steps})
    assert b"".join(tensor_file(text, made)) == save(made, {"dpin": text})


def test_a_turned_matrix_is_written_row_after_row() -> None:
    matrix = torch.arange(6).reshape(2, 3).T
    assert b"".join(tensor_file("{}", {"m": matrix})) == save(
        {"m": matrix.contiguous()}, {"dpin": "{}"}
    )


def test_parts_of_a_file_are_the_tensors_themselves() -> None:
    numbers = torch.zeros(2, dtype=torch.int64)
    _, part = tensor_file("{}", {"a": numbers})
    numbers[1] = -1
    assert bytes(part) == bytes(8) + b"\xff" * 8

"""Tables, pictures and arrays as the rows of numbers that a module of one's own is given."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from dpin.base.errors import Misuse
from dpin.compute.executor import Disk
from dpin.compute.hubspec import DataFormat
from dpin.compute.rowfiles import rows_of
from tests.support.training import MemoryFiles

TABLE = DataFormat("table")


def held(path: str, data: bytes) -> MemoryFiles:
    return MemoryFiles({path: data})


def test_a_table_keeps_every_number_and_floats_keep_their_bits() -> None:
    text = b"age,weight,kind,well\n1,0.5,b,true\n-2,-1.25,a,false\n"
    rows = rows_of(TABLE, held("t.csv", text), "t.csv")
    assert (rows.dtype, tuple(rows.shape)) == (torch.int32, (2, 4))
    assert rows[:, 0].tolist() == [1, -2]
    assert rows[:, 1].contiguous().view(torch.float32).tolist() == [0.5, -1.25]
    assert rows[:, 2:].tolist() == [[1, 1], [0, 0]]
    made = io.BytesIO()
    parquet.write_table(pa.table({"a": [1, 2], "b": ["y", "x"]}), made)
    found = rows_of(TABLE, held("t.parquet", made.getvalue()), "t.parquet")
    assert found.tolist() == [[1, 1], [2, 0]]


def test_pictures_in_folders_are_pixels_and_a_class(tmp_path: Path) -> None:
    for number, colour in enumerate([(255, 0, 0), (0, 0, 255)]):
        (tmp_path / f"class-{number}").mkdir()
        Image.new("RGB", (9, 5), colour).save(tmp_path / f"class-{number}" / "one.png")
    rows = rows_of(DataFormat("images", side=2), Disk(), str(tmp_path))
    assert (rows.dtype, tuple(rows.shape)) == (torch.uint8, (2, 3 * 4 + 2))
    assert rows[1].tolist() == [0] * 8 + [255] * 4 + [0, 1]


def test_an_array_is_taken_as_it_is() -> None:
    for dtype in (np.uint8, np.int64, np.float32):
        made = io.BytesIO()
        np.save(made, np.arange(12).reshape(3, 2, 2).astype(dtype))
        rows = rows_of(DataFormat("tokens"), held("a.npy", made.getvalue()), "a.npy")
        found = rows.view(torch.float32) if dtype == np.float32 else rows
        assert found.tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("table", b"", "cannot be read as a table"),
        ("table", b"a,b\n", "no lines"),
        ("table", b"a,b\n1,2\n,3\n", "holes"),
        ("table", b"a\n99999999999\n", "more than 32 bits"),
        ("table", b"a\n2020-01-01\n", "is of type"),
        ("tokens", b"a,b\n", "no .npy file"),
        ("tokens", b"\x93NUMPY\x01", "cannot be read"),
        ("text", b"words", "no rows of numbers"),
        ("images", b"", "no pictures"),
    ],
)
def test_data_that_are_no_rows_are_refused_with_a_reason(kind: str, data: bytes, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        rows_of(DataFormat(kind, side=8), held("t.csv", data), "t.csv")


def test_pictures_of_no_size_are_refused() -> None:
    with pytest.raises(Misuse, match="pictures of 0 pixels"):
        rows_of(DataFormat("images"), MemoryFiles(), "folder")

"""Files of people as rows of numbers, for a module of their own: tables, pictures, arrays.

A row is one example: N of them, W integers wide. What is no integer becomes one that loses nothing:
a float the bits of its float32, a word its place among all that occur in its column.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.compute.door import Files
from dpin.compute.hubspec import DataFormat
from dpin.compute.readers import PICTURE_SUFFIXES, AnyArray, read_array, read_picture, read_table

INTEGER_MAX: Final = (1 << 31) - 1
SIDE_MAX: Final = 1_024  # pixels
BYTE_VALUES: Final = 256
COLOURS: Final = 3  # channels of a picture
Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int32]]


def rows_of(data: DataFormat, files: Files, path: str) -> Tensor:
    """(N, W) uint8 or int32; raises Misuse where the data are not what they are said to be."""
    match data.kind:
        case "table":
            return _table(path, files.read(path))
        case "images":
            return _pictures(data, files, path)
        case "tokens":
            return _array(path, files.read(path))
        case kind:
            raise Misuse(f"{kind} data are no rows of numbers", "format: table, images or tokens")


def _table(path: str, data: bytes) -> Tensor:
    """A row a line, a number a column."""
    table = read_table(path, data)
    if not table.num_rows:
        raise Misuse(f"{path} has no lines")
    columns = [_column(name, table.column(name).combine_chunks()) for name in table.column_names]
    return torch.from_numpy(np.stack(columns, axis=1))


def _column(name: str, column: pa.Array) -> Numbers:
    kind = column.type
    if column.null_count:
        raise Misuse(f"column {name!r} has {column.null_count} holes", "fill them, or leave it out")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        bits: Numbers = column.cast(pa.float32(), safe=False).to_numpy().view(np.int32)
        return bits
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        found = column.cast(pa.int64()).to_numpy()
        return _fitting(found, f"column {name!r}")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        words = column.to_pylist()
        places = {word: place for place, word in enumerate(sorted(set(words)))}
        return np.array([places[word] for word in words], dtype=np.int32)
    raise Misuse(f"column {name!r} is of type {kind}", "numbers, words, or yes and no")


def _fitting(found: AnyArray, what: str) -> Numbers:
    if found.size and max(-int(found.min()), int(found.max())) > INTEGER_MAX:
        raise Misuse(f"{what} has numbers of more than 32 bits")
    return found.astype(np.int32)


def _array(path: str, data: bytes) -> Tensor:
    """The rows of a .npy file: whatever is in one of the first dimension is one example."""
    found = read_array(path, data, "rows, an example each")
    if found.ndim < 2 or not found.size:  # noqa: PLR2004  # rows and columns
        raise Misuse(f"{path} holds no rows", "numpy.save an array of two dimensions")
    rows = found.reshape(len(found), -1)
    if found.dtype == np.uint8:
        return torch.from_numpy(rows.copy())
    if found.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32).view(np.int32))
    if found.dtype.kind not in "iub":
        raise Misuse(f"{path} holds {found.dtype}", "integers or floats")
    return torch.from_numpy(_fitting(rows, path))


def _pictures(data: DataFormat, files: Files, path: str) -> Tensor:
    """A folder a class: 3 x side x side pixels, then the class in two bytes, the higher first."""
    if not 1 <= data.side <= SIDE_MAX:
        raise Misuse(f"pictures of {data.side} pixels", f"data.side: 1 to {SIDE_MAX}")
    found = list(files.tree(path, PICTURE_SUFFIXES))
    if not found:
        raise Misuse(f"{path} holds no pictures in folders")
    classes = sorted({folder for folder, _ in found})
    if len(classes) > BYTE_VALUES * BYTE_VALUES:
        raise Misuse(f"{len(classes)} classes of pictures")
    places = {folder: place for place, folder in enumerate(classes)}
    return torch.stack(
        [read_picture(one, data.side, COLOURS, places[folder]) for folder, one in found]
    )

"""Global states, window states and models as safetensors bytes.

A reader first compares the header with the tensors that the model must have, then reads: other
names, shapes or types, gaps, overlaps, trailing bytes, and numbers that are not finite or out of
range are a PeerFault. One metadata entry, "dpin", is JSON: the kind, and `round` and `steps`.
"""

import json
from dataclasses import dataclass
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.compute.sizes import HEADER_BYTES_MAX, LENGTH_BYTES
from dpin.compute.state import GlobalState, Means, state_hash, unflatten
from dpin.compute.task import Architecture
from dpin.compute.tensorfile import TYPE_NAMES, Parts, tensor_file
from dpin.compute.tensors import UNITS_MAX, tensors_root
from dpin.compute.weights import shapes

COUNT_MAX: Final = 1 << 40  # rounds and steps
FIRST: Final = "exp_avg"
SECOND: Final = "exp_avg_sq"
OUTER_FIRST: Final = "outer_avg"
OUTER_SECOND: Final = "outer_avg_sq"

# What a file may consist of: family of tensors -> type. Global states, then window 0, then others.
_PARAMETERS: Final = {"parameters": torch.int64}
_GLOBAL: Final = (
    _PARAMETERS,
    {**_PARAMETERS, "momentum": torch.int64},
    {**_PARAMETERS, OUTER_FIRST: torch.float32, OUTER_SECOND: torch.float32},
)
_MOMENTS: Final = {FIRST: torch.float32, SECOND: torch.float32}
_ERROR: Final = {"error": torch.int64}
_START: Final = tuple(
    {**families, **moments, **error}
    for families in _GLOBAL
    for moments in ({}, _MOMENTS)
    for error in ({}, _ERROR)
)
_LATER: Final = ({"parameters": torch.float32, **_MOMENTS},)

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """AdamW's memory of one seat."""

    first: Tensor  # (P,) float32, running mean of gradients
    second: Tensor  # (P,) float32, running mean of squared gradients
    steps: int  # how many gradients are in them
    digest: Digest | None = None  # their `optimizer_root`, where it is known

    def named(self, spec: Architecture) -> Tensors:
        """Its tensors, as they are hashed and stored."""
        layout = shapes(spec)
        return unflatten(FIRST, self.first, layout) | unflatten(SECOND, self.second, layout)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A seat before its first window: the global state, and what is kept from its last unit."""

    state: GlobalState
    moments: Moments | None  # None while all are zero
    error: Tensor | None = None  # (P,) int64 in units of 2^-30, what updates left over; likewise
    left: Digest | None = None  # its `error_root`, where it is known


@dataclass(frozen=True, slots=True, eq=False)
class Later:
    """A seat after a window."""

    spec: Architecture
    parameters: Tensor  # (P,) float32
    moments: Moments


WindowState = Start | Later


def parameters_root(state: WindowState) -> Digest:
    """`Leaf.parameters` of this state."""
    match state:
        case Start():
            return state_hash(state.state)
        case Later():
            return float_root(state.spec, state.parameters)


def float_root(spec: Architecture, parameters: Tensor) -> Digest:
    """Root over (P,) float32 parameters; also the state hash of an exported model."""
    return tensors_root(unflatten("parameters", parameters, shapes(spec)))


def optimizer_root(spec: Architecture, moments: Moments | None) -> Digest:
    """`Leaf.optimizer`: over both moments and the count of steps in them."""
    if moments is None:
        return NO_DIGEST
    if moments.digest is not None:
        return moments.digest
    return tensors_root(moments.named(spec) | {"steps": torch.tensor(moments.steps)})


def encode_global(state: GlobalState) -> bytes:
    """A global checkpoint."""
    return b"".join(global_file(state))


def global_file(state: GlobalState) -> Parts:
    """A global checkpoint as it is written."""
    return _file("global", (state.round, 0), state.named())


def decode_global(data: bytes, spec: Architecture) -> GlobalState:
    """Read a global checkpoint; raises PeerFault."""
    (round_, _), tensors = _read(data, "global", [_expected(spec, kind) for kind in _GLOBAL])
    return _global(tensors, spec, round_)


def encode_window(state: WindowState) -> bytes:
    """A window state."""
    return b"".join(window_file(state))


def window_file(state: WindowState) -> Parts:
    """A window state as it is written."""
    match state:
        case Start(state=start, moments=moments, error=error):
            kept = {} if moments is None else moments.named(start.spec)
            steps = 0 if moments is None else moments.steps
            if error is not None:
                kept |= unflatten("error", error, shapes(start.spec))
            return _file("start", (start.round, steps), start.named() | kept)
        case Later(spec=spec, parameters=parameters, moments=moments):
            tensors = unflatten("parameters", parameters, shapes(spec)) | moments.named(spec)
            return _file("later", (0, moments.steps), tensors)


def decode_start(data: bytes, spec: Architecture) -> Start:
    """Read the state of window 0; raises PeerFault."""
    (round_, steps), tensors = _read(data, "start", [_expected(spec, kind) for kind in _START])
    moments = _moments(tensors, spec, (FIRST, SECOND), steps) if _has(tensors, FIRST) else None
    error = _integers(tensors, "error/", spec) if _has(tensors, "error") else None
    return Start(_global(tensors, spec, round_), moments, error)


def decode_later(data: bytes, spec: Architecture) -> Later:
    """Read the state of a window after 0; raises PeerFault."""
    (_, steps), tensors = _read(data, "later", [_expected(spec, kind) for kind in _LATER])
    moments = _moments(tensors, spec, (FIRST, SECOND), steps)
    return Later(spec, _floats(tensors, "parameters/", spec), moments)


def encode_model(spec: Architecture, parameters: Tensor) -> bytes:
    """(P,) float32 -> a model file, with the names that torch gives the tensors."""
    named = unflatten("", parameters, shapes(spec))
    tensors = {name.removeprefix("/"): part for name, part in named.items()}
    return b"".join(_file("model", (0, 0), tensors))


def decode_model(data: bytes, spec: Architecture) -> Tensor:
    """Read a model file, whoever wrote it: (P,) float32; raises PeerFault."""
    expected = {name: ("F32", shape) for name, shape in shapes(spec).items()}
    _header(data, [expected])
    return _floats(_load(data), "", spec)


_Layout = dict[str, tuple[str, tuple[int, ...]]]  # name -> type as safetensors spells it, shape


def _expected(spec: Architecture, families: dict[str, torch.dtype]) -> _Layout:
    return {
        f"{family}/{name}": (TYPE_NAMES[dtype], shape)
        for family, dtype in families.items()
        for name, shape in shapes(spec).items()
    }


def _file(kind: str, numbers: tuple[int, int], tensors: Tensors) -> Parts:
    text = json.dumps({"kind": kind, "round": numbers[0], "steps": numbers[1]})
    return tensor_file(text, tensors)


def _read(data: bytes, kind: str, layouts: list[_Layout]) -> tuple[tuple[int, int], Tensors]:
    """Numbers (round, steps) and tensors of a file of that kind in one of these layouts."""
    metadata = _header(data, layouts)
    try:
        entry = json.loads(str(metadata["dpin"]))
        found, numbers = entry["kind"], (entry["round"], entry["steps"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise PeerFault("corrupt checkpoint: its metadata cannot be read") from None
    if found != kind:
        raise PeerFault(f"corrupt checkpoint: a {found!s:.20} file where a {kind} file is due")
    if not all(type(number) is int and 0 <= number <= COUNT_MAX for number in numbers):
        raise PeerFault("corrupt checkpoint: its round or step count is out of range")
    return numbers, _load(data)


def _header(data: bytes, layouts: list[_Layout]) -> dict[str, object]:
    """The metadata of a file whose tensors are those of one of the layouts."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if length > min(HEADER_BYTES_MAX, len(data) - LENGTH_BYTES):
        raise PeerFault("corrupt checkpoint: its header is longer than the file or the limit")
    try:
        header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
        metadata = dict(header.pop("__metadata__", {}))
        found = {name: (part["dtype"], tuple(part["shape"])) for name, part in header.items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise PeerFault("corrupt checkpoint: its header cannot be read") from None
    if found not in layouts:
        raise PeerFault("corrupt checkpoint: its tensors are not those of the model")
    return metadata


def _load(data: bytes) -> Tensors:
    try:
        return load(data)
    except SafetensorError as error:
        raise PeerFault(f"corrupt checkpoint: {error}") from None


def _global(tensors: Tensors, spec: Architecture, round_: int) -> GlobalState:
    momentum = _integers(tensors, "momentum/", spec) if _has(tensors, "momentum") else None
    means = None
    if _has(tensors, OUTER_FIRST):
        held = _moments(tensors, spec, (OUTER_FIRST, OUTER_SECOND), 0)
        means = Means(held.first, held.second)
    parameters = _integers(tensors, "parameters/", spec)
    return GlobalState(spec, Round(round_), parameters, momentum, means)


def _has(tensors: Tensors, family: str) -> bool:
    return any(name.startswith(family + "/") for name in tensors)


def _moments(tensors: Tensors, spec: Architecture, names: tuple[str, str], steps: int) -> Moments:
    first, second = (_floats(tensors, name + "/", spec) for name in names)
    if bool((second < 0).any()):
        raise PeerFault("corrupt checkpoint: a mean of squares is negative")
    return Moments(first, second, steps)


def _flat(tensors: Tensors, prefix: str, spec: Architecture) -> Tensor:
    return torch.cat([tensors[prefix + name].reshape(-1) for name in shapes(spec)])


def _integers(tensors: Tensors, prefix: str, spec: Architecture) -> Tensor:
    flat = _flat(tensors, prefix, spec)
    if bool(((flat < -UNITS_MAX) | (flat > UNITS_MAX)).any()):
        raise PeerFault("corrupt checkpoint: a parameter is out of range")
    return flat


def _floats(tensors: Tensors, prefix: str, spec: Architecture) -> Tensor:
    flat = _flat(tensors, prefix, spec)
    if not bool(flat.isfinite().all()):
        raise PeerFault("corrupt checkpoint: a number is not finite")
    return flat

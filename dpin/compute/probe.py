"""Which devices can run work, and the numeric class of results made on the chosen one.

Two nodes check each other exactly only inside one fingerprint. It names the build, the device and
the instruction set, and holds the digest of a small fixed computation: kernels that round otherwise
give another one, whatever they call themselves.
"""

import platform
import sys
from hashlib import sha256
from importlib import metadata, resources
from typing import Final

import psutil
import torch
from torch.nn import functional

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.errors import Unavailable
from dpin.base.ids import Digest
from dpin.compute.engine import ONE_PROCESS, Engine
from dpin.compute.noise import noise
from dpin.compute.precision import EXACT, Precision, precision_of
from dpin.compute.task import FINGERPRINT_TAG, Device, Probed
from dpin.compute.tensors import tensor_bytes

MODEL_LIBRARIES: Final = ("transformers", "peft")  # they decide which operations a model is made of
CODE_TAG: Final = "dpin/code/v1"
PACKAGES: Final = ("dpin.compute", "dpin.compute.aggregation", "dpin.compute.secagg")
BATCH_RULE: Final = "whole batch, one stream"
PROBE_SHAPES: Final = ((64, 64, 96), (512, 128, 384), (512, 512, 128))


def settle() -> None:
    """Make torch compute the same bits every time; before anything else, once a process."""
    if sys.byteorder != "little":
        raise Unavailable("this machine is big-endian; states are defined little-endian")
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # Means use_deterministic_algorithms(True), which would import the compiler: seconds a process.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory before it is written, so none need be filled first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def found_devices() -> tuple[tuple[Device, ...], str]:
    """Devices that really multiply, best first; and why the first is the CPU, where it is."""
    devices: list[Device] = []
    reasons: list[str] = []
    if not torch.cuda.is_available():
        reasons.append("no CUDA device" if torch.version.cuda else "this torch has no CUDA")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = Device(
            torch.cuda.get_device_name(index),
            "cuda",
            torch.cuda.get_device_properties(index).total_memory,
        )
        _keep_if_working(device, f"cuda:{index}", devices, reasons)
    if torch.backends.mps.is_available():
        device = Device("Apple GPU", "mps", psutil.virtual_memory().total)
        _keep_if_working(device, "mps", devices, reasons)
    name = f"{platform.machine()} CPU"
    devices.append(Device(name, "cpu", psutil.virtual_memory().total))
    return tuple(devices), "" if len(devices) > 1 else "; ".join(reasons)


def _keep_if_working(device: Device, where: str, devices: list[Device], reasons: list[str]) -> None:
    try:
        same = torch.equal(_product(where), _product("cpu"))
    except RuntimeError as error:
        reasons.append(f"{device.name}: {str(error).splitlines()[0]}")
        return
    if same:
        devices.append(device)
    else:
        reasons.append(f"{device.name}: its product of small integers is wrong")


def _product(where: str) -> torch.Tensor:
    """A product of small integers, exact in float32 on any device that works."""
    left = torch.arange(64.0, device=where).reshape(8, 8)
    return (left @ left.T).cpu()


def torch_name(device: Device) -> str:
    """What torch calls the device; the first of its kind."""
    return device.kind


def computed_digest(where: str) -> str:
    """Digest of a fixed float32 computation: products, GELU, softmax, norms, sums and roots."""
    total = sha256()
    for index, (rows, inner, columns) in enumerate(PROBE_SHAPES):
        left, right = (
            _uniform((index, side), shape).to(where)
            for side, shape in enumerate(((rows, inner), (inner, columns)))
        )
        mixed = functional.gelu(left @ right, approximate="tanh")
        for part in (
            mixed,
            mixed.softmax(1),
            functional.layer_norm(mixed, (columns,)),
            mixed.norm(),
        ):
            total.update(tensor_bytes(part.cpu()))
        total.update(tensor_bytes((left.T @ mixed).square().sqrt().cpu()))
    return total.hexdigest()


def _uniform(draw: tuple[int, int], shape: tuple[int, int]) -> torch.Tensor:
    """Numbers in [-1, 1) hashed from `draw`."""
    data = bytearray(noise(("probe", *draw), shape[0] * shape[1]))
    return (torch.frombuffer(data, dtype=torch.uint8).float() / 128 - 1).reshape(shape)


def _version(library: str) -> str:
    """What is installed, without importing it."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "none"


def fingerprint_text(device: Device, precision: Precision = EXACT) -> str:
    """The numeric class, a line a fact."""
    facts = {
        "torch": torch.__version__,
        **{name: _version(name) for name in MODEL_LIBRARIES},
        "device": device.name if device.kind != "cpu" else "cpu",
        "system": f"{platform.system()} {platform.machine()}",
        "isa": torch.backends.cpu.get_cpu_capability(),
        **precision.facts(),
        "threads": str(torch.get_num_threads()),
        "batch": BATCH_RULE,
        "computed": computed_digest(torch_name(device)),
    }
    return "".join(f"{name}: {fact}\n" for name, fact in facts.items())


def fingerprint(text: str) -> Digest:
    """The numeric class as manifests name it."""
    return digest(FINGERPRINT_TAG, text.encode())


def probe(engine: Engine = ONE_PROCESS) -> Probed:
    """All of it."""
    devices, reason = found_devices()
    precision = precision_of(engine, devices[0].kind)
    text = fingerprint_text(devices[0], precision)
    group = f"{engine.world} processes, {engine.topology}" if engine.world > 1 else ""
    reasons = "; ".join(part for part in (reason, precision.reason, group) if part)
    return Probed(devices, fingerprint(text), text, reasons, code_digest())


def code_digest() -> Digest:
    """Of the sources that training and merging run, in name order; a lineage names it."""
    sources = [
        (f"{package}/{part.name}".encode(), part.read_bytes())
        for package in PACKAGES
        for part in resources.files(package).iterdir()
        if part.name.endswith(".py")
    ]
    return digest(CODE_TAG, encode(sorted(sources)))

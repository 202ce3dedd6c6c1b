"""The part of an engine that decides bits, and what saves memory without touching them.

Automatic mixed precision: Micikevicius et al. 2018, with bfloat16, whose range needs no scaling of
the loss; parameters, gradients and AdamW stay in float32. Activation checkpointing: Chen et al.
2016. The compiler is torch's own, where there is one for C++ or for the GPU.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import metadata
from typing import Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dpin.compute.engine import Engine

SHAPES_MAX: Final = 1_024  # for which one process has kernels made

Loss = Callable[[Tensor], Tensor]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Precision:
    """What decides bits, beside the device: whether products are in bfloat16, and who compiles."""

    bf16: bool = False
    compiler: str = ""  # empty: torch's own kernels, one after the other
    reason: str = ""  # why nothing is compiled although it was asked for

    def facts(self) -> dict[str, str]:
        """Lines of the fingerprint's text."""
        dtype = "bfloat16 products, float32 parameters" if self.bf16 else "float32"
        return {"dtype": dtype} | ({"compile": self.compiler} if self.compiler else {})


EXACT: Final = Precision()


@lru_cache(maxsize=4)
def precision_of(engine: Engine, kind: str) -> Precision:
    """What an engine comes to on a device of this kind; tries the compiler where one is asked for.

    A compiler that fails is no error: kernels are then torch's own, and the reason is kept.
    """
    if not engine.torch_compile:
        return Precision(engine.bf16)
    try:
        _keep_to_static_shapes()
        torch.compile(_trial, dynamic=False)(torch.ones(8, 8, device=kind))
        compiler = _compiler(kind)
    except Exception as error:  # noqa: BLE001  # Any of a compiler's many ways to fail.
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        return Precision(engine.bf16, "", f"nothing is compiled: {said}")
    return Precision(engine.bf16, compiler)


def _keep_to_static_shapes() -> None:
    """A kernel depends on its own shapes alone, not on those that this process met before.

    Past its limit of shapes torch would go on without the compiler, and with other bits: it raises.
    """
    from torch._dynamo import config

    config.recompile_limit = SHAPES_MAX
    config.fail_on_recompile_limit_hit = True


def _trial(numbers: Tensor) -> Tensor:
    return functional.gelu(numbers @ numbers, approximate="tanh").softmax(1)


def _compiler(kind: str) -> str:
    """What turns operations into kernels, with its version."""
    if kind == "cuda":
        return f"inductor, triton {metadata.version('triton')}"
    from torch._inductor.cpp_builder import get_compiler_version_info, get_cpp_compiler

    said = get_compiler_version_info(get_cpp_compiler())
    found = re.search(r"\b(?:gcc|clang) version \S+", said)
    return f"inductor, {found.group() if found else said}"


def equipped(module: nn.Module, loss: Loss, engine: Engine, device: str) -> Loss:
    """The loss of a module as the engine wants it computed."""
    if engine.gradient_checkpointing:
        _forget_activations(module)
    if precision_of(engine, device).compiler:
        module.compile(dynamic=False)
    return in_precision(loss, engine, device)


def in_precision(work: Callable[[Tensor], T], engine: Engine, device: str) -> Callable[[Tensor], T]:
    """Work on a batch, with products of the engine's precision."""
    if not precision_of(engine, device).bf16:
        return work

    def mixed(rows: Tensor) -> T:
        with torch.autocast(device, torch.bfloat16):
            return work(rows)

    return mixed


def _forget_activations(module: nn.Module) -> None:
    """Have each block of a stack compute its insides again when the gradient needs them.

    The operations are the same ones, and so are the bits.
    """
    for stack in [part for part in module.modules() if isinstance(part, nn.ModuleList)]:
        for block in stack:
            block.__dict__["forward"] = partial(checkpoint, block.forward, use_reentrant=False)

"""The process that runs somebody's own module, locked up before it sees a byte of the code.

`python -P -m dpin.compute.sandboxed MEMORY_BYTES SHARED_FD`. Questions come on stdin, answers go
to stdout, tensors lie in the shared memory behind the descriptor. It ends when stdin closes.
"""

import importlib.abc
import importlib.util
import mmap
import os
import sys
from types import ModuleType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from dpin.base.codec import decode
from dpin.base.errors import Misuse
from dpin.compute.confine import leave_network, lock_up
from dpin.compute.foreign import (
    Answer,
    Attach,
    Build,
    Built,
    Confined,
    Done,
    Places,
    Question,
    Score,
    Wrong,
    size_of,
)
from dpin.compute.frames import Unframer, framed
from dpin.compute.modulespec import TensorShape, check_layout
from dpin.compute.probe import settle

READ_BYTES: Final = 1 << 16
STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
NAME: Final = "job_module"
REASON_CHARS: Final = 500


class Source(importlib.abc.InspectLoader):
    """A module's source that came over the pipe."""

    def __init__(self, code: bytes) -> None:
        self._code = code

    @override
    def get_source(self, fullname: str) -> str:
        """See importlib.abc.InspectLoader."""
        del fullname
        return self._code.decode()


def imported(code: bytes) -> ModuleType:
    """The module, run."""
    loader = Source(code)
    spec = importlib.util.spec_from_loader(NAME, loader)
    assert spec is not None, "it has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module  # Dataclasses look their module up.
    loader.exec_module(module)
    return module


def mean_loss(module: nn.Module, rows: Tensor) -> Tensor:
    """`module.loss(rows)` where there is one; else of the logits for each next byte."""
    own = getattr(module, "loss", None)
    if callable(own):
        found = own(rows)
    else:
        logits = module(rows[:, :-1])
        found = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), rows[:, 1:].reshape(-1)
        )
    if not isinstance(found, Tensor) or found.numel() != 1:
        raise Misuse("the module's loss is not one number")
    return found.reshape(())


class Desk:
    """Answers questions about one module."""

    def __init__(self, shared: int) -> None:
        self._shared = shared
        self._module: nn.Module = nn.Identity()
        self._parameters: list[tuple[str, nn.Parameter]] = []
        self._places: Places | None = None

    def answer(self, question: Question) -> Answer:
        """Whatever goes wrong in the code is an answer too."""
        try:
            match question:
                case Build():
                    return self._build(question)
                case Attach():
                    return self._attach(question)
                case Score():
                    return self._score(question)
        except Exception as error:  # noqa: BLE001  # Anything that code can raise.
            said = " ".join(f"{type(error).__name__}: {error}".split())
            return Wrong(said[:REASON_CHARS])

    def _build(self, question: Build) -> Built:
        self._places = None
        torch.manual_seed(question.seed)
        entry = getattr(imported(question.code), question.entry, None)
        if not callable(entry):
            raise Misuse(f"the code has no function {question.entry}")
        module = entry()
        if not isinstance(module, nn.Module):
            raise Misuse(f"{question.entry}() gives no torch.nn.Module")
        self._module = module.eval()  # Nothing may draw random numbers or keep statistics.
        self._parameters = sorted(module.named_parameters())
        for name, part in self._parameters:
            if part.dtype != torch.float32 or not part.requires_grad:
                raise Misuse(f"{name} is not a float32 parameter that is trained")
        layout = tuple(TensorShape(name, tuple(part.shape)) for name, part in self._parameters)
        check_layout(layout)
        if not layout:
            raise Misuse("the module has no parameters")
        return Built(layout)

    def _attach(self, question: Attach) -> Done:
        length = size_of(question.parameters, question.rows)
        memory = memoryview(mmap.mmap(self._shared, length))
        self._places = places = Places(memory, question.parameters, question.rows)
        at = 0
        for _, part in self._parameters:
            end = at + part.numel()
            places.flat[at:end] = part.detach().reshape(-1)
            part.data = places.flat[at:end].view(part.shape)
            part.grad = places.gradient[at:end].view(part.shape)
            at = end
        return Done()

    def _score(self, question: Score) -> Done:
        places = self._places
        assert places is not None, "it was attached"
        rows = places.rows[: question.rows * question.width].reshape(question.rows, question.width)
        places.gradient.zero_()
        with torch.set_grad_enabled(question.gradient):
            loss = mean_loss(self._module, rows.clone())
            if question.gradient:
                torch.autograd.backward(loss)
        places.loss[0] = float(loss.detach())
        return Done()


def main() -> None:
    """Lock up, then answer until nobody asks."""
    memory_bytes, shared = map(int, sys.argv[1:])
    out = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)  # What the code prints is not an answer.
    alone = leave_network()
    settle()
    warm = torch.zeros(2, 2, requires_grad=True)
    torch.autograd.backward((warm @ warm).sum())  # Whatever is imported late is here now.
    lock_up(memory_bytes, os.getpid())
    os.write(out, framed(Confined("namespaces" if alone else "")))
    desk, unframer = Desk(shared), Unframer()
    while data := os.read(STDIN, READ_BYTES):
        for frame in unframer.feed(data):
            os.write(out, framed(desk.answer(decode(Question, frame))))


if __name__ == "__main__":
    main()

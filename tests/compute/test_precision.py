"""What an engine changes of the numbers, and what it does not."""

import os
import subprocess
import sys

import pytest
import torch

from dpin.compute.checkpoint import Start
from dpin.compute.course import Course
from dpin.compute.engine import ONE_PROCESS, Engine
from dpin.compute.examples import examples_of
from dpin.compute.models import Block, Past
from dpin.compute.precision import precision_of
from dpin.compute.probe import fingerprint_text, found_devices, settle
from dpin.compute.state import initial_state
from dpin.compute.train import Tools, Trainer, held_out
from tests.meta.documents import ROOT
from tests.support.training import CORPUS, TINY, TINY_INNER

TEXT = examples_of(TINY, [CORPUS])


def moved(engine: Engine, device: str = "cpu") -> torch.Tensor:
    """The parameters after three steps."""
    trainer = Trainer(TINY, Course(TINY_INNER, 40), device, tools=Tools(engine))
    trainer.load(Start(initial_state(TINY, b"seed"), None))
    for step in range(3):
        trainer.step(TEXT.batch((step,), 4), step)
    return trainer.snapshot().parameters


def test_activations_made_again_leave_every_bit_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    forward = Block.forward

    def noted(self: Block, stream: torch.Tensor, past: Past | None) -> tuple[torch.Tensor, Past]:
        ran.append(1)
        return forward(self, stream, past)

    monkeypatch.setattr(Block, "forward", noted)
    plain = moved(ONE_PROCESS)
    assert len(ran) == 3
    assert torch.equal(moved(Engine(gradient_checkpointing=True)), plain)
    assert len(ran) == 3 + 2 * 3


def test_bfloat16_makes_other_bits_the_same_each_time_and_another_class() -> None:
    mixed = Engine(bf16=True)
    found = moved(mixed)
    assert found.dtype == torch.float32
    assert not torch.equal(found, moved(ONE_PROCESS))
    assert torch.allclose(found, moved(ONE_PROCESS), atol=0.01)
    assert torch.equal(found, moved(mixed))
    device = found_devices()[0][0]
    text = fingerprint_text(device, precision_of(mixed, device.kind))
    assert "dtype: bfloat16 products, float32 parameters\n" in text
    assert text != fingerprint_text(device)


@pytest.mark.long
def test_where_nothing_compiles_the_kernels_are_torchs_own_and_the_reason_is_told() -> None:
    program = (
        "from dpin.compute.precision import precision_of\n"
        "from dpin.compute.engine import Engine\n"
        "found = precision_of(Engine(torch_compile=True), 'cpu')\n"
        "print(found.facts(), found.reason)\n"
    )
    environment = {**os.environ, "CXX": "/no/compiler", "PYTHONPATH": str(ROOT)}
    said = subprocess.run(  # noqa: S603  # A program of our own.
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.startswith("{'dtype': 'float32'} nothing is compiled: ")


@pytest.mark.long
def test_compiled_kernels_make_the_same_bits_whatever_was_computed_before() -> None:
    settle()
    compiled = Engine(torch_compile=True)
    precision = precision_of(compiled, "cpu")
    if precision.reason:
        pytest.skip(precision.reason)
    assert precision.compiler.startswith("inductor, ")
    first = moved(compiled)
    trainer = Trainer(TINY, Course(TINY_INNER, 40), "cpu", tools=Tools(compiled))
    trainer.mean_loss(held_out(TEXT))  # in batches of another size
    assert torch.equal(moved(compiled), first)
    assert torch.allclose(first, moved(ONE_PROCESS), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("engine", [Engine(gradient_checkpointing=True), Engine(bf16=True)])
def test_a_gpu_computes_the_same_each_time(engine: Engine) -> None:
    assert torch.equal(moved(engine, "cuda"), moved(engine, "cuda"))

"""Devices and the numeric class."""

import pytest
import torch

from dpin.compute.probe import computed_digest, fingerprint, found_devices, probe, settle
from dpin.compute.task import Device


def test_the_cpu_is_always_there_and_comes_last() -> None:
    devices, reason = found_devices()
    assert devices[-1].kind == "cpu"
    assert devices[-1].memory_bytes > 1 << 28
    assert bool(reason) == (len(devices) == 1)


def test_the_fingerprint_names_what_results_depend_on() -> None:
    settle()
    probed = probe()
    facts = dict(line.split(": ", 1) for line in probed.fingerprint_text.splitlines())
    assert facts["torch"] == torch.__version__
    assert facts["dtype"] == "float32"
    assert facts["threads"] == "1"
    assert facts.keys() == {
        "torch",
        "transformers",
        "peft",
        "device",
        "system",
        "isa",
        "dtype",
        "threads",
        "batch",
        "computed",
    }
    assert probed.fingerprint == fingerprint(probed.fingerprint_text)
    assert probed == probe()


def test_the_same_computation_has_the_same_digest() -> None:
    assert computed_digest("cpu") == computed_digest("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_that_works_is_found_and_computes_the_same_again() -> None:
    settle()
    devices, reason = found_devices()
    assert isinstance(devices[0], Device)
    assert devices[0].kind == "cuda"
    assert not reason
    assert computed_digest("cuda") == computed_digest("cuda")

"""How fast a core encodes and decodes updates: dpin's codecs beside the same in eager torch.

    python -m benchmarks.codecs [--millions 10] [--short]

Gigabytes of float32 parameters a second of one core's CPU time, one thread; each codec's result is
read back and compared.
"""

import argparse
import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from benchmarks.local import load, show
from dpin.compute import blocks, fused
from dpin.compute.presets import FEEDBACK_PPM
from dpin.compute.task import FP16, INT4, INT8, SPARSE, EncodingSpec
from dpin.compute.updates import decode_update, encode_update, written

SPECS: Final = (
    EncodingSpec(FP16),
    EncodingSpec(INT8),
    EncodingSpec(INT4),
    EncodingSpec(SPARSE, 64, FEEDBACK_PPM),
)
RUNS: Final = 3
MILLION: Final = 1_000_000


def seconds_of(work: Callable[[], object]) -> float:
    """The least CPU time of a few runs."""
    found = []
    for _ in range(RUNS):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return max(min(found), 1e-9)


def eager(vector: Tensor) -> tuple[Tensor, Tensor]:
    """int8 blocks of 256 with float scales, as everybody writes it in torch."""
    rows = vector[: len(vector) // 256 * 256].view(-1, 256)
    scales = rows.abs().amax(1, keepdim=True) / 127
    return (rows / scales).round_().to(torch.int8), scales


def speed(count: int, work: Callable[[], object]) -> str:
    """Float32 gigabytes of so many numbers a second."""
    return f"{4 * count / 1e9 / seconds_of(work):.2f} GB/s"


def rows_of(spec: EncodingSpec, movement: Tensor) -> list[tuple[str, str]]:
    """One encoding, there and back."""
    count = len(movement)
    update = written(spec, movement)
    data = encode_update(update)
    assert torch.equal(decode_update(data, spec, count).dense(), update.dense())
    return [
        (f"{spec.name}: quantise", speed(count, lambda: written(spec, movement))),
        (f"{spec.name}: to bytes", speed(count, lambda: encode_update(update))),
        (
            f"{spec.name}: from bytes to the movement",
            speed(count, lambda: decode_update(data, spec, count).dense()),
        ),
    ]


def main() -> None:
    """Measure, check, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--millions", type=int, default=10)
    parser.add_argument("--short", action="store_true", help="few numbers, for tests")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = 50_000 if options.short else options.millions * MILLION
    generator = torch.Generator().manual_seed(0)
    floats = torch.randn(count, generator=generator) * 0.01
    movement = (floats.double() * (1 << 30)).round().to(torch.int64)
    rows = [("load before", load())]
    rows.append(
        ("int8 in eager torch, float scales: quantise", speed(count, lambda: eager(floats)))
    )
    for spec in SPECS:
        rows += rows_of(spec, movement)
    made = blocks.quantise(movement, blocks.BYTE)
    total = torch.zeros(count, dtype=torch.int64)
    rows.append(
        (
            "int8: add to a sum",
            speed(count, lambda: fused.add(made.scales, made.values, (MILLION, 1), total)),
        )
    )
    show(f"Codecs, {count:,} numbers", rows)


if __name__ == "__main__":
    main()

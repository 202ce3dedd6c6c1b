"""Generation: the same bytes again for the same model, prompt and seed (inside a fingerprint).

Learned positions end at the context T, so the model sees the text from `visible_from(n)` on: when n
bytes no longer fit, half a context is dropped at once, and the cache is filled anew. B is 1 here.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from dpin.base.crypto import digest
from dpin.base.ids import Digest
from dpin.base.units import MILLION, ceil_div
from dpin.compute.limits import check_infer
from dpin.compute.models import GPT, Past
from dpin.compute.noise import words
from dpin.compute.task import OUTPUT_TAG, VOCABULARY, InferManifest

EMPTY_PROMPT: Final = b"\n"
WORD_BITS: Final = 64
FRACTION_BITS: Final = 52


def output_digest(data: bytes) -> Digest:
    """What a generation commits to."""
    return digest(OUTPUT_TAG, data)


def visible_from(length: int, context: int) -> int:
    """Where the text begins that the model sees when `length` bytes are known."""
    if length <= context:
        return 0
    half = max(1, context // 2)
    return ceil_div(length - context, half) * half


class CachedScores:
    """Scores of the next byte, with keys and values kept from call to call."""

    def __init__(self, model: GPT, device: str) -> None:
        self._model = model
        self._device = device
        self._start = self._end = 0
        self._pasts: list[Past] | None = None

    @torch.no_grad()
    def of(self, text: Sequence[int]) -> Tensor:
        """(256,) float32 on the CPU; `text` is that of the last call and one byte, or the first."""
        start = visible_from(len(text), self._model.context)
        if start != self._start:
            self._pasts = None
        fresh = text[start if self._pasts is None else self._end :]
        scores, self._pasts = self._model.extend(
            torch.tensor([fresh], device=self._device), self._pasts
        )
        self._start, self._end = start, len(text)
        return scores[0, -1].cpu()


def choose(scores: Tensor, temperature_ppm: int, draw: Sequence[object]) -> int:
    """The next byte: the likeliest, or at a temperature the likeliest after Gumbel noise.

    The noise is hashed from `draw`; adding it and taking the maximum samples the softmax exactly.
    """
    if temperature_ppm == 0:
        return int(scores.argmax())
    heat = temperature_ppm / MILLION
    noisy = [
        score / heat + gumbel for score, gumbel in zip(scores.tolist(), _gumbels(draw), strict=True)
    ]
    return max(range(VOCABULARY), key=noisy.__getitem__)


def _gumbels(draw: Sequence[object]) -> list[float]:
    """One standard Gumbel number per byte value, from uniform fractions strictly inside (0, 1)."""
    fractions = [
        ((word >> (WORD_BITS - FRACTION_BITS)) + 0.5) / (1 << FRACTION_BITS)
        for word in words(("gumbel", *draw), VOCABULARY)
    ]
    return [-math.log(-math.log(fraction)) for fraction in fractions]


def generate(model: GPT, manifest: InferManifest, device: str) -> Iterator[int]:
    """The bytes of a generation, one at a time; raises Misuse."""
    check_infer(manifest)
    text = list(manifest.prompt or EMPTY_PROMPT)
    cache = CachedScores(model, device)
    for index in range(manifest.tokens):
        byte = choose(cache.of(text), manifest.temperature_ppm, (manifest.seed, index))
        text.append(byte)
        yield byte

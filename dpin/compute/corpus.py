"""Cutting a corpus into what is trained on and what is held out."""

from itertools import pairwise
from typing import Final

from dpin.base.errors import Misuse
from dpin.base.units import MILLION

SHARDS_MAX: Final = 4096


def cut(
    corpus: bytes, shards: int, holdout_ppm: int, context: int
) -> tuple[tuple[bytes, ...], bytes]:
    """Shards equal to within a byte, and the held-out end; raises Misuse for too little text."""
    if not 1 <= shards <= SHARDS_MAX or not 0 < holdout_ppm < MILLION:
        raise Misuse(f"{shards} shards with {holdout_ppm} ppm held out cannot be cut")
    kept = len(corpus) * (MILLION - holdout_ppm) // MILLION
    if kept // shards <= context or len(corpus) - kept <= context:
        raise Misuse(
            f"{len(corpus)} bytes of text are too few for {shards} shards of context {context}",
            "give more text, fewer seats or a shorter context",
        )
    bounds = [kept * index // shards for index in range(shards + 1)]
    pieces = tuple(corpus[low:high] for low, high in pairwise(bounds))
    return pieces, corpus[kept:]

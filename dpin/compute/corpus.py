"""Cutting a corpus into what is trained on and what is held out."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from dpin.base.errors import Misuse
from dpin.base.units import MILLION
from dpin.compute.presets import DEMO_HOLDOUT_PPM

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


def cut_evenly(text: bytes, clients: int) -> list[bytes]:
    """One text as the texts of so many clients, each a run of it."""
    return [
        text[len(text) * at // clients : len(text) * (at + 1) // clients] for at in range(clients)
    ]


def check_clients(texts: Sequence[bytes], context: int) -> list[int]:
    """How many bytes of each client's text are trained on; raises Misuse where that is too few."""
    kept = [len(text) - len(text) * DEMO_HOLDOUT_PPM // MILLION for text in texts]
    held_out = sum(map(len, texts)) - sum(kept)
    if min(kept, default=0) <= context or held_out <= context:
        raise Misuse(
            f"a client's text must be longer than {context} bytes, and so must what is held out",
            fix="take fewer clients, or more text",
        )
    return kept

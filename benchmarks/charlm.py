"""The reference task of training by bytes: a character model on Python's own standard library.

The model, data, batches and first weights are those of the recorded reference runs (four layers,
width 128, context 64, 0.83 million parameters): synchronous data-parallel training at its untuned
settings ends at 1.886 nats here too. W workers are one computation: every parameter has a leading
dimension W.
"""

import sysconfig
from math import prod
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY: Final = 128
CONTEXT: Final = 64
WIDTH: Final = 128
LAYERS: Final = 4
HEADS: Final = 4
CORPUS_BYTES: Final = 6_000_000
TRAIN_SHARE: Final = 0.95
DEVIATION: Final = 0.02
EVALUATION_BATCHES: Final = 6
EVALUATION_BATCH: Final = 64
EVALUATION_SEED: Final = 9

Parameters = dict[str, Tensor]  # name -> (W, ...)

MATRICES: Final = ("q", "k", "v", "out", "wide", "narrow")  # of the blocks: (W, L, rows, columns)


def corpus() -> tuple[Tensor, Tensor]:
    """Training and validation characters, int64 below VOCABULARY."""
    data = bytearray()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        data += path.read_bytes()
        if len(data) > CORPUS_BYTES:
            break
    text = torch.frombuffer(data[:CORPUS_BYTES], dtype=torch.uint8).long()
    text = text.clamp_(max=VOCABULARY - 1)
    cut = int(len(text) * TRAIN_SHARE)
    return text[:cut], text[cut:]


def layout() -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of one worker."""
    square, norm = (LAYERS, WIDTH, WIDTH), (LAYERS, WIDTH)
    return {
        "embedding": (VOCABULARY, WIDTH),
        "positions": (CONTEXT, WIDTH),
        "q": square,
        "k": square,
        "v": square,
        "out": square,
        "wide": (LAYERS, 4 * WIDTH, WIDTH),
        "narrow": (LAYERS, WIDTH, 4 * WIDTH),
        "wide_bias": (LAYERS, 4 * WIDTH),
        "narrow_bias": norm,
        "norm1": norm,
        "norm1_bias": norm,
        "norm2": norm,
        "norm2_bias": norm,
        "norm": (WIDTH,),
        "norm_bias": (WIDTH,),
        "head": (VOCABULARY, WIDTH),
    }


def count() -> int:
    """Parameters of one worker: P."""
    return sum(prod(shape) for shape in layout().values())


def views(flat: Tensor) -> Parameters:
    """(W, P) cut into the parameters."""
    parts = torch.split(flat, [prod(shape) for shape in layout().values()], dim=1)
    return {
        name: part.view(len(flat), *shape)
        for (name, shape), part in zip(layout().items(), parts, strict=True)
    }


def first_weights(seed: int) -> Tensor:
    """(1, P) float32, drawn in the order in which the reference draws them."""
    torch.manual_seed(seed)
    flat = torch.zeros(1, count())
    held = views(flat)
    drawn = nn.ModuleList([nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)])
    for _ in range(LAYERS):
        drawn.append(nn.Linear(WIDTH, 3 * WIDTH, bias=False))
        drawn.append(nn.Linear(WIDTH, WIDTH, bias=False))
        drawn.append(nn.Linear(WIDTH, 4 * WIDTH))
        drawn.append(nn.Linear(4 * WIDTH, WIDTH))
    drawn.append(nn.Linear(WIDTH, VOCABULARY, bias=False))
    weights = [nn.init.normal_(part.weight, std=DEVIATION) for part in drawn.children()]  # type: ignore[arg-type]  # All have one.
    with torch.no_grad():
        for name, weight in zip(("embedding", "positions"), weights[:2], strict=True):
            held[name][0].copy_(weight)
        for layer in range(LAYERS):
            qkv, out, wide, narrow = weights[2 + 4 * layer : 6 + 4 * layer]
            for name, part in zip("qkv", qkv.chunk(3), strict=True):
                held[name][0, layer].copy_(part)
            held["out"][0, layer].copy_(out)
            held["wide"][0, layer].copy_(wide)
            held["narrow"][0, layer].copy_(narrow)
        held["head"][0].copy_(weights[-1])
    for name in ("norm1", "norm2", "norm"):
        held[name].fill_(1)
    return flat


def draw(text: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """(size, CONTEXT + 1) characters at random places."""
    starts = torch.randint(len(text) - CONTEXT - 1, (size,), generator=generator)
    return text[starts[:, None] + torch.arange(CONTEXT + 1)]


def loss(weights: Parameters, batch: Tensor) -> Tensor:
    """(W,) mean loss in nats per character on (W, B, CONTEXT + 1)."""
    workers, size, _ = batch.shape
    given, due = batch[:, :, :-1], batch[:, :, 1:]
    embedding = weights["embedding"]
    which = torch.arange(workers)[:, None, None]
    flow = embedding[which, given] + weights["positions"][:, None]
    flow = flow.reshape(workers, size * CONTEXT, WIDTH)
    for layer in range(LAYERS):
        flow = flow + _attention(weights, layer, _norm(weights, "norm1", flow, layer), size)
        flow = flow + _wide(weights, layer, _norm(weights, "norm2", flow, layer))
    flow = functional.layer_norm(flow, (WIDTH,))
    flow = flow * weights["norm"][:, None] + weights["norm_bias"][:, None]
    scores = flow @ weights["head"].transpose(1, 2)
    losses = functional.cross_entropy(
        scores.reshape(-1, VOCABULARY), due.reshape(-1), reduction="none"
    )
    return losses.view(workers, -1).mean(1)


def _norm(weights: Parameters, name: str, flow: Tensor, layer: int) -> Tensor:
    gain, bias = weights[name][:, layer], weights[name + "_bias"][:, layer]
    return functional.layer_norm(flow, (WIDTH,)) * gain[:, None] + bias[:, None]


def _attention(weights: Parameters, layer: int, flow: Tensor, size: int) -> Tensor:
    workers = len(flow)

    def heads(name: str) -> Tensor:
        made = flow @ weights[name][:, layer].transpose(1, 2)
        return made.view(workers * size, CONTEXT, HEADS, WIDTH // HEADS).transpose(1, 2)

    seen = functional.scaled_dot_product_attention(
        heads("q"), heads("k"), heads("v"), is_causal=True
    )
    seen = seen.transpose(1, 2).reshape(workers, size * CONTEXT, WIDTH)
    return seen @ weights["out"][:, layer].transpose(1, 2)


def _wide(weights: Parameters, layer: int, flow: Tensor) -> Tensor:
    wide = (
        flow @ weights["wide"][:, layer].transpose(1, 2) + weights["wide_bias"][:, layer][:, None]
    )
    narrow = functional.gelu(wide) @ weights["narrow"][:, layer].transpose(1, 2)
    return narrow + weights["narrow_bias"][:, layer][:, None]


@torch.no_grad()
def validation_loss(flat: Tensor, text: Tensor) -> float:
    """Mean loss of (1, P) parameters on fixed validation sequences."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    weights = views(flat)
    found = [
        float(loss(weights, draw(text, EVALUATION_BATCH, generator)[None]))
        for _ in range(EVALUATION_BATCHES)
    ]
    return sum(found) / len(found)

"""A byte-level GPT in plain torch: pre-norm blocks, learned positions, no biases, no dropout.

This file needs torch alone, and is copied as it stands beside every exported model, so that a
model loads without the network that trained it. In shape comments: B sequences, T bytes, P bytes
already in the cache, C channels (width), H heads, D = C / H.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

VOCABULARY = 256

Past = tuple[Tensor, Tensor]  # keys and values so far, each (B, H, P, D)


class Attention(nn.Module):
    """Causal self-attention over H heads."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width, bias=False)
        self.outward = nn.Linear(width, width, bias=False)

    @override
    def forward(self, stream: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """(B, T, C) -> (B, T, C), and the keys and values of all P + T bytes."""
        batch, length, width = stream.shape
        parts = self.inward(stream).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D) each
        if past is not None:
            key, value = torch.cat((past[0], key), 2), torch.cat((past[1], value), 2)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])  # (B, H, T, P + T)
        ahead = torch.ones(length, key.shape[2], dtype=torch.bool, device=stream.device)
        ahead = ahead.triu(1 + key.shape[2] - length)  # byte t sees the bytes up to itself
        weights = scores.masked_fill(ahead, -math.inf).softmax(3)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, width)
        return self.outward(mixed), (key, value)


class Block(nn.Module):
    """Attention, then a perceptron of four times the width, each added to the stream."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, bias=False)
        self.attention = Attention(heads, width)
        self.norm_perceptron = nn.LayerNorm(width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    @override
    def forward(self, stream: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """(B, T, C) -> (B, T, C), and what attention has to remember."""
        mixed, past = self.attention(self.norm_attention(stream), past)
        stream = stream + mixed
        wide = functional.gelu(self.widen(self.norm_perceptron(stream)), approximate="tanh")
        return stream + self.narrow(wide), past


class GPT(nn.Module):
    """Bytes in, scores of the next byte out."""

    def __init__(self, layers: int, heads: int, width: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.bytes = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(heads, width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def extend(self, text: Tensor, pasts: Sequence[Past] | None) -> tuple[Tensor, list[Past]]:
        """(B, T) bytes after P cached ones -> (B, T, 256) scores, and the cache of P + T bytes."""
        start = 0 if pasts is None else pasts[0][0].shape[2]
        stream = self.bytes(text) + self.positions.weight[start : start + text.shape[1]]
        kept: list[Past] = []
        for index, block in enumerate(self.blocks):
            stream, past = block(stream, None if pasts is None else pasts[index])
            kept.append(past)
        return self.head(self.norm(stream)), kept

    @override
    def forward(self, text: Tensor) -> Tensor:
        """(B, T) bytes as int64, T <= context -> (B, T, 256) scores (logits) of the byte after."""
        return self.extend(text, None)[0]

    @torch.no_grad()
    def generate(self, prompt: bytes, count: int) -> bytes:
        """The likeliest continuation of a prompt, byte by byte; simple, not fast."""
        text = list(prompt)
        for _ in range(count):
            scores = self(torch.tensor([text[-self.context :]]))
            text.append(int(scores[0, -1].argmax()))
        return bytes(text[len(prompt) :])

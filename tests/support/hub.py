"""Tiny models of transformers with random weights, and a tokenizer trained on the spot."""

import json
from pathlib import Path
from typing import Final

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from dpin.compute.hubspec import CAUSAL, HubSpec, LoraSpec, canonical_config
from tests.support.training import CORPUS

VOCABULARY: Final = 300
CONTEXT: Final = 16
LORA: Final = LoraSpec(r=2, lora_alpha=4, target_modules=("q_proj", "v_proj"))


def llama() -> transformers.PretrainedConfig:
    """A Llama of 30k parameters."""
    return transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def write_tokenizer(folder: Path, size: int = VOCABULARY) -> None:
    """A byte-level BPE of at most `size` tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS.decode()], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_model(
    folder: Path, config: transformers.PretrainedConfig | None = None, kind: str = "CausalLM"
) -> Path:
    """A directory as save_pretrained leaves it, with a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    model = getattr(transformers, f"AutoModelFor{kind}").from_config(config or llama())
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def spec_of(
    folder: Path,
    *,
    head: str = CAUSAL,
    context: int = CONTEXT,
    masked: bool = False,
    lora: LoraSpec | None = None,
) -> HubSpec:
    """The spec of a directory."""
    config = canonical_config((folder / "config.json").read_text())
    return HubSpec(head=head, config=config, context=context, masked=masked, lora=lora)


def write_chats(path: Path, count: int = 60) -> None:
    """One question and one answer a line."""
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"what is {number}?"},
                {"role": "assistant", "content": f"return {number * number}"},
            ]
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

"""Adapters beside classifiers: what is exported is what peft loads, and was trained."""

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers
from torch import Tensor, nn

from dpin.base.errors import Misuse
from dpin.compute import hubload, hubmodel
from dpin.compute.export import loader_of
from dpin.compute.hubspec import CAUSAL, PICTURE, SEQUENCE, HubSpec, LoraSpec, canonical_config
from dpin.compute.preparation import labelled
from dpin.compute.tensors import as_float
from tests.support.hub import LORA, llama, spec_of, write_model

SEED = bytes(32)
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = {**SMALL, "vocab_size": 300, "max_position_embeddings": 64, "pad_token_id": 0}
PICTURES = transformers.ViTConfig(**SMALL, image_size=8, patch_size=4, encoder_stride=4)
BERT_LORA = LoraSpec(r=2, lora_alpha=4, target_modules=("query", "value"))


def made(
    folder: Path, config: transformers.PretrainedConfig, kind: str, head: str, lora: LoraSpec
) -> HubSpec:
    """A base without a head for what it is tuned for: data of four classes, or text."""
    write_model(folder, config, kind)
    spec = spec_of(folder, head=head, context=0 if head == PICTURE else 16, lora=lora)
    return spec if head == CAUSAL else labelled(spec, ("a", "b", "c", "d"))


def trained(start: hubload.HubStart) -> Tensor:
    """Other parameters than it began with."""
    flat = as_float(start.parameters)
    return flat + torch.linspace(-0.1, 0.1, len(flat))


def written(folder: Path, spec: HubSpec, flat: Tensor, base: Path) -> Path:
    folder.mkdir()
    for name, data in hubload.model_files(spec, flat, str(base)):
        (folder / name).write_bytes(data)
    return folder


def loaded(out: Path, base: Path, spec: HubSpec) -> nn.Module:
    """As the README of an exported directory says."""
    said = loader_of(spec)
    if spec.head == CAUSAL:
        assert said == 'peft.AutoPeftModelForCausalLM.from_pretrained(".")'
        causal: nn.Module = peft.AutoPeftModelForCausalLM.from_pretrained(out)
        return causal
    if spec.head == SEQUENCE:
        assert said == (
            'peft.AutoPeftModelForSequenceClassification.from_pretrained(".", num_labels=4)'
        )
        loader = peft.AutoPeftModelForSequenceClassification
        classifier: nn.Module = loader.from_pretrained(out, num_labels=4)
        return classifier
    assert said == (
        "peft.PeftModel.from_pretrained(transformers.AutoModelForImageClassification"
        '.from_pretrained(peft.PeftConfig.from_pretrained(".").base_model_name_or_path, '
        'num_labels=4), ".")'
    )
    assert peft.PeftConfig.from_pretrained(out).base_model_name_or_path == str(base)
    plain = transformers.AutoModelForImageClassification.from_pretrained(base, num_labels=4)
    found: nn.Module = peft.PeftModel.from_pretrained(plain, out)
    return found


@pytest.mark.parametrize(
    ("config", "kind", "head", "lora"),
    [
        (llama(), "CausalLM", CAUSAL, LORA),
        (transformers.LlamaConfig(**TEXT, num_key_value_heads=1), "CausalLM", SEQUENCE, LORA),
        (transformers.BertConfig(**TEXT), "PreTraining", SEQUENCE, BERT_LORA),
        (transformers.RobertaConfig(**TEXT), "MaskedLM", SEQUENCE, BERT_LORA),  # A deeper head.
        (PICTURES, "MaskedImageModeling", PICTURE, LORA),
    ],
    ids=["causal", "score", "classifier", "deep-head", "pictures"],
)
def test_peft_loads_what_was_trained(
    tmp_path: Path, config: transformers.PretrainedConfig, kind: str, head: str, lora: LoraSpec
) -> None:
    base = tmp_path / "base"
    spec = made(base, config, kind, head, lora)
    flat = trained(hubload.start_of(spec, str(base), SEED))
    model = loaded(written(tmp_path / "out", spec, flat, base), base, spec)
    parts, at = dict(model.named_parameters()), 0
    for name, shape in hubmodel.layout(spec).items():
        count = int(torch.Size(shape).numel())
        assert torch.equal(parts[name].flatten(), flat[at : at + count]), name
        at += count


def test_an_adapter_stands_beside_nothing_that_its_base_lacks(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", transformers.BertConfig(**TEXT), "MaskedLM")
    spec = spec_of(base, head=SEQUENCE, lora=BERT_LORA)
    with pytest.raises(Misuse, match=r"lack bert\.pooler\.dense\.bias \(2 tensors") as refused:
        hubload.start_of(spec, str(base), SEED)
    assert refused.value.fix == "without adapters a pooler is made anew"
    assert hubload.start_of(spec_of(base, head=SEQUENCE), str(base), SEED).weights == b""


def test_what_a_base_lacks_is_drawn_from_the_seed_alone(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", transformers.RobertaConfig(**TEXT), "MaskedLM")
    spec, starts = spec_of(base, head=SEQUENCE, lora=BERT_LORA), []
    for number in (1, 2):
        torch.manual_seed(number)
        starts.append(hubload.start_of(spec, str(base), SEED))
    assert torch.equal(starts[0].parameters, starts[1].parameters)
    assert starts[0].weights == starts[1].weights


def test_a_head_for_other_classes_than_the_data_have_is_refused_in_words(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", transformers.BertConfig(**TEXT), "SequenceClassification")
    spec = labelled(spec_of(base, head=SEQUENCE), ("a", "b", "c", "d"))
    with pytest.raises(Misuse, match="as for another number of classes"):
        hubload.start_of(spec, str(base), SEED)


@pytest.mark.parametrize(
    "changed",
    [{"num_attention_heads": 0}, {"pad_token_id": 5_000}, {"num_hidden_layers": "two"}],
    ids=["arithmetic", "assertion", "strict"],
)
def test_a_config_that_no_model_has_is_refused_in_plain_words(changed: dict[str, object]) -> None:
    config = llama().to_dict() | changed
    text = canonical_config(json.dumps(config))
    with pytest.raises(Misuse, match="transformers cannot build"):
        hubmodel.layout(HubSpec(CAUSAL, text, 16, masked=False))

"""A model directory of `transformers`, read where a job is ordered and written where it ends.

A directory is data: config.json, safetensors, tokenizer.json. No code in it is run, no pickle is
read, nothing is fetched. What it lacks (the head of a classifier) and adapters start from a seed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from dpin.base.errors import Misuse
from dpin.compute.hubmodel import auto_class, config_of, layout, split, try_on, wrapped
from dpin.compute.hubspec import CAUSAL, PICTURE, SEQUENCE, HubSpec, saved_name
from dpin.compute.noise import noise
from dpin.compute.tensors import as_units

BYTE_MEAN: Final = 127.5
DEVIATION: Final = 0.02
UNIFORM: Final = 1.732  # of deviation one: from minus this to this
KEPT: Final = ".modules_to_save."  # in the names of what is trained whole beside adapters
ORIGINAL: Final = ".original_module."  # in the names of what these stand in for
CLASSES_SHOWN: Final = 8  # in one message
FINITE: Final = "take a checkpoint from before that happened"
COPY_AGAIN: Final = "save or copy it again: model.save_pretrained(folder)"
_ENDINGS: Final = {  # of the classes that such models are saved from
    CAUSAL: "ForCausalLM",
    SEQUENCE: "ForSequenceClassification",
    PICTURE: "ForImageClassification",
}
_TASK_NAMES: Final = {CAUSAL: "CAUSAL_LM", SEQUENCE: "SEQ_CLS", PICTURE: None}


@dataclass(frozen=True, slots=True, eq=False)
class HubStart:
    """Where a fine-tuning begins."""

    parameters: Tensor  # (P,) int64, what is trained, tensors in name order
    weights: bytes  # safetensors of what is not; empty where all is trained
    count: int  # parameters in all


def start_of(spec: HubSpec, folder: str, seed: bytes, shown: Tensor | None = None) -> HubStart:
    """Read a model directory; raises Misuse with what is wrong with it.

    `shown` are (B, W) examples that it must be able to score.
    """
    model, fresh = _read(spec, folder)
    model = wrapped(model, spec).eval()
    trained, frozen = split(model)
    if {name: tuple(part.shape) for name, part in trained.items()} != layout(spec):
        raise Misuse(f"{folder}: the model is not the one its config.json describes")
    unfit = [name for name, part in frozen.items() if not bool(part.isfinite().all())]
    if unfit:
        raise Misuse(f"{folder}: {_plain(unfit[0])} holds numbers that are not finite", FINITE)
    new = {name for name in trained if _plain(name) in fresh or ".lora_" in name}
    parts = []
    for name, part in trained.items():
        value = _drawn(name, part, seed) if name in new else part.detach()
        if not bool(value.isfinite().all()):
            raise Misuse(f"{folder}: {_plain(name)} holds numbers that are not finite", FINITE)
        parts.append(value.reshape(-1))
    if shown is not None:
        try_on(model, spec, shown)
    named = {name: _still(name, part) for name, part in frozen.items()}
    count = sum(part.numel() for part in (*trained.values(), *frozen.values()))
    return HubStart(as_units(torch.cat(parts)), save(named) if named else b"", count)


def _read(spec: HubSpec, folder: str) -> tuple[nn.Module, set[str]]:
    """The model, and the names of tensors that the directory lacks."""
    try:
        model, told = auto_class(spec.head).from_pretrained(  # type: ignore[attr-defined]
            folder,
            config=config_of(spec),
            attn_implementation="eager",
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        reason, fix = " ".join(str(error).split())[:300], COPY_AGAIN
        if "ignore_mismatched_sizes" in reason:
            reason = "it has tensors of other shapes, as for another number of classes"
            fix = _classes(spec)
        raise Misuse(f"{folder} cannot be read as a model: {reason}", fix) from None
    missing = set(told["missing_keys"])
    body = f"{model.base_model_prefix}."
    found = [name for name in missing if spec.head == CAUSAL or name.startswith(body)]
    lost = sorted(name for name in found if spec.lora is not None or "pooler" not in name)
    if lost:
        fix = "without adapters a pooler is made anew" if "pooler" in lost[0] else _other_task(spec)
        raise Misuse(f"{folder}: the weights lack {lost[0]} ({len(lost)} tensors in all)", fix)
    return model, missing


def _classes(spec: HubSpec) -> str:
    """What helps where the data have other classes than the model."""
    named = json.loads(spec.config).get("id2label") or {}
    shown = ", ".join(repr(label) for label in list(named.values())[:CLASSES_SHOWN])
    return (
        f"the data have {len(named)} classes ({shown}): name the model's in data.labels, or take "
        "a model without a head, which is made anew"
    )


def _other_task(spec: HubSpec) -> str:
    """What helps where the model was not saved for the task: the one that it was saved for."""
    said = [str(name) for name in json.loads(spec.config).get("architectures") or ()]
    fits = [task for task, ending in _ENDINGS.items() if said and said[0].endswith(ending)]
    if fits and fits[0] != spec.head:
        return f"it was saved as {said[0]}: task: {fits[0]}"
    was = f"it was saved as {said[0]}: " if said else ""
    return f"{was}take a model that was saved for task: {spec.head}, or copy this one again"


def _plain(name: str) -> str:
    """The name of a tensor before adapters were put around it."""
    return name.removeprefix("base_model.model.").replace(".modules_to_save.default.", ".")


def _still(name: str, part: Tensor) -> Tensor:
    """A tensor that is not trained; the head that another has replaced counts for nothing."""
    return torch.zeros_like(part) if ORIGINAL in name else part.detach().contiguous()


def _holder(name: str) -> str:
    """The module, as a config of adapters names it, that a tensor trained beside them is of."""
    return name.split(KEPT, maxsplit=1)[0].rpartition(".")[2]


def _drawn(name: str, part: Tensor, seed: bytes) -> Tensor:
    """A new tensor: adapters begin as nothing (B zero, A uniform), heads as in weights.py."""
    if "lora_B" in name or name.endswith("bias"):
        return torch.zeros_like(part)
    if part.ndim == 1:
        return torch.ones_like(part)
    data = bytearray(noise(("weights", seed, name), part.numel()))
    uniform = torch.frombuffer(data, dtype=torch.uint8).float().sub(BYTE_MEAN).div(BYTE_MEAN)
    width = isqrt(part.shape[1] * 10**12) / 10**6
    scale = 1 / width if "lora_A" in name else DEVIATION * UNIFORM
    return uniform.mul(scale).reshape(part.shape)


def model_files(spec: HubSpec, parameters: Tensor, base: str) -> Iterator[tuple[str, bytes]]:
    """(P,) float32 -> the files of a directory that transformers, or peft, loads."""
    shapes = layout(spec)
    parts = torch.split(parameters, [int(torch.Size(shape).numel()) for shape in shapes.values()])
    named = {
        saved_name(name): part.reshape(shape).contiguous()
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    data = save(named, {"format": "pt"})
    if spec.lora is None:
        yield "model.safetensors", data
        yield "config.json", _json(json.loads(spec.config))
        return
    yield "adapter_model.safetensors", data
    kept = sorted({_holder(name) for name in shapes if KEPT in name})
    yield (
        "adapter_config.json",
        _json(
            {
                "peft_type": "LORA",
                "task_type": _TASK_NAMES[spec.head],
                "base_model_name_or_path": base,
                "r": spec.lora.r,
                "lora_alpha": spec.lora.lora_alpha,
                "target_modules": list(spec.lora.target_modules),
                "lora_dropout": 0.0,
                "bias": "none",
                "modules_to_save": kept or None,
                "inference_mode": True,
            }
        ),
    )


def _json(values: object) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()

"""A `transformers` model as something that a trainer trains: built from values, never from code.

Only this file and `readers` import transformers and peft, which takes seconds: `hub` leads here,
and peft comes only for adapters.
Models run in evaluation mode, so that nothing draws random numbers, with plain attention.
"""

import json
from functools import lru_cache
from math import prod
from typing import Final

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from dpin.base.errors import Misuse, PeerFault
from dpin.compute.examples import IGNORED
from dpin.compute.hubspec import CAUSAL, PICTURE, SEQUENCE, HubSpec, LoraSpec, check_hub
from dpin.compute.limits import PARAMETERS_MAX

Shapes = dict[str, tuple[int, ...]]

_TASKS: Final = {CAUSAL: "CAUSAL_LM", SEQUENCE: "SEQ_CLS", PICTURE: None}
# What a config can make transformers raise, which checks few values itself.
UNBUILT: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
PIXEL_HALF: Final = 127.5  # pixels become -1..1
OTHERS: Final = "take a smaller max_length, another model, or another task for this one"
LEAVES_SHOWN: Final = 16  # modules in one message
MATRICES: Final = (nn.Linear, Conv1D)  # what adapters stand beside


def auto_class(head: str) -> type:
    """The transformers class that builds models of that end."""
    classes: dict[str, type] = {
        CAUSAL: transformers.AutoModelForCausalLM,
        SEQUENCE: transformers.AutoModelForSequenceClassification,
        PICTURE: transformers.AutoModelForImageClassification,
    }
    return classes[head]


def config_of(spec: HubSpec) -> transformers.PretrainedConfig:
    """The config as transformers reads it; raises Misuse for one that it does not know."""
    check_hub(spec)
    values = json.loads(spec.config)
    kind = values.pop("model_type")
    values.pop("transformers_version", None)
    try:
        return transformers.AutoConfig.for_model(kind, **values)
    except UNBUILT as error:
        raise Misuse(f"transformers cannot build a {kind!r}: {_in_one_line(error)}") from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def wrapped(model: nn.Module, spec: HubSpec) -> nn.Module:
    """With the adapters that the spec asks for; what is not trained is frozen."""
    if spec.lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    values: dict[str, object] = {
        "r": spec.lora.r,
        "lora_alpha": spec.lora.lora_alpha,
        "target_modules": list(spec.lora.target_modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "task_type": _TASKS[spec.head],
    }
    if spec.head == PICTURE:
        values["modules_to_save"] = ["classifier"]
    fix = _targets(model, spec.lora)
    try:
        made: nn.Module = get_peft_model(model, LoraConfig(**values))
    except ValueError as error:
        raise Misuse(f"the adapter does not fit the model: {_in_one_line(error)}", fix) from None
    return made


def _targets(model: nn.Module, lora: LoraSpec) -> str:
    """What can be written for target_modules; raises Misuse for a name that is no module's.

    peft passes over such a name where it finds one of the others.
    """
    parts = dict(model.named_modules())
    known = {name.rpartition(".")[2] for name, part in parts.items() if isinstance(part, MATRICES)}
    fix = f"method.target_modules: some of {', '.join(sorted(known)[:LEAVES_SHOWN])}"
    for wanted in lora.target_modules:
        if not any(name == wanted or name.endswith(f".{wanted}") for name in parts):
            raise Misuse(f"the adapter does not fit the model: it has no module {wanted!r}", fix)
    return fix


def build(spec: HubSpec) -> nn.Module:
    """A model whose weights mean nothing yet, adapters included; raises Misuse."""
    config = config_of(spec)
    try:
        model = auto_class(spec.head).from_config(  # type: ignore[attr-defined]
            config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False
        )
    except UNBUILT as error:
        raise Misuse(f"transformers cannot build the model: {_in_one_line(error)}") from None
    return wrapped(model, spec).eval()


@lru_cache(maxsize=8)
def _meta(spec: HubSpec) -> tuple[Shapes, Shapes]:
    """Shapes of what is trained and of what is not, without holding a single weight."""
    with torch.device("meta"):
        model = build(spec)
    trained, frozen = split(model)
    shapes = tuple(
        {name: tuple(part.shape) for name, part in parts.items()} for parts in (trained, frozen)
    )
    count = sum(prod(shape) for parts in shapes for shape in parts.values())
    if not shapes[0] or count > PARAMETERS_MAX:
        raise Misuse(f"a model of {count} parameters, {len(shapes[0])} tensors of them trained")
    return shapes[0], shapes[1]


def layout(spec: HubSpec) -> Shapes:
    """Name and shape of every trained tensor, in name order."""
    return _meta(spec)[0]


def frozen_layout(spec: HubSpec) -> Shapes:
    """Name and shape of every tensor that stays as it is, in name order."""
    return _meta(spec)[1]


def split(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is trained, and what is not but belongs to the weights; each in name order."""
    parameters = sorted(model.named_parameters())
    trained: dict[str, Tensor] = {name: part for name, part in parameters if part.requires_grad}
    frozen: dict[str, Tensor] = {name: part for name, part in parameters if not part.requires_grad}
    tied = dict(model.named_parameters(remove_duplicate=False))
    kept = (item for item in model.state_dict().items() if item[0] not in tied)
    frozen |= {name: part for name, part in kept if part.is_floating_point()}
    return trained, dict(sorted(frozen.items()))


def read_frozen(data: bytes, spec: HubSpec) -> dict[str, Tensor]:
    """The tensors of a `weights` file; raises PeerFault unless they are exactly those due."""
    try:
        found = load(data)
    except SafetensorError as error:
        raise PeerFault(f"corrupt weights: {error}") from None
    due = frozen_layout(spec)
    if {name: tuple(part.shape) for name, part in found.items()} != due:
        raise PeerFault("corrupt weights: the tensors are not those of the model")
    for name, part in found.items():
        if part.dtype != torch.float32 or not bool(part.isfinite().all()):
            raise PeerFault(f"corrupt weights: {name} is not of finite 32-bit floats")
    return found


def try_on(model: nn.Module, spec: HubSpec, rows: Tensor) -> None:
    """Raises Misuse where the model makes no finite loss of (B, W) examples."""
    try:
        with torch.no_grad():
            loss = loss_of(*scores_of(model, spec, rows))
    except UNBUILT as error:
        room = getattr(config_of(spec), "max_position_embeddings", None)
        if isinstance(room, int) and room < spec.context:
            raise Misuse(
                f"the model reads at most {room} tokens, and max_length is {spec.context}",
                f"max_length: {room}",
            ) from None
        raise Misuse(f"the model cannot read the data: {_in_one_line(error)}", OTHERS) from None
    if not bool(loss.isfinite()):
        raise Misuse("the model's loss on the data is not finite", OTHERS)


def scores_of(module: nn.Module, spec: HubSpec, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(B, W) examples -> (N, classes) logits and the (N,) classes due, IGNORED among them."""
    width = spec.context
    if spec.head == PICTURE:
        return module(pixel_values=_pictures(spec, rows)).logits, rows[:, -2] * 256 + rows[:, -1]
    if spec.head == SEQUENCE:
        mask = torch.arange(width, device=rows.device) < rows[:, width, None]
        logits = module(input_ids=rows[:, :width], attention_mask=mask.long()).logits
        return logits, rows[:, width + 1]
    if spec.masked:
        shown, due = rows[:, : width - 1], rows[:, width + 1 :]
    else:
        shown, due = rows[:, :-1], rows[:, 1:]
    logits = module(input_ids=shown, use_cache=False).logits
    return logits.reshape(-1, logits.shape[-1]), due.reshape(-1)


def _pictures(spec: HubSpec, rows: Tensor) -> Tensor:
    config = config_of(spec)
    side, channels = config.image_size, config.num_channels
    return rows[:, :-2].float().sub(PIXEL_HALF).div(PIXEL_HALF).view(-1, channels, side, side)


def loss_of(logits: Tensor, due: Tensor) -> Tensor:
    """Mean loss in nats of what counts."""
    return functional.cross_entropy(logits, due, ignore_index=IGNORED)


class HubNetwork:
    """See dpin.compute.networks.Network."""

    def __init__(self, spec: HubSpec, weights: bytes) -> None:
        """`weights` are the bytes of the spec's frozen tensors; empty where it has none."""
        self._spec = spec
        self.module = build(spec)
        _, frozen = split(self.module)
        found = read_frozen(weights, spec) if frozen else {}
        with torch.no_grad():
            for name, part in frozen.items():
                part.copy_(found[name])

    def scores(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See scores_of."""
        return scores_of(self.module, self._spec, rows)

    def loss(self, rows: Tensor) -> Tensor:
        """Mean loss in nats of what counts in (B, W) examples."""
        return loss_of(*self.scores(rows))

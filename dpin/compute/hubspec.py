"""Models of `transformers`, and what they are trained on, as manifests name them.

Nothing here loads anything: a node reads and checks these values; its worker builds from them.
"""

import json
import re
from typing import Final

from dpin.base.codec import Wire
from dpin.base.errors import Misuse
from dpin.base.ids import NO_BLOB, BlobId

CONFIG_CHARS_MAX: Final = 16 << 10
INTEGER_MAX: Final = 1 << 21  # of any number in a config: vocabularies are the largest
LAYERS_MAX: Final = 512
CONTEXT_MAX: Final = 1 << 15
RANK_MAX: Final = 1 << 10
TARGETS_MAX: Final = 64
LABELS_MAX: Final = 1 << 12
NAME_CHARS_MAX: Final = 200

CAUSAL: Final = "causal-lm"
SEQUENCE: Final = "sequence-classification"
PICTURE: Final = "image-classification"
HEADS: Final = (CAUSAL, SEQUENCE, PICTURE)

# What a config may not say: code from elsewhere, kernels from elsewhere, weights in other shapes.
FORBIDDEN: Final = frozenset({"auto_map", "custom_pipelines", "quantization_config"})
_TARGET: Final = re.compile(r"[A-Za-z0-9_.]{1,100}")


class LoraSpec(Wire, frozen=True):
    """Low-rank adapters beside frozen matrices; names as in `peft.LoraConfig`."""

    r: int
    lora_alpha: int
    target_modules: tuple[str, ...]


class HubSpec(Wire, frozen=True, tag=2):
    """A model rebuilt from its `config.json`.

    `weights` holds what is not trained (with `lora`, the whole base model), `tokenizer` the
    tokenizer.json where somebody else than the requester has to read text. NO_BLOB: not needed.
    """

    head: str  # one of HEADS
    config: str  # canonical JSON
    context: int  # tokens of a sequence; of pictures, 0
    masked: bool  # causal-lm: labels say which tokens count (chat), else all do
    lora: LoraSpec | None = None
    weights: BlobId = NO_BLOB
    tokenizer: BlobId = NO_BLOB


class DataFormat(Wire, frozen=True):
    """How files become examples.

    `kind`: "text" (running text), "chat" (JSONL of messages), "table" (CSV or Parquet),
    "images" (a folder a class), "tokens" (shards made before). Columns are of tables and JSONL.
    `labels` are the classes in order; empty: all that occur, sorted. `side` is the height and width
    of pictures for a module of somebody's own; 0: as the model takes them.
    """

    kind: str = "text"
    text: str = "text"
    label: str = "label"
    labels: tuple[str, ...] = ()
    side: int = 0


TEXT: Final = DataFormat()
DATASET_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,39}$"  # of a private dataset
KINDS: Final = ("text", "chat", "table", "images", "tokens")


def canonical_config(text: str) -> str:
    """A config.json in its one spelling; raises Misuse where it is none, or asks for code."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misuse(f"config.json cannot be read: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise Misuse("config.json names no model_type", "it must be that of a transformers model")
    said = sorted(FORBIDDEN & values.keys())
    if said:
        fix = "save the model as plain float safetensors, without code of its own"
        raise Misuse(f"config.json asks for {said[0]}, which nobody runs", fix)
    kept = {name: value for name, value in values.items() if not name.startswith("_")}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def saved_name(name: str) -> str:
    """The name that a trained tensor has in the file that peft or transformers loads."""
    return name.replace(".modules_to_save.default.", ".").replace(".default.", ".")


def check_hub(spec: HubSpec) -> None:
    """Raise Misuse where no such model can be, or none that a stranger should build."""
    if spec.head not in HEADS:
        raise Misuse(f"a model that ends in {spec.head!r}")
    if len(spec.config) > CONFIG_CHARS_MAX:
        raise Misuse(f"a config of more than {CONFIG_CHARS_MAX} characters")
    if canonical_config(spec.config) != spec.config:
        raise Misuse("a config that is not canonical JSON")
    if not (spec.context == 0 if spec.head == PICTURE else 1 < spec.context <= CONTEXT_MAX):
        raise Misuse(f"a context of {spec.context} tokens")
    if spec.masked and spec.head != CAUSAL:
        raise Misuse("only a language model has masked tokens")
    _check_numbers("", json.loads(spec.config))
    if spec.lora is not None:
        _check_lora(spec.lora)


def _check_numbers(name: str, value: object) -> None:
    """Sizes that would fill a machine before anybody could count the parameters."""
    match value:
        case dict():
            for key, part in value.items():
                _check_numbers(str(key), part)
        case list():
            for part in value:
                _check_numbers(name, part)
        case int() if not isinstance(value, bool):
            most = LAYERS_MAX if "layer" in name else INTEGER_MAX
            if not -most <= value <= most:
                raise Misuse(f"a config with {name} of {value}, at most {most} is built")
        case _:
            pass


def _check_lora(lora: LoraSpec) -> None:
    if not 1 <= lora.r <= RANK_MAX or not 1 <= lora.lora_alpha <= RANK_MAX:
        raise Misuse(f"an adapter of rank {lora.r} and alpha {lora.lora_alpha}")
    targets = lora.target_modules
    if not 1 <= len(targets) <= TARGETS_MAX or not all(_TARGET.fullmatch(one) for one in targets):
        raise Misuse("an adapter needs 1 to 64 target_modules, each a module's name")


class PrivateSpec(Wire, frozen=True):
    """A dataset that each provider holds for itself, under one name."""

    name: str
    format: DataFormat


class PrivatePlace(Wire, frozen=True):
    """Where a private dataset lies on its owner's machine."""

    path: str
    suffixes: tuple[str, ...]
    bytes_max: int


def check_private(private: PrivateSpec) -> None:
    """Raise Misuse for a name or a format that nobody declares."""
    if not re.fullmatch(DATASET_NAME, private.name):
        raise Misuse(f"no dataset is called {private.name!r}")
    check_format(private.format)


def check_format(data: DataFormat) -> None:
    """Raise Misuse for a format that nobody reads."""
    if data.kind not in KINDS:
        raise Misuse(f"there is no data format {data.kind!r}", f"one of {', '.join(KINDS)}")
    names = (data.text, data.label, *data.labels)
    if len(names) > LABELS_MAX or any(len(name) > NAME_CHARS_MAX for name in names):
        raise Misuse("too many labels, or names that are too long")

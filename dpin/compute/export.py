"""A model directory: files that load in plain torch, without dpin."""

import inspect
import json
from contextlib import suppress
from typing import Final

from torch import Tensor

from dpin.base.errors import Misuse
from dpin.base.ids import Digest
from dpin.compute import hub, models
from dpin.compute.checkpoint import encode_model, float_root
from dpin.compute.door import Files
from dpin.compute.hubspec import CAUSAL, PICTURE, SEQUENCE, HubSpec, saved_name
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.state import GlobalState, unflatten
from dpin.compute.task import VOCABULARY, Architecture, ModelSpec
from dpin.compute.tensors import as_float, tensors_root
from dpin.compute.weights import shapes

ARCHITECTURE: Final = "dpin-byte-gpt-1"
MODEL_FILE: Final = "model.safetensors"
LINEAGE_FILE: Final = "lineage.json"

README: Final = """\
# A byte-level model, trained on a dpin network

| file | what it holds |
|---|---|
| `model.safetensors` | the weights, float32 |
| `config.json` | sizes of the model, and the digest of its weights |
| `model.py` | the model in plain torch: it needs nothing else |
| `provenance.json` | the job that made it |
| `lineage.json` | the same, round by round, signed: `dpin lineage .` draws and verifies it |

Load it with torch and safetensors alone, in this folder:

```python
import json

from safetensors.torch import load_file

from model import GPT

with open("config.json") as file:
    model = GPT(**json.load(file)["model"])
model.load_state_dict(load_file("model.safetensors"))
print(model.generate(b"def ", 100).decode(errors="replace"))
```
"""

HUB_README: Final = """\
# Trained on a dpin network

`{files}` are in the formats of transformers and peft; load this folder with

```python
{loader}
```

`provenance.json` is the record of the job that made it, `lineage.json` the
same, round by round, signed: `dpin lineage .` draws and verifies it.
"""
_MODEL: Final = "transformers.AutoModelFor{kind}.from_pretrained({where})"
_KINDS: Final = {
    CAUSAL: "CausalLM",
    SEQUENCE: "SequenceClassification",
    PICTURE: "ImageClassification",
}
CODE_FILE: Final = "module.py"
OWN_README: Final = """\
# A module of your own, trained on a dpin network

| file | what it holds |
|---|---|
| `model.safetensors` | the weights, float32 |
| `{code}` | the code, as it was run |
| `provenance.json` | the job that made it |
| `lineage.json` | the same, round by round, signed: `dpin lineage .` draws and verifies it |

```python
from safetensors.torch import load_file

from module import {entry}

model = {entry}().eval()
model.load_state_dict(load_file("model.safetensors"), strict=False)  # constants are the code's
```
"""
# Of a model's directory, what is neither weights nor made anew.
COPIED: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
)


def exported_root(spec: Architecture, parameters: Tensor) -> Digest:
    """Over the tensors of the file that (P,) float32 parameters become; a lineage signs it."""
    named = unflatten("parameters", parameters, shapes(spec))
    if isinstance(spec, HubSpec):
        named = {saved_name(name): part for name, part in named.items()}
    return tensors_root(named)


def model_directory(state: GlobalState, provenance: str, base: str = "") -> dict[str, bytes]:
    """File name -> content; raises Misuse unless `provenance` is JSON.

    A model of transformers becomes a directory that transformers loads; an adapter, one for peft.
    """
    try:
        json.loads(provenance)
    except ValueError:
        raise Misuse("the provenance record is not JSON") from None
    if isinstance(state.spec, ModuleSpec):
        return _own_directory(state, state.spec, provenance)
    if not isinstance(state.spec, ModelSpec):
        return _hub_directory(state, state.spec, provenance, base)
    parameters = as_float(state.parameters)
    config = {
        "architecture": ARCHITECTURE,
        "model": {
            "layers": state.spec.layers,
            "heads": state.spec.heads,
            "width": state.spec.width,
            "context": state.spec.context,
        },
        "vocabulary": VOCABULARY,
        "state_hash": float_root(state.spec, parameters).hex(),
    }
    return {
        MODEL_FILE: encode_model(state.spec, parameters),
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        "model.py": inspect.getsource(models).encode(),
        "provenance.json": provenance.encode(),
        "README.md": README.encode(),
    }


def _hub_directory(
    state: GlobalState, spec: HubSpec, provenance: str, base: str
) -> dict[str, bytes]:
    files = dict(hub.model_files(spec, as_float(state.parameters), base))
    loader = loader_of(spec)
    return {
        **files,
        "provenance.json": provenance.encode(),
        "README.md": HUB_README.format(files="`, `".join(sorted(files)), loader=loader).encode(),
    }


def loader_of(spec: HubSpec) -> str:
    """The Python expression that loads an exported directory, in that directory.

    An adapter's base may have another number of classes; and peft has no class for pictures.
    """
    kind = _KINDS[spec.head]
    if spec.lora is None:
        return _MODEL.format(kind=kind, where='"."')
    labels = json.loads(spec.config).get("id2label", {})
    classes = f", num_labels={len(labels)}" if labels and spec.head != CAUSAL else ""
    if spec.head != PICTURE:
        return f'peft.AutoPeftModelFor{kind}.from_pretrained("."{classes})'
    base = 'peft.PeftConfig.from_pretrained(".").base_model_name_or_path'
    model = _MODEL.format(kind=kind, where=f"{base}{classes}")
    return f'peft.PeftModel.from_pretrained({model}, ".")'


def _own_directory(state: GlobalState, spec: ModuleSpec, provenance: str) -> dict[str, bytes]:
    return {
        MODEL_FILE: encode_model(spec, as_float(state.parameters)),
        "provenance.json": provenance.encode(),
        "README.md": OWN_README.format(entry=spec.entry, code=CODE_FILE).encode(),
    }


def copied_files(files: Files, spec: Architecture, base: str) -> dict[str, bytes]:
    """What belongs to a model of transformers beside its weights, from where it came."""
    found: dict[str, bytes] = {}
    for name in COPIED if isinstance(spec, HubSpec) and base else ():
        with suppress(OSError):
            found[name] = files.read(f"{base}/{name}")
    return found

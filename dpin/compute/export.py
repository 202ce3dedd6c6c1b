"""A model directory: files that load in plain torch, without dpin."""

import inspect
import json
from typing import Final

from dpin.base.errors import Misuse
from dpin.compute import models
from dpin.compute.checkpoint import encode_model, float_root
from dpin.compute.state import GlobalState
from dpin.compute.task import VOCABULARY
from dpin.compute.tensors import as_float

ARCHITECTURE: Final = "dpin-byte-gpt-1"
MODEL_FILE: Final = "model.safetensors"

README: Final = """\
# A byte-level model, trained on a dpin network

| file | what it holds |
|---|---|
| `model.safetensors` | the weights, float32 |
| `config.json` | sizes of the model, and the digest of its weights |
| `model.py` | the model in plain torch: it needs nothing else |
| `provenance.json` | the job that made it |

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


def model_directory(state: GlobalState, provenance: str) -> dict[str, bytes]:
    """File name -> content; raises Misuse unless `provenance` is JSON."""
    try:
        json.loads(provenance)
    except ValueError:
        raise Misuse("the provenance record is not JSON") from None
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

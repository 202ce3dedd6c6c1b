"""The most bytes that the files of a job may have: nobody fetches more than could be of use.

P, the number of parameters, follows from the spec of the built-in model and of a module; a model of
`transformers` has to be built before anybody can count. So what comes after the first state of a
job is bounded by that file's length: P numbers of 8 bytes are in it, and a header.
"""

from math import prod
from typing import Final, assert_never

from dpin.base.blob import BLOB_BYTES_MAX
from dpin.base.codec import MESSAGE_BYTES_MAX
from dpin.compute.hubspec import HubSpec
from dpin.compute.limits import check_model
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import Architecture, ModelSpec, TrainManifest
from dpin.compute.tuning import update_size

HEADER_BYTES_MAX: Final = 1 << 24  # of a safetensors file, by its format's own count
LENGTH_BYTES: Final = 8  # before it
TOKENIZER_BYTES_MAX: Final = 1 << 27
SPARE_BYTES: Final = 64 << 10  # an update's header; and a tally, which knows no parameters
INTEGER: Final = 8  # bytes of a parameter: a global state's
FLOAT: Final = 4  # a model's
CHECKPOINT: Final = 2 * INTEGER  # and the outer step's momentum or moments
WINDOW_STATE: Final = 4 * INTEGER  # and the inner step's two, and what updates left over


def builtin_parameters(model: ModelSpec) -> int:
    """Parameters of the built-in GPT: embeddings, blocks, and the last norm."""
    width = model.width
    block = 12 * width * width + 13 * width
    return (256 + model.context) * width + model.layers * block + 2 * width + 256 * width


def first_state_bytes_max(model: Architecture) -> int:
    """Of the checkpoint that a job begins with; raises Misuse where no such model can be."""
    check_model(model)
    match model:
        case ModelSpec():
            return _file(INTEGER * builtin_parameters(model))
        case ModuleSpec(layout=layout):
            return _file(INTEGER * sum(prod(part.shape) for part in layout))
        case HubSpec():
            return BLOB_BYTES_MAX
        case _:
            assert_never(model)


def model_bytes_max(model: ModelSpec) -> int:
    """Of the file of a model that generates; raises Misuse where there is none such."""
    check_model(model)
    return _file(FLOAT * builtin_parameters(model))


def checkpoint_bytes_max(first_bytes: int) -> int:
    """Of the global state of any round; `first_bytes` is the length of the first one."""
    return _file(CHECKPOINT * _parameters_max(first_bytes))


def window_state_bytes_max(first_bytes: int) -> int:
    """Of a state between two windows of a unit."""
    return _file(WINDOW_STATE * _parameters_max(first_bytes))


def update_bytes_max(manifest: TrainManifest, first_bytes: int) -> int:
    """Of what a unit uploads, masked or not."""
    parameters = _parameters_max(first_bytes)
    if manifest.privacy.masked:
        return SPARE_BYTES + MESSAGE_BYTES_MAX + FLOAT * parameters
    return SPARE_BYTES + update_size(parameters, manifest.encoding)


def _parameters_max(first_bytes: int) -> int:
    return first_bytes // INTEGER


def _file(numbers_bytes: int) -> int:
    """A safetensors file with so many bytes of numbers."""
    return LENGTH_BYTES + HEADER_BYTES_MAX + numbers_bytes

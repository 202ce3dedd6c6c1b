"""The way to transformers: its import takes seconds, so only jobs that need it pay for it."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from dpin.compute.door import Files
from dpin.compute.hubspec import DataFormat, HubSpec

Shapes = dict[str, tuple[int, ...]]


def layout(spec: HubSpec) -> Shapes:
    """Name and shape of every trained tensor of a model, in name order."""
    from dpin.compute import hubmodel

    return hubmodel.layout(spec)


Made = tuple[
    nn.Module, Callable[[Tensor], Tensor], Callable[[Tensor], tuple[Tensor, Tensor]]
]  # see networks.Network


def network(spec: HubSpec, weights: bytes) -> Made:
    """The module, its mean loss over a batch of examples, and its scores."""
    from dpin.compute import hubmodel

    made = hubmodel.HubNetwork(spec, weights)
    return made.module, made.loss, made.scores


def start(spec: HubSpec, folder: str, seed: bytes, shown: Tensor) -> tuple[Tensor, bytes, int]:
    """See hubload.start_of: what is trained as integers, the file of the rest, how many numbers."""
    from dpin.compute import hubload

    found = hubload.start_of(spec, folder, seed, shown)
    return found.parameters, found.weights, found.count


def model_files(spec: HubSpec, parameters: Tensor, base: str) -> Iterable[tuple[str, bytes]]:
    """See hubload.model_files."""
    from dpin.compute import hubload

    return hubload.model_files(spec, parameters, base)


def words_of(spec: HubSpec, data: DataFormat, files: Files, base: str) -> tuple[bytes, str]:
    """See readers.words_of: tokenizer.json and chat template of a model's folder."""
    from dpin.compute import readers

    return readers.words_of(files, base, spec, data)


def read_rows(
    spec: HubSpec,
    data: DataFormat,
    files: Files,
    where: tuple[str, tuple[str, ...], int],
    words: tuple[bytes, str],
) -> tuple[Tensor, tuple[str, ...]]:
    """The examples of a dataset, `where` = (path, suffixes, bytes_max); and the classes in order.

    `words` are a tokenizer.json and a chat template.
    """
    from dpin.compute import readers

    reader = readers.Reader(spec, data, *words)
    return reader.rows(readers.Source(files, *where)), reader.labels


def read_numbers(data: DataFormat, files: Files, path: str) -> Tensor:
    """See rowfiles.rows_of: files as rows of numbers, for a module of somebody's own."""
    from dpin.compute import rowfiles

    return rowfiles.rows_of(data, files, path)

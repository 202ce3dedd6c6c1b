"""The texts of `dpin sim clients`, read before torch is loaded, which takes seconds."""

from pathlib import Path
from typing import Final

from dpin.base.errors import Misuse, unreadable
from dpin.compute.corpus import check_clients, cut_evenly
from dpin.compute.presets import DEMO_MODEL

FILES_MAX: Final = 10_000


def texts_of(path: Path, clients: int) -> list[bytes]:
    """A client's text each: the files of a folder, or a file in equal parts; raises Misuse."""
    try:
        texts = _texts(path, clients)
    except OSError as problem:
        fix = "name a text file, or a folder of them"
        raise unreadable(problem.filename or path, problem, fix=fix) from None
    check_clients(texts, DEMO_MODEL.context)
    return texts


def _texts(path: Path, clients: int) -> list[bytes]:
    if not path.is_dir():
        return cut_evenly(path.read_bytes(), clients or 1)
    files = sorted(each for each in path.iterdir() if each.is_file())[:FILES_MAX]
    if not files:
        raise Misuse(f"{path} holds no files", fix="one file is one client")
    if clients > len(files):
        raise Misuse(f"{clients} clients, but {len(files)} files", fix="one file is one client")
    return [each.read_bytes() for each in files[: clients or len(files)]]

"""Files of people to rows of integers: text, chats, tables, pictures, tokens made before.

Reading is done where the data are: at the requester, or at the owner of a private dataset. N is the
number of examples. A row holds tokens; tokens and labels; tokens, length and class; or pixels and
the class in two.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import csv, parquet
from pyarrow import json as pajson
from tokenizers import Tokenizer
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.compute.door import Files, read_text
from dpin.compute.examples import IGNORED
from dpin.compute.hubmodel import config_of
from dpin.compute.hubspec import CAUSAL, PICTURE, SEQUENCE, DataFormat, HubSpec, check_format
from dpin.compute.templates import Template

CHUNK_CHARS: Final = 1 << 16
ASSISTANT: Final = "assistant"
PICTURE_SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png")
PIXELS_MAX: Final = 1 << 24  # of a picture before it is made small
NAMED_MAX: Final = 8  # classes in one message
CONVERSATION: Final = (
    'each line of data.path is {"messages": [{"role": "user", "content": "..."}, ...]}; '
    "a CSV is data.format: table"
)
READ: Final = {  # by task, what a model of it is trained on
    CAUSAL: "data.format: text, chat, table or tokens",
    SEQUENCE: "data.format: table, with the columns data.text and data.label",
    PICTURE: "data.format: images, a folder a class",
}
NUMPY_MAGIC: Final = b"\x93NUMPY"

AnyArray = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the data lie, and how much of them is read."""

    files: Files
    path: str
    suffixes: tuple[str, ...]
    bytes_max: int


class Reader:
    """Reads one dataset for one model."""

    def __init__(self, spec: HubSpec, data: DataFormat, tokenizer: bytes, chat: str) -> None:
        """`tokenizer` is a tokenizer.json; `chat` a Jinja template, or empty: the plain one."""
        check_format(data)
        self._spec = spec
        self._data = data
        self._config = config_of(spec)
        self._tokenizer = read_tokenizer(tokenizer) if tokenizer else None
        self._chat = chat
        self.labels = data.labels

    def rows(self, source: Source) -> Tensor:
        """(N, W) uint8 or int32; raises Misuse where the data are not what they are said to be."""
        match self._data.kind, self._spec.head:
            case "images", "image-classification":
                return self._pictures(source)
            case "tokens", "causal-lm":
                return self._fitting(self._tokens(source))
            case "text", "causal-lm":
                text = self._corpus(source).decode("utf-8", "replace")
                return self._fitting(self._stream([text]))
            case "chat", "causal-lm":
                return self._fitting(self._chats(source))
            case "table", "causal-lm":
                texts = [text for (text,) in self._columns(source, self._data.text)]
                return self._fitting(self._stream(texts))
            case "table", "sequence-classification":
                return self._fitting(self._labelled(source))
            case kind, head:
                raise Misuse(f"{kind} data do not train a model for {head}", READ[head])

    def _corpus(self, source: Source) -> bytes:
        return read_text(source.files, source.path, source.suffixes, source.bytes_max)

    def _fitting(self, rows: Tensor) -> Tensor:
        """The same, once every token is one that the model knows."""
        width = self._spec.context if rows.shape[1] > 1 else 1
        most = int(rows[:, :width].max()) if len(rows) else 0
        known = int(self._config.vocab_size)
        if most >= known:
            raise Misuse(
                f"the tokenizer does not fit the model: it says token {most}, "
                f"and the model knows {known}",
                "take the tokenizer.json that belongs to the model",
            )
        return rows

    def _ids(self, text: str, *, special: bool) -> list[int]:
        assert self._tokenizer is not None, "pictures have no tokens"
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return found

    # --- running text ---

    def _stream(self, texts: Sequence[str]) -> Tensor:
        """Texts one after the other, with the model's end-of-text between them."""
        said = self._config.eos_token_id
        end = next(iter(said), None) if isinstance(said, list) else said  # Some models have more.
        ids: list[int] = []
        for text in texts:
            for at in range(0, len(text), CHUNK_CHARS):
                ids += self._ids(text[at : at + CHUNK_CHARS], special=False)
            if isinstance(end, int) and len(texts) > 1:
                ids.append(end)
        return torch.tensor(ids, dtype=torch.int32).reshape(-1, 1)

    def _tokens(self, source: Source) -> Tensor:
        found = read_array(source.path, source.files.read(source.path), "token ids")
        if found.dtype.kind not in "iu" or found.size == 0 or int(found.min()) < 0:
            raise Misuse(f"{source.path} holds no token ids")
        return torch.from_numpy(found.astype(np.int32).reshape(-1, 1))

    # --- chats ---

    def _chats(self, source: Source) -> Tensor:
        """What an assistant says counts; what it is told does not."""
        template = Template(self._chat)
        rows = [
            self._chat_row(template.turns(messages), number)
            for number, messages in enumerate(_conversations(source.path, self._corpus(source)), 1)
        ]
        if not rows:
            raise Misuse(f"{source.path}: there is not one conversation", CONVERSATION)
        return torch.tensor(rows, dtype=torch.int32)

    def _chat_row(self, turns: list[tuple[str, str]], number: int) -> list[int]:
        width = self._spec.context
        ids: list[int] = []
        due: list[int] = []
        for role, text in turns:
            said = self._ids(text, special=False)
            ids += said
            due += said if role == ASSISTANT else [IGNORED] * len(said)
        ids, due = ids[:width], due[:width]
        if all(label == IGNORED for label in due[1:]):
            raise Misuse(
                f"conversation {number}: an assistant says nothing in its first {width} tokens",
                "give a longer context, or shorter conversations",
            )
        pad = width - len(ids)
        return ids + [self._pad] * pad + due + [IGNORED] * pad

    @property
    def _pad(self) -> int:
        pad = self._config.pad_token_id
        return pad if isinstance(pad, int) and pad >= 0 else 0

    # --- tables ---

    def _columns(self, source: Source, *names: str) -> Iterator[tuple[str, ...]]:
        """What stands in these columns, row by row; rows with nothing in them are left out."""
        table = read_table(source.path, source.files.read(source.path))
        for name in names:
            if name not in table.column_names:
                known = ", ".join(table.column_names)
                field = "data.text" if name == self._data.text else "data.label"
                raise Misuse(f"{source.path} has no column {name!r}", f"{field}: one of {known}")
        columns = [table.column(name).to_pylist() for name in names]
        for number, row in enumerate(zip(*columns, strict=True), 1):
            held = tuple(str(value) for value in row if value is not None)
            if len(held) == len(names):
                yield held
            elif held:
                hole = names[row.index(None)]
                raise Misuse(
                    f"{source.path}: row {number} has no {hole}", "fill it, or leave it out"
                )

    def _labelled(self, source: Source) -> Tensor:
        pairs = list(self._columns(source, self._data.text, self._data.label))
        classes = self._classes([label for _, label in pairs])
        width = self._spec.context
        rows = []
        for text, label in pairs:
            ids = self._ids(text, special=True)[:width]
            rows.append([*ids, *[self._pad] * (width - len(ids)), len(ids), classes[label]])
        return torch.tensor(rows, dtype=torch.int32)

    def _classes(self, said: Sequence[str]) -> dict[str, int]:
        labels = self.labels or tuple(sorted(set(said)))
        other = sorted(set(said) - set(labels))
        if other:
            known = ", ".join(labels[:NAMED_MAX]) + (", ..." if len(labels) > NAMED_MAX else "")
            raise Misuse(
                f"the data have a label {other[0]!r}, and the classes are {known}",
                "name the data's classes, in the model's order, in data.labels",
            )
        self.labels = labels
        return {label: index for index, label in enumerate(labels)}

    # --- pictures ---

    def _pictures(self, source: Source) -> Tensor:
        """A folder a class; each picture made as small as the model takes it."""
        found = list(source.files.tree(source.path, PICTURE_SUFFIXES))
        if not found:
            raise Misuse(f"{source.path} holds no pictures in folders")
        classes = self._classes([folder for folder, _ in found])
        return torch.stack([self._picture(data, classes[folder]) for folder, data in found])

    def _picture(self, data: bytes, label: int) -> Tensor:
        return read_picture(
            data, int(self._config.image_size), int(self._config.num_channels), label
        )


def read_array(path: str, data: bytes, what: str) -> AnyArray:
    """The array of a .npy file, which should hold `what`; raises Misuse."""
    if not data.startswith(NUMPY_MAGIC):
        raise Misuse(f"{path} is no .npy file", f"numpy.save an array of {what}")
    try:
        found: AnyArray = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise Misuse(f"{path} cannot be read: {error}") from None
    return found


def read_picture(data: bytes, side: int, channels: int, label: int) -> Tensor:
    """Channels x side x side pixels, then the label in two bytes, the higher first: uint8.

    Three channels are colours, one is grey. Raises Misuse.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > PIXELS_MAX:
                raise Misuse(f"a picture of {opened.width} x {opened.height} pixels")
            small = opened.convert("RGB" if channels == 3 else "L").resize((side, side))  # noqa: PLR2004
    except (OSError, SyntaxError, ValueError) as error:
        raise Misuse(f"a picture cannot be read: {error}") from None
    pixels = torch.from_numpy(np.array(small, dtype=np.uint8)).reshape(side, side, channels)
    flat = pixels.permute(2, 0, 1).reshape(-1)
    return torch.cat((flat, torch.tensor(divmod(label, 256), dtype=torch.uint8)))


def read_tokenizer(data: bytes) -> Tokenizer:
    """A tokenizer.json; raises Misuse."""
    try:
        return Tokenizer.from_str(data.decode())
    except Exception as error:  # noqa: BLE001  # The library raises plain Exceptions.
        fix = "save or copy it again: tokenizer.save_pretrained(folder)"
        raise Misuse(f"tokenizer.json cannot be read: {error}", fix) from None


def _conversations(path: str, data: bytes) -> Iterator[list[dict[str, str]]]:
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            messages = json.loads(line)["messages"]
            yield [{"role": str(one["role"]), "content": str(one["content"])} for one in messages]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise Misuse(f"{path}: line {number} is no conversation", CONVERSATION) from None


def read_table(path: str, data: bytes) -> pa.Table:
    """A Parquet, JSONL or CSV file by its name; raises Misuse."""
    buffer = pa.BufferReader(data)
    try:
        if path.endswith(".parquet"):
            return parquet.read_table(buffer)
        return pajson.read_json(buffer) if path.endswith(".jsonl") else csv.read_csv(buffer)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise Misuse(
            f"{path} cannot be read as a table: {error}",
            "mend that place; a name in .parquet or .jsonl is read as that, any other as CSV",
        ) from None


def words_of(files: Files, base: str, spec: HubSpec, data: DataFormat) -> tuple[bytes, str]:
    """The tokenizer.json and the chat template of a model's folder, as far as they are needed."""
    if spec.head == PICTURE or data.kind == "tokens":
        return b"", ""
    try:
        tokenizer = files.read(f"{base}/tokenizer.json")
    except OSError:
        raise Misuse(
            f"{base} has no tokenizer.json",
            f"save it: tokenizer.save_pretrained; a model of pictures wants task: {PICTURE}",
        ) from None
    return tokenizer, _chat_template(files, base) if data.kind == "chat" else ""


def _chat_template(files: Files, base: str) -> str:
    try:
        return files.read(f"{base}/chat_template.jinja").decode("utf-8", "replace")
    except OSError:
        pass
    try:
        said = json.loads(files.read(f"{base}/tokenizer_config.json")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return ""
    return said if isinstance(said, str) else ""

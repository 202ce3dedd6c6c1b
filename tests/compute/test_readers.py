"""Files of people as examples: tables, pictures and tokens train what they fit, else say why."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image
from pyarrow import parquet

from dpin.base.errors import Misuse, PeerFault
from dpin.compute.examples import HEADER, Rows, decode_shard, encode_shard
from dpin.compute.executor import Disk
from dpin.compute.hubspec import PICTURE, SEQUENCE, DataFormat, HubSpec, canonical_config
from dpin.compute.readers import Reader, Source
from dpin.compute.task import Evaluate, Evaluated, Failed, Prepared
from dpin.compute.templates import Template
from tests.compute.test_hub import Bench
from tests.support.hub import spec_of, write_model

TINY_BERT = transformers.BertConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    vocab_size=300, max_position_embeddings=32,
)  # fmt: skip
TINY_VIT = transformers.ViTConfig(
    hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    image_size=8, patch_size=4,
)  # fmt: skip
COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


@pytest.fixture(name="bert", scope="module")
def made_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"), TINY_BERT, "SequenceClassification")


def write_table(path: Path) -> Path:
    """Whether a number is even, 48 times, sorted by class."""
    rows = sorted((n % 2, f"number {n}") for n in range(48))
    words, says = [text for _, text in rows], [("even", "odd")[bit] for bit, _ in rows]
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"text": words, "label": says}), path)
    elif path.suffix == ".csv":
        lines = [f"{word},{label}\n" for word, label in zip(words, says, strict=True)]
        path.write_text("text,label\n" + "".join(lines))
    else:
        lines = [json.dumps({"text": word, "label": label}) for word, label in zip(words, says)]  # noqa: B905
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_a_table_trains_a_classifier(bert: Path, tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path)
    command = bench.prepare(
        spec_of(bert, head=SEQUENCE, context=8),
        bert,
        corpus=str(write_table(tmp_path / name)),
        data=DataFormat("table"),
        batch=4,
    )
    prepared = bench.ask(command, Prepared)
    assert isinstance(prepared.model, HubSpec)
    assert json.loads(prepared.model.config)["id2label"] == {"0": "even", "1": "odd"}
    held = decode_shard(Path(prepared.holdout).read_bytes())
    assert {int(label) for label in held[:, -1]} == {0, 1}  # Mixed before it was cut.
    bench.opened(prepared)
    before = bench.ask(Evaluate(), Evaluated).loss_micronats
    bench.round()
    assert bench.ask(Evaluate(), Evaluated).loss_micronats != before
    folder = bench.exported(bert)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "even", 1: "odd"}


def test_pictures_in_folders_train_a_classifier(tmp_path: Path) -> None:
    base = write_model(tmp_path / "vit", TINY_VIT, "ImageClassification")
    for name, colour in COLOURS.items():
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            shade = tuple(max(0, part - number) for part in colour)
            Image.new("RGB", (12, 9), shade).save(tmp_path / "pictures" / name / f"{number}.png")
    bench = Bench(tmp_path)
    command = bench.prepare(
        spec_of(base, head=PICTURE, context=0),
        base,
        corpus=str(tmp_path / "pictures"),
        data=DataFormat("images"),
        batch=4,
    )
    bench.opened(bench.ask(command, Prepared))
    before = bench.ask(Evaluate(), Evaluated).loss_micronats
    for number in range(2):
        bench.round(number)
    assert bench.ask(Evaluate(), Evaluated).loss_micronats < before


def test_tokens_made_before_are_taken_as_they_are(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    np.save(tmp_path / "ids.npy", np.arange(400, dtype=np.uint16) % 300)
    (base / "tokenizer.json").unlink()
    bench = Bench(tmp_path)
    file = str(tmp_path / "ids.npy")
    command = bench.prepare(spec_of(base), base, corpus=file, data=DataFormat("tokens"))
    prepared = bench.ask(command, Prepared)
    shard = decode_shard(Path(prepared.shards[0]).read_bytes())
    assert shard[:5].reshape(-1).tolist() == [0, 1, 2, 3, 4]


def _pickled(path: Path) -> str:
    np.save(path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return "x.npy"


def _text(name: str, text: str) -> Callable[[Path], str]:
    def write(path: Path) -> str:
        (path / name).write_text(text)
        return name

    return write


@pytest.mark.parametrize(
    ("write", "data", "reason"),
    [
        (_pickled, DataFormat("tokens"), "cannot be read"),
        (_text("x.npy", "no"), DataFormat("tokens"), "is no .npy file"),
        (_text("c.jsonl", '{"messages": 3}'), DataFormat("chat"), "line 1 is no conversation"),
        (_text("c.jsonl", "\n"), DataFormat("chat"), "not one conversation"),
        (
            _text("c.jsonl", '{"messages": [{"role": "user", "content": "x"}]}'),
            DataFormat("chat"),
            "conversation 1: an assistant says nothing",
        ),
        (_text("t.csv", "a,b\n1,2\n"), DataFormat("table"), "has no column 'text'"),
        (_text("t.parquet", "PAR1"), DataFormat("table"), "cannot be read as a table"),
        (_text("e.txt", ""), DataFormat("text"), "is empty, or holds no file"),
        (_text("p.txt", "x"), DataFormat("images"), "do not train a model for causal-lm"),
    ],
)
def test_data_that_are_not_what_they_are_said_to_be_are_refused(
    base: Path, tmp_path: Path, write: Callable[[Path], str], data: DataFormat, reason: str
) -> None:
    bench = Bench(tmp_path)
    file = str(tmp_path / write(tmp_path))
    command = bench.prepare(spec_of(base), base, corpus=file, data=data)
    assert reason in bench.ask(command, Failed).reason


def test_a_row_without_its_label_is_not_given_that_of_another_row(
    bert: Path, tmp_path: Path
) -> None:
    """As many texts as labels are there, and one row lacks the one, another the other."""
    rows: list[dict[str, str | None]] = [
        {"text": f"{at} is", "label": "even" if at % 2 == 0 else "odd"} for at in range(40)
    ]
    path = tmp_path / "t.jsonl"
    holes = [*rows, {"text": None, "label": None}]
    path.write_text("\n".join(map(json.dumps, holes)))
    bench = Bench(tmp_path)
    spec, data = spec_of(bert, head=SEQUENCE, context=8), DataFormat("table")
    command = bench.prepare(spec, bert, corpus=str(path), data=data, batch=4)
    shards = bench.ask(command, Prepared)
    read = [decode_shard(Path(one).read_bytes()) for one in (*shards.shards, shards.holdout)]
    assert sum(map(len, read)) == 40
    holes[3] = {"text": None, "label": "odd"}
    holes[6] = {"text": "6 is", "label": None}
    path.write_text("\n".join(map(json.dumps, holes)))
    assert "row 4 has no text" in bench.ask(command, Failed).reason


@pytest.mark.parametrize("ends", [7, [7, 9]])
def test_texts_of_a_table_have_the_models_end_between_them(
    base: Path, tmp_path: Path, ends: int | list[int]
) -> None:
    (tmp_path / "t.csv").write_text("text\none\ntwo\n")
    config = json.loads(spec_of(base).config) | {"eos_token_id": ends}
    spec = replace(spec_of(base), config=canonical_config(json.dumps(config)))
    reader = Reader(spec, DataFormat("table"), (base / "tokenizer.json").read_bytes(), "")
    ids = reader.rows(Source(Disk(), str(tmp_path / "t.csv"), (".csv",), 1_000)).flatten()
    assert ids.tolist().count(7) == 2
    assert int(ids[-1]) == 7


@pytest.fixture(name="base", scope="module")
def made_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("llama"))


@given(st.integers(1, 5), st.integers(1, 4), st.sampled_from([torch.uint8, torch.int32]))
def test_a_shard_comes_back_as_it_was(rows: int, width: int, dtype: torch.dtype) -> None:
    made = torch.arange(rows * width).reshape(rows, width).to(dtype)
    assert torch.equal(decode_shard(encode_shard(made)), made)


@given(st.binary(max_size=64))
def test_no_bytes_of_a_stranger_are_more_than_a_fault(data: bytes) -> None:
    for shard in (data, HEADER.pack(b"dpds", 1, 4, 2, 3) + data):
        with contextlib.suppress(PeerFault):
            assert decode_shard(shard).ndim == 2


def test_rows_are_drawn_again_alike_and_none_held_out_twice() -> None:
    rows = Rows(torch.arange(12).reshape(6, 2))
    assert torch.equal(rows.batch((b"job", 1), 4), rows.batch((b"job", 1), 4))
    assert rows.spread(100).tolist() == rows.spread(6).tolist()
    with pytest.raises(Misuse):
        Rows(torch.zeros(0, 2))


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert [role for role, _ in Template("").turns(messages)] == ["user", "assistant"]
    with pytest.raises(Misuse, match="rewrites earlier turns"):
        Template("{{ messages | length }}").turns(messages)
    with pytest.raises(Misuse, match="template fails"):
        Template("{{ messages.__class__.__mro__ | first }}{{ 1 / 0 }}").turns(messages)
    with pytest.raises(Misuse, match="cannot be read"):
        Template("{% for %}")

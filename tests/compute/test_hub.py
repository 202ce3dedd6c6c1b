"""Models of transformers in a worker's session: full and with adapters, replayed and exported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import peft
import pytest
import torch
import transformers
from msgspec.structs import replace

from dpin.base.codec import encode
from dpin.base.ids import NO_BLOB, Round
from dpin.base.leaf import leaf_digest
from dpin.compute.door import Door
from dpin.compute.executor import Disk
from dpin.compute.hubspec import CAUSAL, PICTURE, SEQUENCE, DataFormat, HubSpec
from dpin.compute.lineage import tensor_leaves
from dpin.compute.presets import QUICK
from dpin.compute.probe import settle
from dpin.compute.reporting import Preparing
from dpin.compute.session import Session
from dpin.compute.task import (
    CheckUpdate,
    CheckWindow,
    Command,
    Contribution,
    Evaluate,
    Evaluated,
    Export,
    Exported,
    Failed,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    Prepare,
    Prepared,
    Report,
    Trained,
    TrainManifest,
    TrainUnit,
    UpdateChecked,
    WindowChecked,
)
from tests.support.hub import CONTEXT, LORA, spec_of, write_chats, write_model
from tests.support.training import CORPUS, JOB, TINY_INNER, lease

T = TypeVar("T")


class Bench:
    """A session on real files."""

    def __init__(self, folder: Path) -> None:
        settle()
        self.folder = folder
        self.reports: list[Report] = []
        self.session = Session(Door(Disk(), lambda: 0, self.reports.append, lambda: None))

    def ask(self, command: Command, kind: type[T]) -> T:
        self.session.run(command)
        report = self.reports[-1]
        assert isinstance(report, kind), report
        return report

    def prepare(self, spec: HubSpec, base: Path, **fields: object) -> Prepare:
        (self.folder / "corpus.txt").write_bytes(CORPUS)
        command = Prepare(
            corpus=str(self.folder / "corpus.txt"),
            suffixes=(".txt",),
            bytes_max=1 << 20,
            shards=2,
            holdout_ppm=200_000,
            model=spec,
            seed=b"seed",
            folder=str(self.folder / "prepared"),
            base=str(base),
        )
        return replace(command, **fields)

    def opened(self, prepared: Prepared) -> Opened:
        assert prepared.model is not None
        manifest = TrainManifest(
            model=prepared.model,
            inner=TINY_INNER,
            outer=QUICK,
            seats=2,
            rounds=2,
            windows=4,
            shards=(NO_BLOB, NO_BLOB),
            holdout=NO_BLOB,
            initial=NO_BLOB,
            state_hash=prepared.state_hash,
            fingerprint=prepared.fingerprint,
        )
        command = OpenJob(
            job=JOB,
            manifest=encode(manifest),
            shards=prepared.shards,
            holdout=prepared.holdout,
            checkpoint=prepared.initial,
            round=Round(0),
            folder=str(self.folder / "work"),
            weights=prepared.weights,
        )
        return self.ask(command, Opened)

    def unit(self, seat: int, round_: int = 0) -> Trained:
        command = TrainUnit(lease(seat), seat, Round(round_), round_ == 0, 0, "")
        return self.ask(command, Trained)

    def round(self, number: int = 0) -> Merged:
        parts = [self.unit(seat, number) for seat in range(2)]
        found = tuple(Contribution(part.update, TINY_INNER.steps) for part in parts)
        return self.ask(MergeRound(Round(number), found), Merged)

    def exported(self, base: Path) -> Path:
        folder = self.folder / "out"
        self.ask(Export(str(folder), "{}", str(base)), Exported)
        return folder


def bert() -> transformers.BertConfig:
    """A classifier that reads 32 tokens."""
    return transformers.BertConfig(
        vocab_size=300,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )


@pytest.fixture(name="base", scope="module")
def made_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "llama")


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(8)[None]).logits
    return found


def plain(folder: Path) -> torch.nn.Module:
    model: torch.nn.Module = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return model.eval()


def signed_for(merged: Merged, file: Path) -> None:
    """What a lineage would sign is over the tensors of the file that loads."""
    assert tensor_leaves(file.read_bytes()).root == merged.model_root


def test_a_whole_model_is_tuned_replayed_and_loaded_by_transformers(
    tmp_path: Path, base: Path
) -> None:
    bench = Bench(tmp_path)
    prepared = bench.ask(bench.prepare(spec_of(base), base), Prepared)
    assert prepared.weights == ""
    assert bench.opened(prepared).state_hash == prepared.state_hash
    before = bench.ask(Evaluate(), Evaluated).loss_micronats
    trained = bench.unit(0)
    checked = bench.ask(CheckWindow(trained.leaves[1], 0, trained.states[1]), WindowChecked)
    assert checked.found == leaf_digest(trained.leaves[2])
    first, last = trained.leaves[0], trained.leaves[-1]
    update = bench.ask(CheckUpdate(first, last, trained.base, trained.states[-1]), UpdateChecked)
    assert update.states_ok
    merged = [bench.round(number) for number in range(2)][-1]
    assert bench.ask(Evaluate(), Evaluated).loss_micronats < before
    tuned = plain(bench.exported(base))
    signed_for(merged, tmp_path / "out" / "model.safetensors")
    assert not torch.allclose(logits(tuned), logits(plain(base)), atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.decode(tokenizer("def answer").input_ids) == "def answer"


def test_only_an_adapter_travels_and_peft_loads_it(tmp_path: Path, base: Path) -> None:
    bench = Bench(tmp_path)
    prepared = bench.ask(bench.prepare(spec_of(base, lora=LORA), base), Prepared)
    bench.opened(prepared)
    before = bench.ask(Evaluate(), Evaluated).loss_micronats
    trained = bench.unit(0)
    whole = sum(part.numel() for part in plain(base).parameters())
    assert 10 * Path(trained.update).stat().st_size < whole
    merged = [bench.round(number) for number in range(2)][-1]
    assert bench.ask(Evaluate(), Evaluated).loss_micronats < before
    folder = bench.exported(base)
    signed_for(merged, folder / "adapter_model.safetensors")
    tuned = peft.PeftModel.from_pretrained(plain(base), folder).eval()
    assert not torch.allclose(logits(tuned), logits(plain(base)), atol=1e-4)


def test_an_adapter_starts_as_the_model_it_stands_beside(tmp_path: Path, base: Path) -> None:
    bench = Bench(tmp_path)
    losses = []
    for spec in (spec_of(base), spec_of(base, lora=LORA)):
        bench.opened(bench.ask(bench.prepare(spec, base), Prepared))
        losses.append(bench.ask(Evaluate(), Evaluated).loss_micronats)
    # Nought is added to each product; where a sum ends up in memory may move its last bit.
    assert abs(losses[0] - losses[1]) <= 1


def test_a_chat_is_learned_from_what_the_assistant_says(tmp_path: Path, base: Path) -> None:
    write_chats(tmp_path / "chat.jsonl")
    bench = Bench(tmp_path)
    command = bench.prepare(
        spec_of(base, masked=True, context=48),
        base,
        corpus=str(tmp_path / "chat.jsonl"),
        suffixes=(".jsonl",),
        data=DataFormat("chat"),
        batch=4,
    )
    bench.opened(bench.ask(command, Prepared))
    before = bench.ask(Evaluate(), Evaluated).loss_micronats
    bench.round()
    assert bench.ask(Evaluate(), Evaluated).loss_micronats < before


def _truncate(base: Path) -> None:
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _poison(base: Path) -> None:
    model = plain(base)
    next(model.parameters()).data[0] = float("nan")
    model.save_pretrained(base)  # type: ignore[operator]


def _misfit(base: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(base)
    config.intermediate_size = 48
    config.save_pretrained(base)


def _small(base: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(base)
    config.vocab_size = 280
    write_model(base, config)
    # write_model trains the tokenizer for 300 tokens again.


def _code(base: Path) -> None:
    config = (base / "config.json").read_text()
    (base / "config.json").write_text(config.replace("{", '{"auto_map": {"AutoModel": "x.Y"},', 1))


def _overlap(base: Path) -> None:
    """The second tensor begins within the first."""
    file = base / "model.safetensors"
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    second = sorted(name for name in header if name != "__metadata__")[1]
    header[second]["data_offsets"] = [at - 4 for at in header[second]["data_offsets"]]
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_truncate, "cannot be read as a model"),
        (_overlap, "invalid offset for tensor"),
        (_poison, "not finite"),
        (_misfit, "cannot be read as a model"),
        (_small, "the tokenizer does not fit the model: it says token 2"),
        (lambda base: (base / "tokenizer.json").write_text("{"), "tokenizer.json cannot be read"),
        (lambda base: (base / "model.safetensors").unlink(), "cannot be read as a model"),
    ],
)
def test_a_spoiled_directory_is_refused_with_a_reason(
    tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    base = write_model(tmp_path / "base")
    spoil(base)
    bench = Bench(tmp_path)
    said = bench.ask(bench.prepare(spec_of(base), base), Failed)
    assert reason in said.reason
    assert said.fix


def test_a_base_that_is_not_finite_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    """It is not what adapters train, so nothing else would look at it before a provider does."""
    base = write_model(tmp_path / "base")
    _poison(base)
    bench = Bench(tmp_path)
    said = bench.ask(bench.prepare(spec_of(base, lora=LORA), base), Failed).reason
    assert said.endswith("model.embed_tokens.weight holds numbers that are not finite")


def test_data_shorter_than_a_batch_are_refused(tmp_path: Path, base: Path) -> None:
    write_chats(tmp_path / "chat.jsonl", 4)
    bench = Bench(tmp_path)
    command = bench.prepare(
        spec_of(base, masked=True, context=48),
        base,
        corpus=str(tmp_path / "chat.jsonl"),
        data=DataFormat("chat"),
        batch=8,
    )
    assert "4 examples are too few" in bench.ask(command, Failed).reason


@pytest.mark.parametrize(
    ("fields", "reason", "fix"),
    [
        (
            {"lora": replace(LORA, target_modules=("q_proj", "query"))},  # peft would not mind
            "it has no module 'query'",
            "method.target_modules: some of down_proj, gate_proj, k_proj, ",
        ),
        (
            {"lora": replace(LORA, target_modules=("mlp",))},
            "the adapter does not fit the model: Target module",
            "method.target_modules: some of down_proj, ",
        ),
        ({"head": SEQUENCE}, "text data do not train", "data.format: table, with the columns "),
        ({"head": PICTURE, "context": 0}, "text data do not train", "data.format: images"),
    ],
)
def test_a_job_that_does_not_fit_its_model_is_told_what_would(
    tmp_path: Path, base: Path, fields: dict[str, object], reason: str, fix: str
) -> None:
    bench = Bench(tmp_path)
    said = bench.ask(bench.prepare(replace(spec_of(base), **fields), base), Failed)
    assert reason in said.reason
    assert said.fix.startswith(fix)


def test_a_model_saved_for_another_task_is_told_which(tmp_path: Path) -> None:
    base = write_model(tmp_path / "bert", bert(), "SequenceClassification")
    bench = Bench(tmp_path)
    said = bench.ask(bench.prepare(spec_of(base), base), Failed)
    assert "the weights lack" in said.reason
    assert (
        said.fix == "it was saved as BertForSequenceClassification: task: sequence-classification"
    )


def test_sequences_longer_than_a_model_reads_are_refused_before_anybody_is_asked(
    tmp_path: Path,
) -> None:
    base = write_model(tmp_path / "bert", bert(), "SequenceClassification")
    rows = "".join(f"number {at},{'even' if at % 2 == 0 else 'odd'}\n" for at in range(80))
    (tmp_path / "t.csv").write_text(f"text,label\n{rows}")
    bench = Bench(tmp_path)
    fields = {"corpus": str(tmp_path / "t.csv"), "data": DataFormat("table")}
    said = bench.ask(
        bench.prepare(spec_of(base, head=SEQUENCE, context=33), base, **fields), Failed
    )
    assert said.reason == "the model reads at most 32 tokens, and max_length is 33"
    assert said.fix == "max_length: 32"
    bench.ask(bench.prepare(spec_of(base, head=SEQUENCE, context=32), base, **fields), Prepared)


def test_a_preparation_says_what_it_is_doing(tmp_path: Path, base: Path) -> None:
    bench = Bench(tmp_path)
    bench.ask(bench.prepare(spec_of(base), base), Prepared)
    corpus = tmp_path / "corpus.txt"
    assert [report.text for report in bench.reports if isinstance(report, Preparing)] == [
        f"loading transformers, and reading {corpus}",
        f"reading the model in {base}, and trying it",
        "writing 2 shards, and the model that round 1 starts with",
    ]


def test_what_is_only_tried_is_not_written(tmp_path: Path, base: Path) -> None:
    bench = Bench(tmp_path)
    tried = bench.ask(bench.prepare(spec_of(base, lora=LORA), base, folder=""), Prepared)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt"]
    real = bench.ask(bench.prepare(spec_of(base, lora=LORA), base), Prepared)
    assert (tried.parameters, tried.state_hash) == (real.parameters, real.state_hash)


def test_a_session_outlives_what_it_refuses(tmp_path: Path, base: Path) -> None:
    bench = Bench(tmp_path)
    wrong = replace(LORA, target_modules=("nothing",))
    command = bench.prepare(spec_of(base, lora=wrong), base)
    assert "the adapter does not fit the model" in bench.ask(command, Failed).reason
    assert spec_of(base).head == CAUSAL
    assert bench.ask(bench.prepare(spec_of(base), base), Prepared).parameters > CONTEXT

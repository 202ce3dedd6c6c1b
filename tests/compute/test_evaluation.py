"""Evaluations in worker sessions: counts beside plain torch, replayed, added up exactly."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import transformers
from msgspec.structs import replace
from torch.nn import functional

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, JobId, Round
from dpin.base.leaf import leaf_digest
from dpin.compute.checkpoint import encode_model
from dpin.compute.door import Door
from dpin.compute.executor import Disk
from dpin.compute.hubspec import SEQUENCE, TEXT, DataFormat
from dpin.compute.passes import cut_tokens
from dpin.compute.probe import settle
from dpin.compute.session import Session
from dpin.compute.state import initial_state
from dpin.compute.tallies import PartTally, Tally, Total, Totalled, read_part, total_of
from dpin.compute.task import (
    Architecture,
    CheckUpdate,
    CheckWindow,
    Command,
    Contribution,
    Evaluate,
    Failed,
    InnerSpec,
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
from dpin.compute.tensors import as_float
from dpin.compute.weights import loaded
from dpin.market.evaluating import EVALUATION
from tests.support.hub import spec_of, write_chats, write_model
from tests.support.training import CORPUS, JOB, TINY, lease

T = TypeVar("T")
BATCH = 5
TEXT_BYTES = CORPUS[:1_000]


class Bench:
    """A session on real files, and an evaluation in parts."""

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

    def opened(
        self, model: Architecture, base: Path, data: Path, parts: int, kind: DataFormat = TEXT
    ) -> Prepared:
        """Cut the data, and open the job."""
        command = Prepare(
            corpus=str(data),
            suffixes=(data.suffix,),
            bytes_max=1 << 20,
            shards=parts,
            holdout_ppm=50_000,
            model=model,
            seed=b"seed",
            folder=str(self.folder / f"prepared-{parts}"),
            base=str(base),
            data=kind,
            whole=True,
        )
        prepared = self.ask(command, Prepared)
        assert prepared.model is not None
        self.ask(self.opening(prepared, prepared.model), Opened)
        return prepared

    def opening(self, prepared: Prepared, model: Architecture) -> OpenJob:
        parts = len(prepared.shards)
        manifest = TrainManifest(
            model=model,
            inner=InnerSpec(1, 0, 0, BATCH, max(4, -(-prepared.examples // BATCH))),
            outer=EVALUATION,
            seats=parts,
            rounds=2,
            windows=4,
            shards=(NO_BLOB,) * parts,
            holdout=NO_BLOB,
            initial=NO_BLOB,
            state_hash=prepared.state_hash,
            fingerprint=prepared.fingerprint,
        )
        return OpenJob(
            job=JOB,
            manifest=encode(manifest),
            shards=prepared.shards,
            holdout=prepared.holdout,
            checkpoint=prepared.initial,
            round=Round(0),
            folder=str(self.folder / "work"),
            weights=prepared.weights,
        )

    def unit(self, part: int, fault: str = "") -> Trained:
        return self.ask(TrainUnit(lease(part), part, Round(0), True, 0, fault), Trained)

    def total(self, units: Sequence[Trained], text_bytes: int = 0) -> Totalled:
        files = tuple(unit.update for unit in units)
        return self.ask(Total(files, str(self.folder / "out"), "{}", text_bytes), Totalled)

    def check_update(self, unit: Trained) -> UpdateChecked:
        first, last = unit.leaves[0], unit.leaves[-1]
        return self.ask(CheckUpdate(first, last, unit.base, unit.states[-1]), UpdateChecked)


@pytest.fixture(name="bench")
def made_bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(name="data")
def made_data(tmp_path: Path) -> Path:
    (tmp_path / "data.txt").write_bytes(TEXT_BYTES)
    return tmp_path / "data.txt"


@pytest.fixture(name="model")
def made_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    parameters = as_float(initial_state(TINY, b"trained").parameters)
    (folder / "model.safetensors").write_bytes(encode_model(TINY, parameters))
    return folder


def plainly(text: bytes) -> tuple[float, int, int]:
    """Sum of losses, targets and right answers of the built-in model, window after window."""
    model = loaded(TINY, as_float(initial_state(TINY, b"trained").parameters))
    loss, targets, right = 0.0, 0, 0
    for start in range(0, len(text) - 1, TINY.context):
        tokens = torch.tensor(list(text[start : start + TINY.context + 1]))
        with torch.no_grad():
            scores = model(tokens[None, :-1])[0]
        loss += float(functional.cross_entropy(scores, tokens[1:], reduction="sum"))
        targets += len(tokens) - 1
        right += int((scores.argmax(1) == tokens[1:]).sum())
    return loss, targets, right


def test_parts_add_up_to_what_plain_torch_finds_however_many_there_are(
    bench: Bench, model: Path, data: Path
) -> None:
    loss, targets, right = plainly(TEXT_BYTES)
    assert targets == len(TEXT_BYTES) - 1
    for parts in (1, 3):
        prepared = bench.opened(TINY, model, data, parts)
        assert prepared.text_bytes == len(TEXT_BYTES)
        found = bench.total([bench.unit(part) for part in range(parts)], prepared.text_bytes)
        assert found.parts == parts
        assert (found.tally.targets, found.tally.correct) == (targets, right)
        assert found.tally.loss_micronats == pytest.approx(1_000_000 * loss, rel=1e-6)
        result = json.loads(Path(found.files[0]).read_text())
        mean = found.tally.loss_micronats / 1_000_000 / targets
        assert result["eval_loss"] == mean
        assert result["perplexity"] == pytest.approx(math.exp(mean))
        bits = mean * targets / math.log(2) / len(TEXT_BYTES)
        assert result["bits_per_byte"] == pytest.approx(bits)
        assert result["counts"]["targets"] == targets


def test_windows_and_updates_of_an_evaluation_are_found_again(
    bench: Bench, model: Path, data: Path
) -> None:
    bench.opened(TINY, model, data, 2)
    unit = bench.unit(1)
    assert len({leaf.parameters for leaf in unit.leaves}) == 1
    assert unit.leaves[0].optimizer == NO_DIGEST
    for window in range(4):
        opened = unit.leaves[window]
        found = bench.ask(CheckWindow(opened, 1, unit.states[window]), WindowChecked)
        assert found.opened_ok
        assert found.found == leaf_digest(unit.leaves[window + 1])
    checked = bench.check_update(unit)
    assert checked.states_ok
    assert checked.update == blob_id(manifest_of(Path(unit.update).read_bytes()))
    # The same leaves of another part are nobody's.
    other = bench.ask(CheckWindow(unit.leaves[1], 0, unit.states[1]), WindowChecked)
    assert not other.opened_ok


def test_invented_counts_and_a_flattered_result_show(bench: Bench, model: Path, data: Path) -> None:
    bench.opened(TINY, model, data, 2)
    lazy, flattered = bench.unit(0, "skip-work"), bench.unit(1, "wrong-weights")
    found = bench.ask(CheckWindow(lazy.leaves[1], 0, lazy.states[1]), WindowChecked)
    assert found.opened_ok
    assert found.found != leaf_digest(lazy.leaves[2])
    checked = bench.check_update(flattered)
    assert checked.update != blob_id(manifest_of(Path(flattered.update).read_bytes()))


def test_a_round_of_an_evaluation_moves_nothing_but_its_number(
    bench: Bench, model: Path, data: Path
) -> None:
    prepared = bench.opened(TINY, model, data, 1)
    unit = bench.unit(0)
    merged = bench.ask(MergeRound(Round(0), (Contribution(unit.update, 20),)), Merged)
    assert (merged.round, merged.state_hash) == (1, prepared.state_hash)
    again = bench.ask(TrainUnit(lease(0), 0, Round(1), True, 0, ""), Trained)
    assert Path(again.update).read_bytes() == Path(unit.update).read_bytes()
    for command in (Evaluate(), TrainUnit(lease(0), 1, Round(1), True, 0, "")):
        bench.ask(command, Failed)


def test_a_part_counts_once_and_counts_that_cannot_be_are_refused(
    bench: Bench, model: Path, data: Path
) -> None:
    one, two = PartTally(JOB, 0, Tally(1, 5, 2, 9)), PartTally(JOB, 1, Tally(1, 1, 0, 1))
    assert total_of([one, two, one]) == (Tally(2, 6, 2, 10), 2)
    for bad in (Tally(1, 1, 2, 0), Tally(1, 1, 1, -1), Tally(1, 1, 1, 1 << 50), Tally(-1, 0, 0, 0)):
        with pytest.raises(PeerFault):
            read_part(encode(PartTally(JOB, 0, bad)))
    bench.opened(TINY, model, data, 1)
    path = bench.folder / "forged.bin"
    path.write_bytes(encode(PartTally(JobId(bytes(32)), 0, Tally())))
    bench.ask(Total((str(path),), str(bench.folder / "out"), "{}", 0), Failed)


def test_windows_do_not_depend_on_how_many_share_them() -> None:
    whole = [at for low, high in cut_tokens(1_000, 1, 16) for at in range(low, high - 1, 16)]
    for parts in (2, 3, 7):
        bounds = cut_tokens(1_000, parts, 16)
        assert [at for low, high in bounds for at in range(low, high - 1, 16)] == whole
        assert bounds[0][0] == 0
        assert bounds[-1][1] == 1_000
    with pytest.raises(Misuse, match="too few for 3 providers"):
        cut_tokens(33, 3, 16)


def test_a_language_model_of_transformers_is_measured_as_transformers_does(
    bench: Bench, data: Path, tmp_path: Path
) -> None:
    base = write_model(tmp_path / "llama")
    prepared = bench.opened(spec_of(base), base, data, 2)
    assert prepared.text_bytes == len(TEXT_BYTES)
    found = bench.total([bench.unit(part) for part in range(2)], prepared.text_bytes)
    assert found.tally.targets == found.tally.samples * 16 - (-(found.tally.targets) % 16)
    model = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(base / "tokenizer.json"))
    ids = torch.tensor(tokenizer.encode(TEXT_BYTES.decode()))
    loss = 0.0
    for start in range(0, len(ids) - 1, 16):
        rows = ids[None, start : start + 17]
        with torch.no_grad():
            scores = model(input_ids=rows[:, :-1]).logits[0]
        loss += float(functional.cross_entropy(scores, rows[0, 1:], reduction="sum"))
    assert found.tally.targets == len(ids) - 1
    assert found.tally.loss_micronats == pytest.approx(1_000_000 * loss, rel=1e-5)


def test_chats_count_what_an_assistant_says(bench: Bench, tmp_path: Path) -> None:
    base = write_model(tmp_path / "llama")
    write_chats(tmp_path / "chats.jsonl", 12)
    spec = spec_of(base, context=48, masked=True)
    prepared = bench.opened(spec, base, tmp_path / "chats.jsonl", 2, DataFormat("chat"))
    found = bench.total([bench.unit(part) for part in range(2)])
    assert (prepared.text_bytes, found.tally.samples) == (0, 12)
    assert 12 < found.tally.targets < 12 * 47
    assert json.loads(Path(found.files[0]).read_text())["bits_per_byte"] is None


def test_a_classifier_tells_how_often_it_is_right(bench: Bench, tmp_path: Path) -> None:
    config = transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=300,
        num_labels=2,
        id2label={0: "no", 1: "yes"},
        label2id={"no": 0, "yes": 1},
    )
    base = write_model(tmp_path / "bert", config, "SequenceClassification")
    table = tmp_path / "table.csv"
    words = [f"return {number}" for number in range(11)]
    table.write_text(
        "text,label\n" + "".join(f"{text},{'yes' if len(text) > 8 else 'no'}\n" for text in words)
    )
    spec = spec_of(base, head=SEQUENCE)
    bench.opened(spec, base, table, 2, DataFormat("table", labels=("no", "yes")))
    found = bench.total([bench.unit(part) for part in range(2)])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base).eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(base / "tokenizer.json"))
    right = 0
    for text in words:
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([tokenizer.encode(text)])).logits
        right += int(scores.argmax()) == (len(text) > 8)
    assert (found.tally.samples, found.tally.targets, found.tally.correct) == (11, 11, right)
    assert json.loads(Path(found.files[0]).read_text())["eval_accuracy"] == right / 11


def test_too_little_to_share_is_told(bench: Bench, model: Path, data: Path) -> None:
    data.write_bytes(b"short")
    command = Prepare(
        corpus=str(data),
        suffixes=(".txt",),
        bytes_max=100,
        shards=3,
        holdout_ppm=1,
        model=TINY,
        seed=b"",
        folder=str(bench.folder / "p"),
        base=str(model),
        whole=True,
    )
    assert "too few" in bench.ask(command, Failed).reason
    again = bench.ask(replace(command, shards=1), Prepared)
    assert again.examples == 1


def test_a_built_in_model_that_was_cut_short_is_told_by_its_file(
    bench: Bench, model: Path, data: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short"
    short.mkdir()
    (short / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:100])
    command = Prepare(
        corpus=str(data),
        suffixes=(".txt",),
        bytes_max=1 << 20,
        shards=1,
        holdout_ppm=1,
        model=TINY,
        seed=b"",
        folder="",
        base=str(short),
        whole=True,
    )
    said = bench.ask(command, Failed)
    assert said.reason.startswith(f"{short}/model.safetensors: corrupt checkpoint")
    assert said.fix == "copy the folder again: dpin fetch JOB"

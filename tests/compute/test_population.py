"""Many clients in one process end where nodes would: the same state, to the bit."""

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dpin.base.codec import encode
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.cli.app import run
from dpin.compute import population
from dpin.compute.aggregation.copies import (
    COSINE_PPM_MAX,
    OVERLAP_PPM_MAX,
    SPARSE_COSINE_PPM_MAX,
    SPARSE_PPM_MAX,
    copies,
    cosine_ppm,
)
from dpin.compute.aggregation.gram import gram_of
from dpin.compute.checkpoint import decode_global
from dpin.compute.population import Client, Population
from dpin.compute.presets import DENSE, FEEDBACK_PPM, SHORT
from dpin.compute.probe import settle
from dpin.compute.session import Session
from dpin.compute.task import (
    INT4,
    SPARSE,
    Contribution,
    EncodingSpec,
    Merged,
    MergeRound,
    OpenJob,
    Prepared,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.train import seat_examples
from tests.support.training import (
    CORPUS,
    JOB,
    SEATS,
    TINY,
    TINY_INNER,
    Desk,
    MemoryFiles,
    lease,
    manifest_for,
    prepare,
)

ROUNDS = 3
ROWS = st.lists(st.lists(st.integers(-3, 3), min_size=12, max_size=12), min_size=1, max_size=6)


class Job:
    """A job of three seats, ready for either way."""

    def __init__(self, encoding: EncodingSpec) -> None:
        settle()
        self.files = MemoryFiles({"corpus.txt": CORPUS})
        self.desk = Desk(self.files)
        self.session = Session(self.desk.door())
        self.session.run(prepare("made"))
        prepared = self.desk.reports[-1]
        assert isinstance(prepared, Prepared)
        self.prepared = prepared
        self.manifest: TrainManifest = manifest_for(prepared, SHORT, encoding)

    def by_nodes(self) -> list[Digest]:
        """The state after each round, with all that a node does."""
        paths = (self.prepared.shards, self.prepared.holdout, self.prepared.initial)
        self.session.run(OpenJob(JOB, encode(self.manifest), *paths, Round(0), "worker-1"))
        left = [NO_DIGEST] * SEATS
        found = []
        for number in range(ROUNDS):
            parts = []
            for seat in range(SEATS):
                unit = TrainUnit(lease(seat), seat, Round(number), number == 0, 0, "", left[seat])
                self.session.run(unit)
                trained = self.desk.reports[-1]
                assert isinstance(trained, Trained), trained
                left[seat] = trained.error_buffer
                parts.append(Contribution(trained.update, TINY_INNER.steps))
            self.session.run(MergeRound(Round(number), tuple(parts)))
            merged = self.desk.reports[-1]
            assert isinstance(merged, Merged), merged
            found.append(merged.state_hash)
        return found

    def together(self, manifest: TrainManifest) -> Population:
        """The same seats as clients of one process."""
        shards = [self.files.read(path) for path in self.prepared.shards]
        clients = [Client(lease(at), seat_examples(manifest, shards, at)) for at in range(SEATS)]
        state = decode_global(self.files.read(self.prepared.initial), TINY)
        return Population(JOB, manifest, state, clients)


@pytest.mark.parametrize(
    "encoding",
    [
        DENSE,
        EncodingSpec(INT4),
        EncodingSpec(INT4, 0, FEEDBACK_PPM),
        EncodingSpec(SPARSE, 256, FEEDBACK_PPM),
    ],
    ids=["int8", "int4", "int4-feedback", "sparse"],
)
def test_clients_of_one_process_end_in_the_state_of_nodes(encoding: EncodingSpec) -> None:
    job = Job(encoding)
    many = job.together(job.manifest)
    assert [many.round().state_hash for _ in range(ROUNDS)] == job.by_nodes()


@pytest.mark.parametrize("ahead", [0, 64, 1 << 20], ids=["none", "some", "all"])
def test_batches_drawn_ahead_are_those_of_nodes(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(DENSE)
    many = job.together(job.manifest)
    want = [many.round().state_hash for _ in range(2)]
    monkeypatch.setattr(population, "DRAWN_AHEAD", ahead)  # a client's unit draws 32 examples
    again = job.together(job.manifest)
    assert [again.round().state_hash for _ in range(2)] == want


def test_a_client_that_diverges_has_no_part_and_begins_anew() -> None:
    job = Job(DENSE)
    wild = replace(TINY_INNER, learning_rate_ppm=1_000_000_000_000, weight_decay_ppm=0)
    many = job.together(replace(job.manifest, inner=wild))
    before = many.state.parameters.clone()
    found = many.round()
    assert found.diverged == SEATS
    assert torch.equal(many.state.parameters, before)  # a round of nothing has no momentum yet
    assert many.round().diverged == SEATS


@given(ROWS)
def test_copies_are_found_as_pair_by_pair(rows: list[list[int]]) -> None:
    vectors = [torch.tensor(row) for row in rows]
    gram = gram_of(vectors)
    sparse = [bool((row != 0).sum() * 1_000_000 <= len(row) * SPARSE_PPM_MAX) for row in vectors]
    moved = [{place for place, value in enumerate(row) if value} for row in rows]
    want: dict[int, int] = {}
    for later in range(len(rows)):
        for earlier in range(later):
            one, two = moved[earlier], moved[later]
            least = min(len(one), len(two))
            alike = bool(least) and len(one & two) * 1_000_000 // least >= OVERLAP_PPM_MAX
            both = sparse[earlier] and sparse[later] and alike
            limit = SPARSE_COSINE_PPM_MAX if both else COSINE_PPM_MAX
            if earlier not in want and cosine_ppm(gram, earlier, later) >= limit:
                want[later] = earlier
                break
    assert copies(lambda: vectors, gram) == want


def test_the_command_tries_out_a_folder_of_clients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in range(2):
        (tmp_path / f"{at}.txt").write_bytes(CORPUS[at * 2000 : at * 2000 + 2000])
    words = ["--rounds", "2", "--steps", "1", "--batch", "1", "--json"]
    assert run(["sim", "clients", str(tmp_path), *words]) == 0
    rounds = json.loads(capsys.readouterr().out)["rounds"]
    assert [one["round"] for one in rounds] == [0, 1]
    assert rounds[0]["state"] != rounds[1]["state"]
    assert rounds[1]["holdout"] < 6
    assert run(["sim", "clients", str(tmp_path / "0.txt"), "--clients", "900"]) == 2


def test_texts_that_cannot_be_clients_are_refused_before_torch_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dpin.cli.population", None)  # Importing it would fail.
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.txt").write_text("short")
    refused = {
        "short.txt": "a client's text must be longer than 64 bytes",
        "empty": "holds no files",
        ".": "5 clients, but 1 files",
        "nowhere": "No such file or directory",
    }
    for name, reason in refused.items():
        assert run(["sim", "clients", str(tmp_path / name), "--clients", "5"]) in {2, 4}
        told = capsys.readouterr().err
        assert reason in told
        assert "  fix: " in told
        assert "loading torch" not in told

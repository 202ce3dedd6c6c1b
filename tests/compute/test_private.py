"""Private data in workers: each owner reads its own, skewed as far as can be, and only moves."""

from pathlib import Path

from msgspec.structs import replace

from dpin.base.codec import encode
from dpin.base.ids import NO_BLOB, Round
from dpin.compute.hubspec import DataFormat, PrivatePlace, PrivateSpec
from dpin.compute.presets import QUICK
from dpin.compute.safety import RobustSpec
from dpin.compute.task import (
    Contribution,
    Evaluate,
    Evaluated,
    Failed,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    Prepare,
    Prepared,
    Trained,
    TrainManifest,
    TrainUnit,
)
from tests.compute.test_hub import Bench
from tests.support.training import JOB, TINY, TINY_INNER, lease

WORDS = ("the sea is wide and grey. ", "if x > 0: return x\n", "0123456789 9876543210 ")
SEATS = len(WORDS)
MEAN = RobustSpec()


def opening(
    prepared: Prepared, folder: Path, place: PrivatePlace | None, robust: RobustSpec = MEAN
) -> OpenJob:
    """The job as one node opens it; `place` is where its own part lies."""
    manifest = TrainManifest(
        model=TINY,
        inner=replace(TINY_INNER, steps=16, learning_rate_ppm=10_000),
        outer=QUICK,
        seats=SEATS,
        rounds=2,
        windows=4,
        shards=(),
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=prepared.state_hash,
        fingerprint=prepared.fingerprint,
        private=PrivateSpec("letters", DataFormat("text")),
        robust=robust,
    )
    return OpenJob(
        job=JOB,
        manifest=encode(manifest),
        shards=(),
        holdout=prepared.holdout,
        checkpoint=prepared.initial,
        round=Round(0),
        folder=str(folder),
        private=place,
    )


def prepared_by(bench: Bench) -> Prepared:
    """The requester's part: a file of its own that measures the loss, and no shards."""
    (bench.folder / "eval.txt").write_text("".join(WORDS) * 20)
    command = Prepare(
        corpus=str(bench.folder / "eval.txt"),
        suffixes=(".txt",),
        bytes_max=1 << 20,
        shards=0,
        holdout_ppm=50_000,
        model=TINY,
        seed=b"seed",
        folder=str(bench.folder / "prepared"),
    )
    prepared = bench.ask(command, Prepared)
    assert prepared.shards == ()
    return prepared


def test_skewed_owners_make_a_model_of_all_their_data(tmp_path: Path) -> None:
    requester = Bench(tmp_path)
    prepared = prepared_by(requester)
    owners = []
    for seat, words in enumerate(WORDS):
        (tmp_path / f"own-{seat}.txt").write_text(words * 100)
        owner = Bench(tmp_path)
        place = PrivatePlace(str(tmp_path / f"own-{seat}.txt"), (".txt",), 1 << 20)
        owner.ask(opening(prepared, tmp_path / f"owner-{seat}", place), Opened)
        owners.append(owner)
    requester.ask(opening(prepared, tmp_path / "requester", None), Opened)
    before = requester.ask(Evaluate(), Evaluated).loss_micronats
    hashes = set()
    for number in range(2):
        units = [
            owner.ask(TrainUnit(lease(seat), seat, Round(number), number == 0, 0, ""), Trained)
            for seat, owner in enumerate(owners)
        ]
        parts = tuple(Contribution(unit.update, 16) for unit in units)
        assert not any(unit.states for unit in units)  # Nobody else could train on from them.
        merged = [
            node.ask(MergeRound(Round(number), parts), Merged) for node in (*owners, requester)
        ]
        hashes = {report.state_hash for report in merged}
    assert len(hashes) == 1
    after = requester.ask(Evaluate(), Evaluated).loss_micronats
    assert after < before - 500_000  # Half a nat a byte: on every owner's words.


def test_who_has_no_part_of_the_data_trains_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.ask(opening(prepared_by(bench), tmp_path / "work", None), Opened)
    bench.ask(TrainUnit(lease(0), 0, Round(0), True, 0, ""), Failed)


def test_what_the_requester_measures_with_tells_liars_from_owners(tmp_path: Path) -> None:
    requester = Bench(tmp_path)
    prepared = prepared_by(requester)
    fltrust = RobustSpec("fltrust", trusted_steps=8)
    (tmp_path / "own.txt").write_text("".join(WORDS) * 30)
    place = PrivatePlace(str(tmp_path / "own.txt"), (".txt",), 1 << 20)
    owner = Bench(tmp_path)
    owner.ask(opening(prepared, tmp_path / "owner", place, fltrust), Opened)
    requester.ask(opening(prepared, tmp_path / "requester", None, fltrust), Opened)
    before = requester.ask(Evaluate(), Evaluated).loss_micronats
    faults = ("", "wrong-weights", "wrong-weights")  # Two of three turn their movement round.
    units = [
        owner.ask(TrainUnit(lease(seat), seat, Round(0), True, 0, fault), Trained)
        for seat, fault in enumerate(faults)
    ]
    parts = tuple(Contribution(unit.update, 16) for unit in units)
    hashes = {
        node.ask(MergeRound(Round(0), parts), Merged).state_hash for node in (owner, requester)
    }
    assert len(hashes) == 1
    assert requester.ask(Evaluate(), Evaluated).loss_micronats < before

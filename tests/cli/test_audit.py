"""The rounds of a job are done again by whoever holds a ledger and the job's blobs."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace
from typing_extensions import override

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import Misuse, NotFound, NotVerified, PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, BlobId, ChainId, Digest, JobId, Round
from dpin.cli.auditing import blob_in, text_of, values_of
from dpin.cli.recount import DIFFERS, SAME, UNTOLD, Told, Verdict, judge, plan
from dpin.cli.replaying import SEATS_MAX, Replay, check_replay
from dpin.compute.heldjob import LEASES_KEPT
from dpin.compute.lineage import Lineage, Origin, linked, signed
from dpin.compute.presets import DATA_PARALLEL
from dpin.compute.probe import settle
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.scores import Score, Scored
from dpin.compute.session import Session
from dpin.compute.statements import (
    Signed,
    Statement,
    read_statements,
    stated,
    statements_text,
)
from dpin.compute.task import (
    INT8,
    Command,
    EncodingSpec,
    Merged,
    Opened,
    OuterSpec,
    Prepared,
    Report,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.node.descentviews import DescentRound, DescentView, TakenView
from dpin.verify.jobfiles import Found
from tests.support.training import CORPUS, SEATS, Desk, MemoryFiles, lease, manifest_for, prepare

R = TypeVar("R")
JOB = JobId(digest("test/job", b"audit"))
CHAIN = ChainId(digest("test/chain", b"audit"))
KEY = SigningKey(bytes(range(32)))
ROUNDS = 2


class Shelf(MemoryFiles):
    """Memory, and what lies on the disk."""

    @override
    def read(self, path: str) -> bytes:
        return self.held[path] if path in self.held else Path(path).read_bytes()


@dataclass
class Bench:
    """A worker in this process."""

    desk: Desk = field(default_factory=lambda: Desk(Shelf()))

    def __post_init__(self) -> None:
        self.desk.files.held["corpus.txt"] = CORPUS
        self.session = Session(self.desk.door())

    def do(self, command: Command, kind: type[R]) -> R:
        self.session.run(command)
        report = self.desk.reports[-1]
        assert isinstance(report, kind), report
        return report


class Job:
    """A job of two rounds that has ended: its blobs in a folder, its rounds as a ledger has it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._bench = folder, Bench()
        prepared = self._bench.do(prepare("made"), Prepared)
        made = manifest_for(prepared, OuterSpec(1_000_000, 0, nesterov=False), EncodingSpec(INT8))
        self.manifest = replace(
            made,
            shards=tuple(self._keep(path) for path in prepared.shards),
            holdout=self._keep(prepared.holdout),
            initial=self._keep(prepared.initial),
            robust=RobustSpec("krum"),
        )
        self.view = self.proposed(self.manifest)
        paths = {
            blob: blob_in(folder, blob)
            for blob in (*self.manifest.shards, self.manifest.holdout, self.manifest.initial)
        }
        found = Found(JOB, self.manifest, encode(self.manifest), paths)
        opened = self._bench.do(
            found.open_job((Round(0), paths[self.manifest.initial]), "w"), Opened
        )
        states = [opened.state_hash.hex()]
        for number in range(ROUNDS):
            self.view.rounds.append(self._round(number, states[-1]))
            [merge] = plan(self.view, partial(blob_in, folder), number + 1).commands[-1:]
            merged = self._bench.do(merge, Merged)
            states.append(merged.state_hash.hex())
            self.model_root = merged.model_root
        self.last = states[-1]

    def proposed(self, manifest: TrainManifest) -> DescentView:
        return DescentView(
            job=JOB.hex(),
            requester="aa" * 32,
            manifest=self.put(encode(manifest)).hex(),
            fingerprint=manifest.fingerprint.hex(),
            state_hash=manifest.state_hash.hex(),
            rounds=[],
        )

    def put(self, data: bytes) -> BlobId:
        blob = blob_id(manifest_of(data))
        (self.folder / f"{blob.hex()}.data").write_bytes(data)
        return blob

    def _keep(self, path: str) -> BlobId:
        return self.put(self._bench.desk.files.read(path))

    def _round(self, number: int, state_hash: str) -> DescentRound:
        units = [
            self._bench.do(TrainUnit(lease(seat), seat, Round(number), True, 0, ""), Trained)
            for seat in range(SEATS)
        ]
        taken = [
            TakenView(
                provider=bytes([seat + 1]).hex() * 32,
                lease=lease(seat).hex(),
                update=self._keep(unit.update).hex(),
                steps=unit.leaves[-1].step,
                seat=seat,
                committed=SEATS - seat,
            )
            for seat, unit in enumerate(units)
        ]
        beacon = digest("test/beacon", bytes([number])).hex()
        return DescentRound(
            round=number, state_hash=state_hash, taken=taken, closed=True, beacon=beacon
        )

    def again(self, told: Told | None = None, view: DescentView | None = None) -> Verdict:
        """By somebody who has nothing but folder and ledger."""
        made = plan(view or self.view, partial(blob_in, self.folder), ROUNDS)
        return judge(made, done(made.commands), told or Told())


def done(commands: tuple[Command, ...]) -> list[Report]:
    bench = Bench()
    reports = []
    for command in commands:
        bench.session.run(command)
        reports.append(bench.desk.reports[-1])
    return reports


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    settle()
    return Job(tmp_path_factory.mktemp("blobs"))


def scores_of(job: Job) -> list[Scored]:
    reports = done(plan(job.view, partial(blob_in, job.folder), ROUNDS).commands)
    return [report for report in reports if isinstance(report, Scored)]


def test_whoever_holds_the_blobs_finds_states_and_scores_again(job: Job) -> None:
    scores = scores_of(job)
    told = [
        stated(KEY, CHAIN, Statement(JOB, one.round, job.manifest.fingerprint, one.scores))
        for one in scores
    ]
    verdict = job.again(Told(told))
    assert (verdict.problems, verdict.one_class) == ((), True)
    assert [one.state for one in verdict.rounds] == [SAME, UNTOLD]  # No seat says the last.
    assert verdict.rounds[-1].state_hash == job.last
    assert [one.signed for one in verdict.rounds] == [{KEY.node_id.hex(): SAME}] * ROUNDS
    assert [len(one.scores) for one in verdict.rounds] == [SEATS] * ROUNDS
    assert "proven: 2 rounds done again, 1 of their states compared, 2 signed" in text_of(verdict)
    assert values_of(verdict)["verified"] is True


def test_another_state_and_other_scores_are_named(job: Job) -> None:
    first = scores_of(job)[0]
    one, *others = first.scores
    lie = (Score(one.lease, one.assigned + 1, one.other), *others)
    said = Statement(JOB, first.round, job.manifest.fingerprint, lie)
    before, after = job.view.rounds
    wrong = replace(job.view, rounds=[before, replace(after, state_hash="00" * 32)])
    verdict = job.again(Told([stated(KEY, CHAIN, said)]), wrong)
    assert verdict.rounds[0].state == DIFFERS
    assert verdict.rounds[0].signed == {KEY.node_id.hex(): DIFFERS}
    assert verdict.problems == (
        "round 1 leads to another state than was told",
        f"the scores of round 1 that {KEY.node_id.hex()[:8]} has signed are others",
    )
    assert "! round 1 leads to another state" in text_of(verdict)


def lineage_to(job: Job, last: Digest, model: Digest | None = None) -> Lineage:
    """Signed, from the first state to this one; what stands between is not known."""
    origin = Origin(
        JOB, KEY.node_id, NO_BLOB, NO_DIGEST, NO_DIGEST, (), RobustSpec(), PrivacySpec()
    )
    entries = linked(origin, job.manifest.state_hash, [(NO_DIGEST, ()), (last, ())])
    return signed(KEY, CHAIN, origin, entries, job.model_root if model is None else model)


def test_the_last_state_is_held_against_the_lineage(job: Job) -> None:
    last = Digest(bytes.fromhex(job.last))
    assert job.again(Told((), lineage_to(job, last))).rounds[-1].state == SAME
    assert job.again(Told((), lineage_to(job, NO_DIGEST))).rounds[-1].state == UNTOLD
    forged = job.again(Told((), lineage_to(job, digest("test/state", b""))))
    assert forged.problems == ("round 2 leads to another state than was told",)


def test_the_model_that_was_signed_must_be_of_the_last_state(job: Job) -> None:
    last = Digest(bytes.fromhex(job.last))
    assert job.again(Told((), lineage_to(job, last))).problems == ()
    another = job.again(Told((), lineage_to(job, last, digest("test/model", b""))))
    assert another.problems == ("the model that was signed is not what the last round gives",)


def test_the_last_state_is_held_against_what_its_seats_say(job: Job) -> None:
    agreed = replace(job.view, ended_in=job.last)
    assert [one.state for one in job.again(view=agreed).rounds] == [SAME, SAME]
    lie = job.again(view=replace(job.view, ended_in="00" * 32))
    assert lie.problems == ("round 2 leads to another state than was told",)
    forged = Told((), lineage_to(job, digest("test/state", b"")))
    assert job.again(forged, agreed).rounds[-1].state == DIFFERS  # One of both is another.


def test_scores_of_another_class_or_another_job_are_not_compared(job: Job) -> None:
    said = Statement(JOB, Round(0), digest("test/class", b"gpu"), ())
    elsewhere = replace(said, fingerprint=job.manifest.fingerprint, job=JobId(bytes(32)))
    verdict = job.again(Told([stated(KEY, CHAIN, one) for one in (said, elsewhere)]))
    assert (verdict.problems, verdict.rounds[0].signed) == ((), {})


def test_what_was_merged_in_another_order_or_left_out_leads_elsewhere(job: Job) -> None:
    one, two = job.view.rounds
    short_of_one = replace(job.view, rounds=[replace(one, taken=one.taken[1:]), two])
    assert job.again(view=short_of_one).rounds[0].state == DIFFERS


def test_a_blob_that_is_gone_or_is_another_ends_it(job: Job, tmp_path: Path) -> None:
    blob = BlobId(bytes.fromhex(job.view.manifest))
    with pytest.raises(NotFound, match="is not in"):
        blob_in(tmp_path, blob)
    (tmp_path / f"{blob.hex()}.data").write_bytes(b"another")
    with pytest.raises(NotVerified, match="another blob"):
        blob_in(tmp_path, blob)


def test_a_whole_blob_is_found_though_nobody_waited_for_the_disk(tmp_path: Path) -> None:
    said = b"what a provider sent"
    blob = blob_id(manifest_of(said))
    part = tmp_path / f"{blob.hex()}.part"
    part.write_bytes(bytes(len(said)))  # Only its room: it is on its way.
    with pytest.raises(NotFound, match="is not in"):
        blob_in(tmp_path, blob)
    part.write_bytes(said)
    assert blob_in(tmp_path, blob) == str(part.resolve())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"privacy": PrivacySpec("secagg")}, "under masks"),
        ({"privacy": PrivacySpec("sealed", reader=bytes(32))}, "sealed"),
        ({"outer": OuterSpec(0, 0, nesterov=False, rule="evaluate")}, "nothing is merged"),
    ],
)
def test_what_blobs_alone_do_not_show_is_refused(
    job: Job, change: dict[str, object], why: str
) -> None:
    view = job.proposed(replace(job.manifest, **change))
    with pytest.raises(Misuse, match=why):
        plan(view, partial(blob_in, job.folder), 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"privacy": PrivacySpec("dp", 0, 1 << 20, 4_000_000, 20_000)}, "its providers' own"),
        ({"outer": DATA_PARALLEL}, "left over"),
        ({"encoding": EncodingSpec(INT8, 0, 950_000)}, "left over"),
        ({"seats": SEATS_MAX + 1}, "more than 8 seats"),
    ],
)
def test_units_that_nobody_outside_gets_again_are_not_tried(
    job: Job, change: dict[str, object], why: str
) -> None:
    assert SEATS_MAX <= LEASES_KEPT
    check_replay(job.manifest)
    with pytest.raises(Misuse, match=why):
        check_replay(replace(job.manifest, **change))


def test_a_lease_is_followed_from_the_first_round_on_while_its_units_are_whole(job: Job) -> None:
    one, two = job.view.rounds
    part, *rest = one.taken
    replay = Replay(job.manifest)
    cut = replace(one, taken=[replace(part, steps=part.steps - 1), *rest])
    first = {unit.lease.hex() for unit in replay.units(cut)}
    assert first == {taken.lease for taken in rest}
    assert {unit.lease.hex() for unit in replay.units(two)} == first
    late = [replace(taken, age=1) for taken in two.taken]
    assert [*Replay(job.manifest).units(replace(one, taken=late))] == []


def test_scores_are_published_signed_and_forged_ones_are_refused() -> None:
    said = Statement(JOB, Round(3), digest("test/class", b""), (Score(lease(0), -4, 700),))
    mine = stated(KEY, CHAIN, said)
    text = statements_text(CHAIN, [mine])
    assert read_statements(text) == (mine,)
    assert '"signer": "' + KEY.node_id.hex() in text
    forged = Signed(KEY.node_id, replace(said, round=Round(4)), mine.signature)
    absurd = stated(KEY, CHAIN, replace(said, scores=(Score(lease(0), 1 << 40, 0),)))
    for lie in (forged, absurd):
        with pytest.raises(PeerFault, match="scores that"):
            read_statements(statements_text(CHAIN, [lie]))
    for garbage in ("", "{}", "[]", '{"chain": "00", "statements": [{}]}', text.replace("8", "x")):
        with pytest.raises(PeerFault):
            read_statements(garbage)

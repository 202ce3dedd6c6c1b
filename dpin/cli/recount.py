"""The rounds of a job done again from its blobs: what to do, and what it says beside the ledger.

No step needs what another has found, so the commands for a worker are planned whole, and judged
when all is done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dpin.base.codec import decode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_DIGEST, BlobId, Digest, JobId, Round, short
from dpin.cli.replaying import Replay, is_same
from dpin.compute.lineage import Lineage
from dpin.compute.scores import Judged, Scored, ScoreRound, sampled
from dpin.compute.statements import Signed, Statement
from dpin.compute.task import (
    SGD,
    Command,
    Contribution,
    Failed,
    InferManifest,
    Manifest,
    Merged,
    MergeRound,
    Opened,
    Probe,
    Probed,
    Report,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.node.descentviews import DescentRound, DescentView
from dpin.storage.wanted import SMALL_BYTES_MAX
from dpin.verify.jobfiles import Found
from dpin.verify.naming import files_of

FOLDER: Final = "recount"  # of the worker, in its own
SAME: Final = "same"
DIFFERS: Final = "differs"
UNTOLD: Final = "not told"  # by anybody: not more than half of the seats say the last state


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a worker is to do, in order."""

    view: DescentView
    manifest: TrainManifest
    commands: tuple[Command, ...]
    scored: bool  # whether the job's updates can be scored at all


@dataclass(slots=True)
class Redone:
    """One round: what it leads to, its scores, and what others have told of both."""

    round: int
    state_hash: str
    state: str  # SAME, DIFFERS or UNTOLD
    refused: tuple[str, ...]
    scores: list[tuple[str, str, int, int]] = field(default_factory=list)  # lease, provider, own, o
    signed: dict[str, str] = field(default_factory=dict)  # SAME or DIFFERS, by who signed
    units: list[tuple[str, str, str]] = field(default_factory=list)  # lease, provider, SAME or D.


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all of it has come to."""

    job: str
    one_class: bool  # whether this machine is of the job's numeric class
    rounds: list[Redone]
    problems: tuple[str, ...]  # what is not as it was told


def plan(
    view: DescentView, blob: Callable[[BlobId], str], rounds: int, *, replay: bool = False
) -> Plan:
    """Gather the blobs of the first `rounds` rounds, and say what to do with them.

    `blob` gives the file of one, checked; with `replay` units are trained again as well. Raises
    Misuse where the job cannot be done again.
    """
    name = BlobId(bytes.fromhex(view.manifest))
    with Path(blob(name)).open("rb") as file:
        data = file.read(SMALL_BYTES_MAX + 1)
    try:
        manifest: Manifest = decode(Manifest, data, SMALL_BYTES_MAX)
    except PeerFault as fault:
        raise Misuse(
            f"the job's manifest cannot be read: {fault}", fix="its rounds say nothing"
        ) from None
    _check_open(manifest)
    assert isinstance(manifest, TrainManifest), "others were refused"
    paths = {one: blob(one) for one in files_of(manifest)}
    found = Found(JobId(bytes.fromhex(view.job)), manifest, data, paths)
    start = found.open_job((Round(0), paths[manifest.initial]), FOLDER)
    scored = manifest.outer.rule == SGD and manifest.private is None and manifest.privacy.replayable
    commands: list[Command] = [Probe(), start]
    replayed = Replay(manifest) if replay else None
    for record in view.rounds[:rounds]:
        if not record.closed:
            break
        updates = {one.update: blob(BlobId(bytes.fromhex(one.update))) for one in record.taken}
        commands += replayed.units(record) if replayed is not None else ()
        commands += _commands(record, updates, scored=scored)
    return Plan(view, manifest, tuple(commands), scored)


def _check_open(manifest: Manifest) -> None:
    """Raise Misuse where blobs alone do not say what a round led to."""
    if isinstance(manifest, InferManifest) or manifest.outer.rule == "evaluate":
        raise Misuse("nothing is merged in this job", fix="name a job that trains a model")
    if manifest.privacy.masked:
        raise Misuse(
            "its updates are under masks, and who has taken them off is gone",
            fix="name a job whose privacy is none or dp",
        )
    if manifest.privacy.sealed:
        raise Misuse("its files are sealed: only its seats read them", fix="ask one of its seats")


def _commands(
    record: DescentRound, updates: Mapping[str, str], *, scored: bool
) -> Iterator[Command]:
    round_ = Round(record.round)
    fresh = {bytes.fromhex(one.lease): one for one in record.taken if not one.age}
    if scored and fresh and record.beacon:
        beacon = Digest(bytes.fromhex(record.beacon))
        chosen = [fresh[lease] for lease in sampled(beacon, [Digest(one) for one in fresh])]
        judged = (
            Judged(updates[one.update], Digest(bytes.fromhex(one.lease)), one.seat, one.steps)
            for one in chosen
        )
        yield ScoreRound(round_, beacon, tuple(judged))
    taken = sorted(record.taken, key=lambda one: one.committed)
    yield MergeRound(
        round_, tuple(Contribution(updates[one.update], one.steps, one.age) for one in taken)
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What others have said beside the ledger: signed scores, and where the last state is from."""

    signed: Sequence[Signed] = ()
    lineage: Lineage | None = None


def judge(done: Plan, reports: Sequence[Report], told: Told) -> Verdict:
    """Compare what a worker has found with what was told; raises Misuse where it found nothing.

    A worker that cannot go on has fewer reports than commands, and the last of them says why.
    """
    judging = _Judging(done, told)
    for command, report in zip(done.commands, reports, strict=False):
        judging.take(command, report)
    problems = (*judging.problems, *_problems(judging.rounds))
    return Verdict(done.view.job, judging.one_class, judging.rounds, problems)


@dataclass(slots=True)
class _Judging:
    """What has been found so far."""

    plan: Plan
    told: Told
    one_class: bool = False
    rounds: list[Redone] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _scored: Scored | None = None  # of the round that is merged next
    _units: list[tuple[str, str, str]] = field(default_factory=list)  # likewise

    def take(self, command: Command, report: Report) -> None:
        """The next report; raises Misuse."""
        match report:
            case Probed(fingerprint=fingerprint):
                self.one_class = fingerprint == self.plan.manifest.fingerprint
            case Opened(state_hash=found):
                if found.hex() != self.plan.view.state_hash:
                    self.problems.append("the first state is not what the job began with")
            case Scored():
                self._scored = report
            case Trained():
                self._trained(report)
            case Merged():
                self._merged(report)
            case Failed(reason=reason):
                self._failed(command, reason)
            case _:
                raise AssertionError("a worker answers what it was asked")

    def _failed(self, command: Command, reason: str) -> None:
        if isinstance(command, TrainUnit):
            self.problems.append(
                f"a unit of round {command.round + 1} was not done again: {reason}"
            )
            return
        if not isinstance(command, ScoreRound):
            raise Misuse(f"it cannot be done again here: {reason}", fix="try another machine")
        self.problems.append(f"the updates of round {command.round + 1} were not scored: {reason}")

    def _trained(self, report: Trained) -> None:
        """Compare a unit, where this machine computes as the job's do."""
        if self.one_class:
            record, lease = self.plan.view.rounds[report.round], report.lease.hex()
            makers = {one.lease: one.provider for one in record.taken}
            same = is_same(report, record)
            self._units.append((lease, makers[lease], SAME if same else DIFFERS))

    def _merged(self, report: Merged) -> None:
        redone = _redone(self.plan.view, report, self.told.lineage)
        scored, self._scored = self._scored, None
        redone.units, self._units = self._units, []
        self.rounds.append(redone)
        if _is_another_model(report, self.told.lineage):
            self.problems.append("the model that was signed is not what the last round gives")
        if scored is None:
            return
        makers = {one.lease: one.provider for one in self.plan.view.rounds[redone.round].taken}
        for one in scored.scores:
            lease = one.lease.hex()
            redone.scores.append((lease, makers[lease], one.assigned, one.other))
        for signed in self.told.signed if self.one_class else ():
            if self._is_about(signed.statement, redone):
                same = signed.statement.scores == scored.scores
                redone.signed[signed.node.hex()] = SAME if same else DIFFERS

    def _is_about(self, statement: Statement, redone: Redone) -> bool:
        """Whether it says something of this round that this machine would say as well."""
        named = statement.job.hex(), statement.round
        one_class = statement.fingerprint == self.plan.manifest.fingerprint
        return one_class and named == (self.plan.view.job, redone.round)


def _is_another_model(report: Merged, lineage: Lineage | None) -> bool:
    """Whether this is the last round of a lineage, and its model not of what that gives."""
    if lineage is None or report.round != len(lineage.entries) - 1:
        return False
    return report.model_root != lineage.model_root


def _redone(view: DescentView, report: Merged, lineage: Lineage | None) -> Redone:
    number, found = report.round - 1, report.state_hash.hex()
    told = {[*(one.state_hash for one in view.rounds), view.ended_in][report.round]} - {None}
    if lineage is not None and report.round < len(lineage.entries):
        told |= {lineage.entries[report.round].state_hash.hex()} - {NO_DIGEST.hex()}
    state = UNTOLD if not told else SAME if told == {found} else DIFFERS
    return Redone(number, found, state, report.refused)


def _problems(rounds: list[Redone]) -> Iterator[str]:
    for redone in rounds:
        name = f"round {redone.round + 1}"
        if redone.state == DIFFERS:
            yield f"{name} leads to another state than was told"
        for _, provider, state in redone.units:
            if state == DIFFERS:
                who = short(bytes.fromhex(provider))
                yield f"the update of {name} by {who} is not what its work gives here"
        for signer, said in sorted(redone.signed.items()):
            if said == DIFFERS:
                who = short(bytes.fromhex(signer))
                yield f"the scores of {name} that {who} has signed are others"

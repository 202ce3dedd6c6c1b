"""What an audit of a job's rounds is done from, who does it, and how it is told."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trio

from dpin.base.blob import blob_id
from dpin.base.errors import Misuse, NotFound, NotVerified, PeerFault
from dpin.base.ids import BlobId, short
from dpin.cli.archives import source_of
from dpin.cli.audits import finished
from dpin.cli.descent import LINEAGE_FILE
from dpin.cli.link import connect
from dpin.cli.options import say, table
from dpin.cli.recount import SAME, Plan, Redone, Told, Verdict, judge, plan
from dpin.client.client import Client
from dpin.compute.lineage import read_lineage
from dpin.compute.scores import ScoreRound
from dpin.compute.statements import SCORES_FILE, read_statements
from dpin.compute.task import Command, Failed, Merged, Report, TrainUnit
from dpin.node.blobviews import FetchRequest
from dpin.node.descents import HEX_DIGITS, descent_of
from dpin.node.descentviews import DescentView
from dpin.node.foreman import answers
from dpin.storage.blobfiles import manifest_of_file

POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where ledger, blobs and what was told are: files, or else the node of `home`."""

    home: str | None
    ledger: Path | None
    blobs: Path | None
    result: Path | None
    replay: bool = False  # whether units are trained again


def audited(evidence: Evidence, job: str, first: int | None) -> Verdict:
    """Do the rounds of a job again; raises Misuse, NotFound, or NotVerified for what is forged."""
    told = Told() if evidence.result is None else _told(evidence.result)
    with ExitStack() as stack:
        node = None
        if evidence.ledger is None or evidence.blobs is None:
            node = stack.enter_context(connect(evidence.home))
        view = _view(evidence, node, job)
        rounds = len(view.rounds) if first is None else first
        if rounds > len(view.rounds):
            raise NotFound(f"the job has {len(view.rounds)} rounds", fix="leave out --round")
        with _blobs(evidence, node) as blob:
            made = plan(view, blob, rounds, replay=evidence.replay)
            return _judged(made, told)


def _view(evidence: Evidence, node: Client | None, job: str) -> DescentView:
    if evidence.ledger is not None:
        run = source_of(evidence.ledger).run()
        finished(run)
        return descent_of(run.again.executor.state, job)
    assert node is not None, "it is asked where no file is given"
    if len(job) != HEX_DIGITS:
        found = node.job(job).job
        if found.ledger_id is None:
            raise NotFound(f"{found.id} is not on the ledger", fix="wait until it is")
        job = found.ledger_id
    return node.descent(job)


def _told(folder: Path) -> Told:
    """The signed scores in a result, and its lineage, where they are there; raises NotVerified."""
    if not folder.exists():
        raise NotFound(f"there is no {folder}", fix="name a folder that `dpin fetch` wrote")
    try:
        scores, lineage = (_text(folder / name) for name in (SCORES_FILE, LINEAGE_FILE))
        return Told(
            read_statements(scores) if scores else (),
            read_lineage(lineage) if lineage else None,
        )
    except OSError as problem:
        raise Misuse(
            f"{problem.filename}: {problem.strerror}", fix="name a folder that `dpin fetch` wrote"
        ) from None
    except PeerFault as fault:
        raise NotVerified(f"not proven: {fault}", fix="fetch the result again") from None


def _text(path: Path) -> str:
    if not path.parent.is_dir():
        raise NotADirectoryError(20, "is no folder", str(path.parent))
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


@contextmanager
def _blobs(evidence: Evidence, node: Client | None) -> Iterator[Callable[[BlobId], str]]:
    """What gives the file of a blob; raises NotFound, or NotVerified for another content."""
    if evidence.blobs is not None:
        folder = evidence.blobs
        yield lambda blob: blob_in(folder, blob)
    else:
        assert node is not None, "it is asked where no folder is given"
        asked = node
        yield lambda blob: _by_node(asked, blob)


def blob_in(folder: Path, blob: BlobId) -> str:
    """The file of a blob in a folder; raises NotFound, or NotVerified for another content.

    A node's own folder has some whole ones as parts: those for which nobody waited for the disk.
    """
    named = (folder / name for name in (f"{blob.hex()}.data", blob.hex()))
    path, part = next((path for path in named if path.is_file()), None), folder / _part(blob)
    if path is None and part.is_file() and blob_id(manifest_of_file(part)) == blob:
        return str(part.resolve())
    if path is None:
        raise NotFound(f"blob {blob.hex()} is not in {folder}", fix="dpin blob get HASH --out FILE")
    if blob_id(manifest_of_file(path)) != blob:
        raise NotVerified(f"not proven: {path} is another blob", fix="fetch it again")
    return str(path.resolve())


def _part(blob: BlobId) -> str:
    return f"{blob.hex()}.part"


def _by_node(node: Client, blob: BlobId) -> str:
    view = node.blobs.fetch(blob.hex(), FetchRequest())
    while view.blob.state == "fetching":
        time.sleep(POLL_SECONDS)
        view = node.blobs.fetched(blob.hex())
    if view.blob.state != "here":
        why = view.blob.reason or view.blob.state
        raise NotFound(f"nobody gave blob {blob.hex()}: {why}", fix="try again, or --blobs DIR")
    return view.blob.path


def _judged(made: Plan, told: Told) -> Verdict:
    with TemporaryDirectory(prefix="dpin-audit-") as folder:
        return judge(made, trio.run(answers, Path(folder), made.commands, _in_vain), told)


def _in_vain(command: Command, report: Report) -> bool:
    """Whether nothing that follows can be done any more; says what has been done."""
    if isinstance(report, Merged):
        say(f"merged round {report.round} again")
    return isinstance(report, Failed) and not isinstance(command, ScoreRound | TrainUnit)


# --- told ----------------------------------------------------------------------------------------


def values_of(verdict: Verdict) -> dict[str, object]:
    """For programs."""
    return {
        "verified": not verdict.problems,
        "job": verdict.job,
        "same_class": verdict.one_class,
        "problems": list(verdict.problems),
        "rounds": [
            {
                "round": one.round,
                "state_hash": one.state_hash,
                "state": one.state,
                "refused": list(one.refused),
                "scores": [
                    {"lease": lease, "provider": provider, "assigned": own, "other": other}
                    for lease, provider, own, other in one.scores
                ],
                "signed": one.signed,
                "units": [
                    {"lease": lease, "provider": provider, "state": state}
                    for lease, provider, state in one.units
                ],
            }
            for one in verdict.rounds
        ],
    }


def text_of(verdict: Verdict) -> str:
    """For people: the verdict, a line a round, and what is wrong."""
    rows = [_row(one) for one in verdict.rounds]
    lines = [
        *_heads(verdict),
        table(("ROUND", "LEADS TO", "WHICH IS", "SCORES OWN/OTHERS", "SIGNED"), rows),
    ]
    return "\n".join([*lines, *(f"! {problem}" for problem in verdict.problems)])


def _heads(verdict: Verdict) -> Iterator[str]:
    told = sum(one.state == "same" for one in verdict.rounds)
    signed = sum(len(one.signed) for one in verdict.rounds)
    word = "not as told" if verdict.problems else "proven"
    yield (
        f"{word}: {len(verdict.rounds)} rounds done again, {told} of their states compared, "
        f"{signed} signed scores compared"
    )
    units = [state for one in verdict.rounds for _, _, state in one.units]
    if units:
        yield f"{len(units)} units trained again, {units.count(SAME)} of them the same to the bit"
    if not verdict.one_class:
        yield "this machine is of another numeric class: only merges are compared"


def _row(one: Redone) -> tuple[str, ...]:
    scores = "  ".join(
        f"{short(bytes.fromhex(provider))} {own}/{other}" for _, provider, own, other in one.scores
    )
    signed = "  ".join(f"{short(bytes.fromhex(who))} {said}" for who, said in one.signed.items())
    refused = f", {len(one.refused)} refused" if one.refused else ""
    return (
        str(one.round + 1),
        one.state_hash[:16],
        one.state + refused,
        scores or "-",
        signed or "-",
    )

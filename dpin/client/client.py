"""The Python SDK: one node's HTTP API as typed calls.

    from pathlib import Path
    from dpin.client.client import Client

    with Client() as node:
        job = node.submit(Path("job.yaml"))
        for entry in node.events(job.id):
            print(entry.text)
        node.wait(job.id)
        node.fetch(job.id, Path("out"))

It blocks and needs no event loop; it loads neither torch nor libp2p.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

import msgspec

from dpin.base.errors import Misuse, unreadable
from dpin.client.blobs import NodeBlobs
from dpin.client.connection import Closed, Connection, Found, find_node
from dpin.client.errors import ClientError, JobFailed, Unreachable
from dpin.node.control import (
    CompareRequest,
    InviteRequest,
    LiftRequest,
    PauseRequest,
    PayRequest,
    PingRequest,
    PrepareRequest,
    ProofRequest,
    RunRequest,
    SignedRequest,
    SubmitRequest,
    TraceRequest,
    TransferRequest,
    ValidatorRequest,
)
from dpin.node.descentviews import DescentView
from dpin.node.document import TEXT_CHARS_MAX
from dpin.node.home import Home
from dpin.node.jobfile import read_job
from dpin.node.netviews import BanView, LinkView, NetworkView, PingView, TraceView
from dpin.node.proofviews import ComparisonView
from dpin.node.status import (
    Check,
    ExplainView,
    InviteView,
    JobDetail,
    JobView,
    LogEntry,
    Money,
    MovementView,
    NodeView,
    PeerView,
    PlanView,
    PreparedView,
    ProofView,
    ReceiptView,
    RestView,
    TransferView,
    ValidatorsView,
)

DONE: Final = "done"
POLL_SECONDS: Final = 0.3
PLAN_SECONDS: Final = 3_600.0  # as long as large data take to read
ENDED: Final = (DONE, "failed", "cancelled")
_WRONG_PLACE: Final = (NotADirectoryError, FileExistsError, IsADirectoryError, PermissionError)


class _Ok(msgspec.Struct):
    ok: bool


class _Pictures:
    """What a node shows. A job goes by any unambiguous prefix of its id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def node(self) -> NodeView:
        """The node itself."""
        return self._connection.get("/api/v1/node", NodeView)

    def peers(self) -> list[PeerView]:
        """Everybody it knows."""
        return self._connection.get_list("/api/v1/peers", "peers", PeerView)

    def jobs(self) -> list[JobView]:
        """Its own jobs and those it serves, newest first."""
        return self._connection.get_list("/api/v1/jobs", "jobs", JobView)

    def job(self, job: str) -> JobDetail:
        """One job, whole."""
        return self._connection.get(_path(job), JobDetail)

    def explain(self, job: str) -> ExplainView:
        """Why a job stands where it stands."""
        return self._connection.get(_path(job, "/explain"), ExplainView)

    def receipts(self, job: str) -> list[ReceiptView]:
        """What the ledger has done about a job, with proofs."""
        return self._connection.get_list(_path(job, "/receipts"), "receipts", ReceiptView)

    def checks(self) -> list[Check]:
        """What the node knows of its own health."""
        return self._connection.get_list("/api/v1/doctor", "checks", Check)


class _Records:
    """What the ledger has on record."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def descent(self, job: str) -> DescentView:
        """What the ledger says of anybody's job, by its whole id there."""
        return self._connection.get(f"/api/v1/ledger/jobs/{job}", DescentView)

    def proof(self, request: ProofRequest) -> ProofView:
        """What can be checked without a node; code "too-early" for what is not signed yet."""
        query = urlencode(msgspec.structs.asdict(request))
        return self._connection.get(f"/api/v1/ledger/proof?{query}", ProofView)

    def compare(self, proof: str) -> ComparisonView:
        """Whether the node knows the ledger of somebody's proof, up to 64 ends of epochs long."""
        request = CompareRequest(proof=proof)
        return self._connection.post("/api/v1/ledger/compare", request, ComparisonView)


class _Watching:
    """The network around a node."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def network(self) -> NetworkView:
        """The node's place in the network, and what it has counted."""
        return self._connection.get("/api/v1/network", NetworkView)

    def links(self) -> list[LinkView]:
        """Who is connected, and how well."""
        return self._connection.get_list("/api/v1/network/peers", "links", LinkView)

    def bans(self) -> list[BanView]:
        """Who is banned."""
        return self._connection.get_list("/api/v1/network/bans", "bans", BanView)

    def lift(self, request: LiftRequest) -> BanView:
        """End a ban."""
        return self._connection.post("/api/v1/network/lift", request, BanView)

    def ping(self, request: PingRequest) -> PingView:
        """Round trips to a connected peer."""
        return self._connection.post("/api/v1/network/ping", request, PingView)

    def trace(self, request: TraceRequest) -> TraceView:
        """The way to a peer, step by step."""
        return self._connection.post("/api/v1/network/trace", request, TraceView)


class _Logs:
    """What a job tells as it goes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def events(self, job: str, after: int = 0) -> Iterator[LogEntry]:
        """Entries of a job's log numbered above `after`, as they come, until the job has ended."""
        return (entry for entry in self.watch(job, after) if entry is not None)

    def watch(self, job: str, after: int = 0) -> Iterator[LogEntry | None]:
        """As `events`, and None about twice a second while nothing happens."""
        for item in self._connection.log(_path(job, "/log"), after):
            if not isinstance(item, Closed):
                yield item if isinstance(item, LogEntry) else None

    def log(self, job: str, after: int = 0) -> list[LogEntry]:
        """The entries of a job's log that are there now."""
        entries: list[LogEntry] = []
        for item in self._connection.log(_path(job, "/log"), after):
            if not isinstance(item, LogEntry):
                break
            entries.append(item)
        return entries


class _Commands:
    """What a node does when asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def plan(self, request: SubmitRequest) -> PlanView:
        """Say what a job would do, without doing it; reading its data and model takes a while."""
        return self._connection.post("/api/v1/jobs?dry_run=1", request, PlanView, PLAN_SECONDS)

    def submit(self, job: Path | SubmitRequest) -> JobView:
        """Start a job from its file, or from a request; returns at once."""
        request = job if isinstance(job, SubmitRequest) else request_from(job)
        return self._connection.post("/api/v1/jobs", request, JobView)

    def run(self, request: RunRequest) -> JobView:
        """Start one generation; its text comes as events of kind "token"."""
        return self._connection.post("/api/v1/run", request, JobView)

    def cancel(self, job: str) -> JobView:
        """End a job; what was done is paid."""
        return self._connection.delete(_path(job), JobView)

    def invite(self, request: InviteRequest) -> InviteView:
        """One line for the next machine."""
        return self._connection.post("/api/v1/network/invite", request, InviteView)

    def drain(self) -> RestView:
        """Finish what runs, take nothing new until the next start."""
        return self._connection.post("/api/v1/node/drain", {}, RestView)

    def pause(self, length: str = "") -> RestView:
        """The same for a while, over restarts too; without a length until `resume`."""
        return self._connection.post("/api/v1/node/pause", PauseRequest(length=length), RestView)

    def resume(self) -> RestView:
        """End both."""
        return self._connection.post("/api/v1/node/resume", {}, RestView)

    def stop(self) -> None:
        """End the node cleanly."""
        self._connection.get("/healthz", _Ok)
        with suppress(Unreachable):  # It may be gone before its answer is out.
            self._connection.post("/api/v1/node/stop", {}, _Ok)


class _Validators:
    """Who makes blocks, and being one of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def validators(self) -> ValidatorsView:
        """Everybody with a validator bond."""
        return self._connection.get("/api/v1/validators", ValidatorsView)

    def validate(self, request: ValidatorRequest) -> TransferView:
        """Bond, register, retire or withdraw; returns when the ledger has committed it."""
        return self._connection.post("/api/v1/validator", request, TransferView)


class _Purse:
    """Tokens: what accounts have, and giving them away."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def account(self, account: str) -> Money:
        """What any account has, by its id in hex."""
        return self._connection.get(f"/api/v1/accounts/{account}", Money)

    def history(self, after: int = 0, before: int = 0, count: int = 50) -> list[MovementView]:
        """The newest movements of its account between two numbers, newest first; 0: no bound."""
        query = f"after={after}&before={before}&count={count}"
        path = f"/api/v1/wallet/history?{query}"
        return self._connection.get_list(path, "movements", MovementView)

    def transfer(self, request: TransferRequest) -> TransferView:
        """Send tokens; returns when the ledger has committed it."""
        return self._connection.post("/api/v1/wallet/transfer", request, TransferView)

    def pay(self, request: PayRequest) -> TransferView:
        """Send tokens or credit to several at once, all or none."""
        return self._connection.post("/api/v1/wallet/pay", request, TransferView)

    def prepare(self, request: PrepareRequest) -> PreparedView:
        """What another account's key has to sign; nothing is sent."""
        return self._connection.post("/api/v1/wallet/prepare", request, PreparedView)

    def carry(self, request: SignedRequest) -> TransferView:
        """Bring a signed transaction of any account to the ledger."""
        return self._connection.post("/api/v1/wallet/submit", request, TransferView)


class Client(_Pictures, _Records, _Logs, _Commands, _Purse, _Validators, _Watching):
    """One node: of a home, at an address, or the one that DPIN_API or the usual home names."""

    def __init__(self, home: Home | None = None, url: str = "") -> None:
        super().__init__(Connection(Found(url) if url else find_node(home)))
        self.blobs = NodeBlobs(self._connection)

    def __enter__(self) -> Self:
        """Use it for a while."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its connections."""
        self._connection.close()

    @property
    def url(self) -> str:
        """Where the node answers."""
        return self._connection.url

    def wait(self, job: str, seconds: float | None = None) -> JobDetail:
        """Wait for a job's end; raises JobFailed for a bad one, ClientError when time is up."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (detail := self.job(job)).job.state not in ENDED:
            if deadline is not None and time.monotonic() > deadline:
                raise ClientError(
                    "timed-out", f"{detail.job.id} is {detail.job.state} still", "wait longer"
                )
            time.sleep(POLL_SECONDS)
        if detail.job.state != DONE:
            raise JobFailed(detail.job.id, detail.job.state, detail.job.reason)
        return detail

    def fetch(self, job: str, folder: Path | None = None) -> list[Path]:
        """Copy a job's result into `folder`; without one, say where it lies."""
        detail = self.job(job)
        if detail.output is None or not detail.files:
            served = detail.job.role == "served"
            raise ClientError(
                "no-result",
                f"{detail.job.id} is a job of another node, which has its result"
                if served
                else f"{detail.job.id} is {detail.job.state} and has no result",
                f"dpin status {detail.job.id}",
            )
        root = Path(detail.output)
        if folder is None or folder.resolve() == root.resolve():
            return [root / name for name in detail.files]
        return [_copy(root, folder, name) for name in detail.files]


def request_from(path: Path, sets: Sequence[str] = (), name: str = "") -> SubmitRequest:
    """Read a job file and check it here, so that errors come with file and line, at once."""
    text = job_text(path)
    job = read_job(text, str(path), sets)
    folder = str(path.resolve().parent)
    return SubmitRequest(
        text=text, folder=folder, sets=list(sets), name=name or job.name or path.stem
    )


def job_text(path: Path) -> str:
    """What a job file says; raises Misuse where it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(TEXT_CHARS_MAX + 1)
    except OSError as problem:
        raise unreadable(path, problem, fix="name the job file: dpin submit FILE") from None
    except UnicodeDecodeError:
        raise Misuse(f"{path} is not text in UTF-8", fix="name a job file, as YAML") from None


def _path(job: str, rest: str = "") -> str:
    if not job.replace("-", "").isalnum() or not job.isascii():
        raise ClientError("not-found", f"{job[:40]!r} is not a job's id", "dpin jobs")
    return f"/api/v1/jobs/{job}{rest}"


def _copy(root: Path, folder: Path, name: str) -> Path:
    source, target = root / name, folder / name
    if not source.resolve().is_relative_to(root.resolve()):
        raise ClientError("bad-name", f"{name!r} lies outside of the job's folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.part")
        shutil.copyfile(source, beside)
        beside.replace(target)
    except _WRONG_PLACE as problem:
        raise Misuse(f"{target}: {problem.strerror}", fix="choose another folder") from None
    except OSError as problem:
        raise ClientError(
            "disk", f"{target}: {problem.strerror}", "make room, or choose another folder"
        ) from None
    return target

"""What people and programs may ask of a running node. The gateway speaks it; the driver is it."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal, Protocol

import msgspec

from dpin.node.blobviews import Blobs
from dpin.node.descentviews import DescentView
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


class SubmitRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A job file as text; relative paths in it are under `folder`. `sets` are key=value.

    With an `id` the same may be asked twice: a job that the node knows by it is not begun again.
    """

    text: str
    folder: str
    sets: list[str] = []
    name: str = ""
    id: Annotated[str, msgspec.Meta(pattern=r"^(j-[0-9a-f]{8,32})?\Z")] = ""


class RunRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Continue `prompt` with the model in a folder; temperature 0 is greedy."""

    model: str
    prompt: str
    tokens: int = 200
    temperature: float = 0.8
    seed: int = 0
    max_cost: str = "10"


class TransferRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Tokens as decimal text, `to` as a node id in hex."""

    to: str
    amount: str
    memo: str = ""


class PayRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Up to 16 transfers that are made together or not at all; `credit`: as compute credit."""

    payments: list[TransferRequest]
    credit: bool = False


class PrepareRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Payments that another account's key shall sign, elsewhere; `account` in hex."""

    account: str
    payments: list[TransferRequest]
    credit: bool = False


class SignedRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A signed transaction as hex, whoever's it is."""

    transaction: str


class PauseRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How long, as 30m or 2h; empty: until it is ended."""

    length: str = ""


class InviteRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Tokens to grant as decimal text, and the node id in hex that gets them."""

    grant: str = ""
    to: str = ""


class ProofRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be shown: ids in hex, or empty. `epoch` and `size` are what the asker trusts."""

    subject: str = ""
    account: str = ""
    epoch: int = 0
    size: int = 0


class CompareRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The text of somebody's proof, with at most 64 ends of epochs."""

    proof: str


class ValidatorRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to do about being a validator; tokens for the bond as decimal text."""

    action: Literal["register", "bond", "retire", "withdraw", "rotate-key"]
    amount: str = ""


class PingRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A connected peer, by its name or the beginning of its id, and how often to ask it."""

    node: str
    count: int = 4


class LiftRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A banned node, by its name or the beginning of its id, or a banned site."""

    subject: str


class TraceRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Any known node, by its name or the beginning of its id."""

    node: str


class Pictures(Protocol):
    """What a node shows. A job goes by any unambiguous prefix of its local or ledger id.

    Raises NotFound for an unknown or ambiguous id.
    """

    def node(self) -> NodeView:
        """The node itself."""
        ...

    def peers(self) -> list[PeerView]:
        """Everybody it knows."""
        ...

    def jobs(self) -> list[JobView]:
        """Its own jobs and those it serves, newest first."""
        ...

    def job(self, job: str) -> JobDetail:
        """One job, whole."""
        ...

    def explain(self, job: str) -> ExplainView:
        """Why a job stands where it stands."""
        ...

    def receipts(self, job: str) -> list[ReceiptView]:
        """What the ledger has done about a job, with proofs."""
        ...

    def checks(self) -> list[Check]:
        """What the running node knows of its own health."""
        ...

    def log(self, job: str, after: int) -> AsyncIterator[LogEntry]:
        """Entries numbered above `after`, then new ones as they come, until the job has ended."""
        ...


class Records(Protocol):
    """What the ledger has on record, for those who do not take a node's word for it."""

    def descent(self, job: str) -> DescentView:
        """What the ledger says of anybody's job, by its whole id there."""
        ...

    def proof(self, request: ProofRequest) -> ProofView:
        """What can be checked without a node; raises TooEarly for what is not signed yet."""
        ...

    async def compare(self, request: CompareRequest) -> ComparisonView:
        """Whether this node knows the same ledger; two that are signed are evidence, and kept."""
        ...


class Commands(Protocol):
    """What a node does when asked. Raises Misuse, with its fix, for what cannot be done."""

    async def plan(self, request: SubmitRequest) -> PlanView:
        """Check a job file and say what it would do, without doing it."""
        ...

    async def submit(self, request: SubmitRequest) -> JobView:
        """Start a job, or find the one of that id; returns at once with its local id."""
        ...

    async def run(self, request: RunRequest) -> JobView:
        """Start one generation; its text comes as log entries of kind "token"."""
        ...

    async def cancel(self, job: str) -> JobView:
        """End a job; what was done is settled and paid."""
        ...

    async def invite(self, grant: str, to: str) -> InviteView:
        """One line for the next machine; with a grant, tokens go to the node id `to`."""
        ...

    async def drain(self) -> RestView:
        """Finish what runs, take nothing new until the next start; says what holds now."""
        ...

    async def pause(self, request: PauseRequest) -> RestView:
        """The same for a while, over restarts too."""
        ...

    async def resume(self) -> RestView:
        """End both; the owner's settings may still say that it rests."""
        ...

    async def stop(self) -> None:
        """End the node cleanly."""
        ...


class Purse(Protocol):
    """Tokens: what accounts have, and giving them away. Raises Misuse as Commands does."""

    def account(self, account: str) -> Money:
        """What any account has, by its id in hex; raises NotFound."""
        ...

    def history(self, after: int, before: int, count: int) -> list[MovementView]:
        """The newest `count` movements of its account between two numbers, newest first.

        0 is no bound.
        """
        ...

    async def transfer(self, request: TransferRequest) -> TransferView:
        """Send tokens; returns when the ledger has committed it."""
        ...

    async def pay(self, request: PayRequest) -> TransferView:
        """Send tokens or credit to several at once, all or none; returns as `transfer` does."""
        ...

    async def prepare(self, request: PrepareRequest) -> PreparedView:
        """What another account's key has to sign; nothing is sent."""
        ...

    async def carry(self, request: SignedRequest) -> TransferView:
        """Bring a signed transaction of any account to the ledger; returns as `transfer` does."""
        ...


class Validation(Protocol):
    """Who makes blocks, and being one of them. Raises Misuse as Commands does."""

    def validators(self) -> ValidatorsView:
        """Everybody with a validator bond."""
        ...

    async def validate(self, request: ValidatorRequest) -> TransferView:
        """Bond, register, retire or withdraw; returns when the ledger has committed it."""
        ...


class Watching(Protocol):
    """The network around a node. Raises NotFound for a peer that it does not know."""

    def network(self) -> NetworkView:
        """The node's place in the network, and what it has counted."""
        ...

    def links(self) -> list[LinkView]:
        """Who is connected, and how well."""
        ...

    def bans(self) -> list[BanView]:
        """Who is banned, those that end last first."""
        ...

    def lift(self, request: LiftRequest) -> BanView:
        """End a ban and forget it; raises NotFound where there is none."""
        ...

    async def ping(self, request: PingRequest) -> PingView:
        """Round trips to a connected peer; raises Misuse where it is not connected."""
        ...

    async def trace(self, request: TraceRequest) -> TraceView:
        """The way to a peer, step by step, and what would mend it."""
        ...


class Control(Pictures, Records, Commands, Purse, Validation, Watching, Protocol):
    """A running node, as the gateway sees it."""

    @property
    def blobs(self) -> Blobs:
        """What lies in its store."""
        ...

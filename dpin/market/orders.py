"""What a requester orders, after its job file has been read and checked."""

from dpin.base.codec import Wire
from dpin.base.ids import BlobId, Digest, JobId, NodeId, Round
from dpin.base.units import Micros, MicroTokens
from dpin.compute.hubspec import TEXT, DataFormat, PrivateSpec
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.scores import Score
from dpin.compute.statements import Signed
from dpin.compute.task import INT8, Architecture, EncodingSpec, InnerSpec, ModelSpec, OuterSpec
from dpin.ledger.transactions import Propose


class TuneSpec(Wire, frozen=True):
    """What of an order the requester's node may choose by itself once it has measured a step.

    `up` and `down`: bytes a second that every provider is said to have, 0 where that is to be
    measured; `links` says which it was.
    """

    up: int
    down: int
    encoding: bool  # it may choose the encoding
    outer: bool  # and the outer step that goes with it
    links: str = ""


class TrainOrder(Wire, frozen=True, tag=1):
    """Train a model on a corpus; see compute.task.Prepare and TrainManifest for the fields."""

    name: str
    corpus: str
    suffixes: tuple[str, ...]
    bytes_max: int
    holdout_ppm: int
    model: Architecture
    inner: InnerSpec
    outer: OuterSpec
    seats: int
    rounds: int
    windows: int
    quorum: int
    memory_bytes: int
    budget: MicroTokens
    time_limit: Micros  # from the order on; then the job is cancelled
    output: str
    seed: bytes
    encoding: EncodingSpec = EncodingSpec(INT8)
    tune: TuneSpec | None = None  # None: steps a round are as ordered
    base: str = ""  # directory of the model that is tuned
    data: DataFormat = TEXT
    private: PrivateSpec | None = None  # then `corpus` is held out, all of it
    parameters: int = 0  # as far as they are known beforehand; 0: the built-in model's
    robust: RobustSpec = RobustSpec()
    privacy: PrivacySpec = PrivacySpec()
    text_bytes: int = 0  # of an evaluation's text, once it is known


class InferOrder(Wire, frozen=True, tag=2):
    """Generate text with a model file."""

    name: str
    model_file: str
    config: ModelSpec
    state_hash: Digest  # of the model; NO_DIGEST where its folder does not say
    prompt: bytes
    tokens: int
    temperature_ppm: int
    seed: bytes
    memory_bytes: int
    budget: MicroTokens
    time_limit: Micros  # from the order on; then the job is cancelled
    output: str


Order = TrainOrder | InferOrder


class OwnJobRecord(Wire, frozen=True, tag=1):
    """What must survive a restart of the requester: kept in the log before the job is proposed."""

    local_id: str
    order: Order
    manifest: bytes
    propose: Propose
    submitted_ms: int


class OwnJobEnd(Wire, frozen=True, tag=2):
    """The last word on a job that was kept: after a restart it is not begun again."""

    local_id: str
    job: JobId | None  # on the ledger, where it came so far
    stage: str
    reason: str
    finished_ms: int
    output_files: tuple[str, ...]


class OwnJobOrdered(Wire, frozen=True, tag=3):
    """A job that was asked for: until it is prepared a restart begins it anew."""

    local_id: str
    order: Order
    submitted_ms: int


class OwnRound(Wire, frozen=True, tag=4):
    """What is known of a merged round; the newest record of each counts.

    Times are microseconds of this node's clock, 0 for what was not seen.
    """

    local_id: str
    round: Round
    state_hash: Digest  # that it has led to
    checkpoint: str  # file of that state, which may be gone by now
    model_root: Digest  # of that state, where it is the last
    began: int
    exchange: int
    closed: int
    missed: bool
    tokens_per_second: int
    loss_micronats: int
    holdout_micronats: int | None
    holdout_before: int | None  # of the job's first state
    update_bytes: int
    taken: int | None  # updates that counted
    empty: str  # why none did
    scores: tuple[Score, ...]
    signed: tuple[Signed, ...]
    epsilon_milli: int = 0


class Bequest(Wire, frozen=True, tag=5):
    """What a provider keeps of somebody's job that is over."""

    job: JobId
    requester: NodeId
    round: Round
    blob: BlobId  # the state that this round begins with
    length: int  # of that
    updates: tuple[BlobId, ...]  # that the rounds from there on took
    until_ms: int  # of this node's clock; then it is kept no more


class OwnJobAgain(Wire, frozen=True, tag=6):
    """A job whose proposal is given up: kept in the log before the job is proposed anew."""

    local_id: str
    given_up: JobId  # it expired without an award


OwnRecord = OwnJobRecord | OwnJobEnd | OwnJobOrdered | OwnRound | OwnJobAgain

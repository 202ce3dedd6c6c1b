"""What may be run, and what came of it: job manifests, and the words of node and worker.

A manifest is a blob: its id names the job's code, data, start and numeric class, so that all who
hold it compute the same. The node talks to a worker, a child process that alone loads torch, in
`Command`s; it answers in `Report`s. Both name files: no bulk crosses the pipe.
"""

from typing import Final

from dpin.base.codec import Wire
from dpin.base.ids import NO_DIGEST, BlobId, Digest, JobId, Round
from dpin.base.leaf import Leaf
from dpin.compute.alone import Measure, Measured
from dpin.compute.generation import Generate, Generated, Tokens
from dpin.compute.hubspec import TEXT, DataFormat, HubSpec, PrivatePlace, PrivateSpec
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.reporting import Preparing, Progress
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.scores import Scored, ScoreRound
from dpin.compute.secagg.orders import MaskCommand, MaskReport
from dpin.compute.tallies import Total, Totalled

WINDOWS_MIN: Final = 4
LINEAR, COSINE = SCHEDULES = ("linear", "cosine")  # of learning rates
SGD, ADAMW, EVALUATE = "sgd", "adamw", "evaluate"  # outer rules
FP16: Final = "fp16"  # encodings
INT8: Final = "int8"
INT4: Final = "int4"
TERNARY: Final = "ternary"
SPARSE: Final = "sparse"
VOCABULARY: Final = 256  # bytes
OUTPUT_TAG: Final = "dpin/output/v1"
STATE_TAG: Final = "dpin/state/v1"
FINGERPRINT_TAG: Final = "dpin/fingerprint/v1"


class ModelSpec(Wire, frozen=True, tag=1):
    """A byte-level GPT: `layers` blocks of `heads` heads over `width` channels, `context` bytes."""

    layers: int
    heads: int
    width: int
    context: int


Architecture = ModelSpec | HubSpec | ModuleSpec


class InnerSpec(Wire, frozen=True):
    """The inner loop: AdamW, or Muon for matrices. A step is `batch` sequences; rates in ppm."""

    learning_rate_ppm: int
    weight_decay_ppm: int
    warmup_steps: int
    batch: int
    steps: int  # of a full unit
    accumulation: int = 1  # parts in which a batch goes through the model
    muon_rate_ppm: int = 0  # 0: AdamW for all
    schedule: str = LINEAR  # how the rates fall, see course.py
    steps_by_rate: bool = False  # units grow as the rate falls, likewise


class OuterSpec(Wire, frozen=True):
    """The outer step over merged updates; (1_000_000, 0, False) is FedAvg.

    `rule` SGD has momentum that rises to its full size over `ramp_rounds` rounds. With ADAMW the
    steps of a unit add up one gradient at the round's parameters, and the step is the inner loop's:
    the other numbers mean nothing. With EVALUATE nothing moves; seat s has the part shards[s].
    """

    learning_rate_ppm: int
    momentum_ppm: int
    nesterov: bool
    ramp_rounds: int = 0
    rule: str = SGD


class EncodingSpec(Wire, frozen=True):
    """How an update is written: FP16, INT8, INT4, TERNARY or SPARSE."""

    name: str
    kept: int = 0  # of 4,096 numbers, SPARSE only
    feedback_ppm: int = 0  # of what the encoding of one unit has lost, for the next one's movement
    fragments: int = 1  # of which a round merges one, see fragments.py


class TrainManifest(Wire, frozen=True, tag=1):
    """A training job, whole. Seat s of n trains on the files shards[i] with i % n == s."""

    model: Architecture
    inner: InnerSpec
    outer: OuterSpec
    seats: int
    rounds: int
    windows: int  # S: windows of equal step count (+-1) in a full unit
    shards: tuple[BlobId, ...]
    holdout: BlobId
    initial: BlobId  # global checkpoint of round 0
    state_hash: Digest  # of `initial`
    fingerprint: Digest  # numeric class that every provider and verifier must share
    encoding: EncodingSpec = EncodingSpec(INT8)
    private: PrivateSpec | None = None  # then there are no shards: providers train on their own
    robust: RobustSpec = RobustSpec()
    privacy: PrivacySpec = PrivacySpec()
    lengths: tuple[int, ...] = ()  # bytes of the files named, as `files_of` says them


class InferManifest(Wire, frozen=True, tag=2):
    """One generation: `prompt` continued by at most `tokens` bytes; temperature 0 is greedy."""

    model: BlobId  # the model's safetensors file
    config: ModelSpec
    state_hash: Digest
    prompt: bytes
    tokens: int
    temperature_ppm: int
    seed: bytes  # sampling noise is hashed from it, never taken from torch
    fingerprint: Digest
    lengths: tuple[int, ...] = ()  # likewise: of the model


Manifest = TrainManifest | InferManifest


class Probe(Wire, frozen=True, tag=1):
    """Which devices are there, and what is their numeric class?"""


class Prepare(Wire, frozen=True, tag=2):
    """Cut a corpus into shards and make an initial checkpoint under `folder`; without, try to.

    `corpus` is a text file or a folder (all files whose suffix is in `suffixes`, in sorted order,
    cut at `bytes_max`); the last `holdout_ppm` of it is held out. For a HubSpec `base` is the
    model's directory, `data` says how the corpus is read, and `corpus` may be any file of it. For a
    ModuleSpec `base` is the file of its code. With `whole` all of it is cut into one part a seat.
    """

    corpus: str
    suffixes: tuple[str, ...]
    bytes_max: int
    shards: int
    holdout_ppm: int
    model: Architecture
    seed: bytes
    folder: str
    timed_batch: int = 0  # measure the time of a step of so many examples; 0: do not
    base: str = ""
    data: DataFormat = TEXT
    batch: int = 1  # a seat has at least so many examples
    key: bytes = b""  # the seed for which all that is written is sealed; empty: it is not
    whole: bool = False


class OpenJob(Wire, frozen=True, tag=3):
    """Load a training job: files of its shards (in manifest order) and the checkpoint of `round`.

    `folder` is where this worker may write. A worker holds one open job.
    """

    job: JobId
    manifest: bytes  # encoded TrainManifest
    shards: tuple[str, ...]
    holdout: str
    checkpoint: str
    round: Round
    folder: str
    weights: str = ""  # file of a HubSpec's blob, or a ModuleSpec's code
    tokenizer: str = ""
    private: PrivatePlace | None = None  # of this provider, where the manifest asks for one
    key: bytes = b""  # the seed that opens the files of a sealed job


class TrainUnit(Wire, frozen=True, tag=4):
    """Train one unit from the held global state.

    `limit_ms` boxes the phase in time (0: no limit); a unit cut short ends at the last window that
    finished. `fault`: "" | "skip-work" | "wrong-weights", for development networks only.
    """

    lease: Digest
    seat: int
    round: Round
    fresh_optimizer: bool  # a replacement starts with zero moments and says so
    limit_ms: int
    fault: str
    error_buffer: Digest = NO_DIGEST  # what the lease's last commit left over; none: start at zero
    error_age: int = 1  # rounds since that commit


class Contribution(Wire, frozen=True):
    """One included update: its file ("": too large), steps done, how late it is, whose to tell."""

    update: str
    steps: int
    age: int = 0
    maker: str = ""


class MergeRound(Wire, frozen=True, tag=5):
    """Apply the outer step of `round` to the held global state, from exactly these updates."""

    round: Round
    contributions: tuple[Contribution, ...]


class Evaluate(Wire, frozen=True, tag=6):
    """Held-out loss of the held global state."""


class CheckWindow(Wire, frozen=True, tag=7):
    """Re-execute the window after `opened` from the state file; answer with the leaf found."""

    opened: Leaf
    seat: int
    state: str


class CheckUpdate(Wire, frozen=True, tag=8):
    """Re-encode the update between a base checkpoint (leaf 0) and a final state (leaf S)."""

    first: Leaf
    last: Leaf
    base: str  # global checkpoint of the unit's round; with an error buffer, state file of leaf 0
    final: str  # state file of leaf S
    error_buffer: Digest = NO_DIGEST  # that the unit left over, as committed
    error_age: int = 1  # rounds since the commit that left over leaf 0's


class Export(Wire, frozen=True, tag=9):
    """Write the held global state as a model directory (safetensors + config + provenance)."""

    folder: str
    provenance: str  # JSON text, stored beside the model
    base: str = ""  # directory of the model that was fine-tuned, whose tokenizer is copied
    lineage: str = ""  # likewise, as is the next; empty: none
    scores: str = ""


Command = (
    Probe
    | Prepare
    | OpenJob
    | TrainUnit
    | MergeRound
    | Evaluate
    | CheckWindow
    | CheckUpdate
    | Export
    | Generate
    | Measure
    | Total
    | ScoreRound
    | MaskCommand
)


class Device(Wire, frozen=True):
    """One device that can run work."""

    name: str
    kind: str  # "cpu" | "cuda" | "mps"
    memory_bytes: int


class Probed(Wire, frozen=True, tag=1):
    """Devices, best first; `reason` says why it is the CPU where it is."""

    devices: tuple[Device, ...]
    fingerprint: Digest
    fingerprint_text: str
    reason: str
    code: Digest = NO_DIGEST  # of the sources that compute
    sandbox: str = ""  # why code of others cannot be locked up here; empty: it can


class Prepared(Wire, frozen=True, tag=2):
    """What Prepare wrote."""

    shards: tuple[str, ...]
    holdout: str
    initial: str
    state_hash: Digest
    parameters: int
    fingerprint: Digest
    step_us: int = 0  # time of an inner step here; 0: not measured
    dense_us: int = 0  # of writing an update and merging all of a round; see tuning.Measured
    sparse_us: int = 0
    model: Architecture | None = None  # as the data have made it; None: as it was asked for
    weights: str = ""  # of a HubSpec, what is not trained; of a ModuleSpec, its code
    examples: int = 0  # of the longest part, where all was cut into parts
    text_bytes: int = 0  # likewise of the whole text, where all of it is foretold


class Opened(Wire, frozen=True, tag=3):
    """The job is loaded; `state_hash` is that of the checkpoint as read."""

    round: Round
    state_hash: Digest
    model_root: Digest = NO_DIGEST  # as in Merged, where it is the state after the last round


class Trained(Wire, frozen=True, tag=5):
    """A unit is done: one leaf a window (leaf 0 first), its update, its window states."""

    lease: Digest
    round: Round
    leaves: tuple[Leaf, ...]
    states: tuple[str, ...]  # state file of each leaf; states[0] holds leaf 0
    update: str
    base: str  # what CheckUpdate takes as `base`
    loss_micronats: int
    tokens: int
    milliseconds: int
    error_buffer: Digest = NO_DIGEST  # root of what the update could not say


class Merged(Wire, frozen=True, tag=6):
    """The global state is now that of `round`, from `taken` updates; `refused` counted nothing."""

    round: Round
    state_hash: Digest
    checkpoint: str
    refused: tuple[str, ...] = ()
    update_bytes: int = 0  # of all updates read
    model_root: Digest = NO_DIGEST  # of the state as an exported model; see compute.lineage
    taken: int = 0
    epsilon_milli: int = 0  # spent by all rounds so far; 0 where there is no noise


class Evaluated(Wire, frozen=True, tag=7):
    """Held-out loss in micro-nats per byte."""

    round: Round
    loss_micronats: int


class WindowChecked(Wire, frozen=True, tag=8):
    """`opened_ok`: the state file hashes to the opened leaf. `found`: digest of the next leaf."""

    opened: Leaf
    opened_ok: bool
    found: Digest  # base.leaf.leaf_digest of it
    milliseconds: int


class UpdateChecked(Wire, frozen=True, tag=9):
    """`states_ok`: both files hash to their leaves. `update`: blob id of the update as encoded."""

    last: Leaf
    states_ok: bool
    update: BlobId


class Exported(Wire, frozen=True, tag=10):
    """The model directory is written."""

    folder: str
    files: tuple[str, ...]


class Failed(Wire, frozen=True, tag=14):
    """The command could not be done; the worker lives on. `reason` and `fix` are for people."""

    command: str
    reason: str
    fix: str = ""


Report = (
    Probed
    | Prepared
    | Opened
    | Progress
    | Preparing
    | Trained
    | Merged
    | Evaluated
    | WindowChecked
    | UpdateChecked
    | Exported
    | Tokens
    | Generated
    | Measured
    | Totalled
    | Scored
    | Failed
    | MaskReport
)

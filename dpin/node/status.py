"""A picture of the node as JSON. Micro-tokens, Unix milliseconds, nats; keys are never renamed."""

import msgspec

from dpin.node.roundviews import BudgetView, RoundView


class View(msgspec.Struct, kw_only=True):
    """Base of all views."""


class Money(View):
    """An account."""

    free: int
    stake: int
    locked: int
    credit: int  # pays for jobs and for nothing else
    sequence: int


class LedgerView(View):
    """Where this node's replica stands."""

    height: int
    tick: int
    time_ms: int
    round: int
    root: str | None  # newest state root, hex, with the commit it belongs to
    root_height: int
    epoch: int
    certified: int  # the height of the newest checkpoint with a certificate
    validator: bool
    signing: bool
    committee: list[str]
    tolerates: int  # faulty validators
    transactions: int
    pending: int
    in_accounts: int  # free, stake and credit of everybody
    in_bonds: int  # of validators
    in_escrow: int
    treasury: int
    reserve: int  # not minted, or burned; the five add up to the supply for ever


class Traffic(View):
    """Bytes since start, by purpose."""

    control_in: int
    control_out: int
    gossip_in: int
    gossip_out: int
    shards_in: int
    shards_out: int
    updates_in: int
    updates_out: int
    checks_in: int
    checks_out: int
    models_in: int
    models_out: int
    bulk_in: int  # of all the above but messages and gossip, over sockets of their own
    bulk_out: int


class DeviceView(View):
    """What the node computes on, and why that."""

    name: str
    kind: str
    memory_bytes: int
    fingerprint: str
    reason: str


class ServingView(View):
    """One lease that this node works on, or one check."""

    job: str
    lease: str
    role: str  # "train" | "infer" | "check"
    state: str
    round: int
    step: int
    steps: int
    tokens_per_second: int
    earned: int


class RestView(View):
    """Why a node takes no new work now, and until when; empty where it does."""

    state: str = ""  # "draining" | "paused": its owner's word; "resting": its owner's limits
    why: str = ""
    until_ms: int = 0  # 0: unknown


class NodeView(View):
    """The node itself."""

    version: str
    name: str
    node_id: str
    network: str | None
    chain: str | None
    development: bool
    state: str  # "online" | "alone", or what its rest says
    rest: RestView
    started_ms: int
    api: str
    addresses: list[str]
    peers: int
    provides: bool
    device: DeviceView | None
    money: Money
    ledger: LedgerView
    traffic: Traffic
    serving: list[ServingView]
    offers_seen: int
    offers_taken: int
    offers_declined: dict[str, int]  # by reason code
    warnings: list[str]


class PeerView(View):
    """One peer."""

    node_id: str
    name: str
    address: str
    connected: bool
    validator: bool
    device: str
    provides: bool
    free: int
    stake: int
    last_seen_ms: int
    blame: int
    reason: str  # why it is banned, if it is


class UnitView(View):
    """One unit of a lease: state and money."""

    round: int
    state: str
    reason: str
    steps: int
    paid: int
    lost: int
    verifiers: list[str]
    window: int


class LeaseView(View):
    """One provider's part in a job."""

    lease: str
    provider: str
    name: str
    seat: int
    state: str
    reason: str
    price: int
    units: list[UnitView]


class PhaseView(View):
    """plan > match > upload > load > run > verify > fetch."""

    name: str
    state: str  # "waiting" | "running" | "done" | "failed"
    since_ms: int
    elapsed_ms: int
    detail: str


class JobView(View):
    """One job in a list."""

    id: str  # local and immediate: j-xxxxxxxx
    ledger_id: str | None
    name: str
    kind: str  # "train" | "finetune" | "federated" | "eval" | "inference"
    role: str  # "mine" | "served"
    state: str  # preparing, matching, running, verifying, done, failed or cancelled
    reason: str
    round: int
    rounds: int
    participants: int
    seats: int
    cost: int
    cost_max: int
    submitted_ms: int
    finished_ms: int | None
    earned: int = 0  # by this node, where it serves the job: less what its bond has lost


class JobDetail(View):
    """One job, whole."""

    job: JobView
    phases: list[PhaseView]
    leases: list[LeaseView]
    rounds: list[RoundView]
    holdout_before: float | None
    holdout_after: float | None
    output: str | None  # folder
    files: list[str]
    verdicts: dict[str, int]  # unit reason -> count
    evaluation: dict[str, float | None] | None = None  # as in evaluation.json
    budget: BudgetView | None = None  # of a job with noise


class Decline(View):
    """Why one provider does not take the job."""

    provider: str
    name: str
    code: str
    detail: str
    fix: str


class ExplainView(View):
    """Why a job stands where it stands."""

    job: str
    state: str
    summary: str
    since_ms: int
    providers_seen: int
    bids: int
    declines: list[Decline]
    next_step: str


class PlanView(View):
    """What a job would do (dry run)."""

    name: str
    kind: str
    seats: int
    rounds: int
    steps: int
    windows: int
    price_cap: int  # for one unit
    cost_max: int  # put aside when the job is proposed; what is not used comes back
    balance: int  # free tokens and credit
    parameters: int
    unit_fee: int  # for the checks of one unit, at that price
    providers: list[PeerView]
    warnings: list[str]
    chosen: str = ""  # what was left to `auto`


class LogEntry(View):
    """One line of a job's log; `number` grows by one."""

    number: int
    time_ms: int
    kind: str  # phase, lease, round, progress, verify, money, token, end, warning or trace
    text: str
    data: dict[str, str | int | float | None]


class ReceiptView(View):
    """What became of one transaction or unit, with its proof."""

    height: int
    index: int
    subject: str
    code: int
    detail: str
    log_size: int
    log_root: str
    proof: list[str]
    proof_ok: bool


class ProofView(View):
    """Two files as text: a proof, and the checkpoint that it leads to, for whoever trusts us."""

    epoch: int
    sequence: int
    proof: str
    checkpoint: str


class PreparedView(View):
    """A transaction that waits for its sender's signature."""

    transaction: str  # hex
    account: str
    sequence: int
    valid_until_epoch: int
    epoch: int  # now
    max_fee: int
    free: int  # what the account has


class TransferView(View):
    """A transfer that the ledger has committed."""

    transaction: str
    height: int
    detail: str
    free: int


class MovementView(View):
    """One line of this node's account: what a transaction or the ledger itself did to it."""

    number: int  # grows by one
    height: int
    time_ms: int
    transaction: str | None
    what: str  # an operation, "work" or "check" for a unit of a job, or "jobs and bonds"
    other: str | None  # who gave or got
    memo: str
    detail: str  # "ok", or why nothing happened but the fee
    fee: int
    change: int  # of free tokens, stake and credit together, fee included
    free: int  # after the commit
    credit: int


class ValidatorView(View):
    """One account with a validator bond."""

    node_id: str
    name: str
    bond: int
    weight: int  # in the present committee; 0: it has no seat
    registered: bool  # and not retired
    ready: bool  # for the next epoch
    cosigned: int  # checkpoints of this epoch, those signed
    faults: int
    jailed_until: int  # it is seated in no epoch before this one
    free_from: int  # once retired, the bond can be withdrawn from this epoch on


class ValidatorsView(View):
    """Everybody with a validator bond, members first, then by bond."""

    epoch: int
    epoch_ends_ms: int  # ledger time from now, at the earliest
    checkpoints: int  # of this epoch that count
    bond_min: int
    validators: list[ValidatorView]


class InviteView(View):
    """One line to paste on the next machine."""

    network: str
    invite: str
    addresses: list[str]


class Check(View):
    """One line of `dpin doctor`."""

    name: str
    verdict: str  # "ok" | "warn" | "fail"
    detail: str
    fix: str

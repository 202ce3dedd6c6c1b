"""Views of the network around a node; see dpin.node.status for what all views have in common."""

from dpin.node.status import View


class HistogramView(View):
    """How many values were at most each bound, in microseconds; the last count is above all."""

    bounds: list[int]
    counts: list[int]
    total: int
    p50: int | None  # the smallest bound that half of them keep
    p99: int | None


class TrialView(View):
    """What one peer found when it dialled this node."""

    node_id: str
    seen_at: str
    port: int
    outcome: str
    proven: bool
    at_ms: int


class ReachView(View):
    """How others reach this node, and what would mend it."""

    verdict: str  # "direct" | "relay" | "outbound only" | "unknown"
    scope: str  # "everywhere" | "the local network" | "this machine" | "nowhere"
    seen_at: str
    detail: str
    fix: str
    trials: list[TrialView]


class DialView(View):
    """How the last dial of one address ended."""

    address: str
    outcome: str
    reason: str
    at_ms: int
    took_ms: int


class CopyView(View):
    """The last time that a record of this node was brought to others, who keep it for an hour."""

    what: str  # "addresses", or the id of a blob
    by: str  # "messages" of dpin's own among connected peers | "kad"
    copies: int  # of those asked, who said that they keep it
    at_ms: int


class DirectoryView(View):
    """What one node knows and keeps of the directory of all nodes."""

    nodes: int  # that answered at an address of their own, near and far: where lookups begin
    buckets: list[int]  # how many of them at each distance, the farthest first
    explored_ms: int | None  # when it last looked for more; null: not yet
    kept: int  # records of this node and of others that it keeps
    own: list[CopyView]


class NetworkView(View):
    """What a running node knows of its place in the network."""

    network: str
    chain: str
    node_id: str
    is_open: bool
    problem: str  # why it is not open
    restarts: int  # of the libp2p host, in place
    addresses: list[str]
    peers: int
    reach: ReachView
    clock_ahead_ms: int | None  # of peers' clocks, in the middle
    bytes_in: dict[str, int]  # by protocol, since the start
    bytes_out: dict[str, int]
    mesh: dict[str, int]  # peers that announcements go to, by topic
    dials: dict[str, int]  # by how they ended
    dropped: dict[str, int]  # by cause
    announcement_delay: HistogramView
    round_trip: HistogramView
    dialled: list[DialView]
    directory: DirectoryView
    line_up: int = 0  # bytes a second that transfers came to; 0: not known
    line_down: int = 0


class LinkView(View):
    """One connected peer."""

    node_id: str
    name: str
    path: str  # "direct" | "relay"
    seen_at: str
    version: str
    protocol: int | None
    round_trip: int | None  # microseconds
    clock_ahead_ms: int | None
    bytes_in: dict[str, int]
    bytes_out: dict[str, int]
    blame: int


class BanView(View):
    """One ban that holds."""

    subject: str  # a node's id, or a site: the beginning of addresses
    name: str  # of a node, where it is known
    until_ms: int
    offences: int  # bans there have been, this one included; the next lasts twice as long
    reason: str


class PingView(View):
    """Round trips to one peer, in microseconds; null for a greeting without an answer."""

    node_id: str
    name: str
    round_trips: list[int | None]


class StepView(View):
    """One step on the way to a peer."""

    name: str
    ok: bool
    took: int  # microseconds
    detail: str


class TraceView(View):
    """The way to a peer, step by step, and what would mend it."""

    node_id: str
    name: str
    steps: list[StepView]
    fix: str

"""A job on the ledger as programs see it: rounds, states and the updates that they took."""

from msgspec import field

from dpin.node.status import View


class TakenView(View):
    """One update that a round has taken."""

    provider: str
    lease: str
    update: str
    steps: int
    seat: int = 0
    age: int = 0  # rounds that it came late
    committed: int = 0  # its place among the commits of the round: the earlier of two alike counts


class DescentRound(View):
    """One round: the state that most of its providers committed to, and what it took."""

    round: int
    state_hash: str | None
    taken: list[TakenView]
    closed: bool = False
    beacon: str = ""  # that draws what is looked at; empty: none


class SaidView(View):
    """One of those who were there to the end, and what the last round has led to for it."""

    provider: str
    lease: str
    state_hash: str | None  # None: it has not said


class DescentView(View):
    """One job of anybody, as it stands on the ledger."""

    job: str
    requester: str
    manifest: str
    fingerprint: str
    state_hash: str  # that it began with
    rounds: list[DescentRound]
    # Of the state after the last round; none: there is nobody to say it.
    said: list[SaidView] = field(default_factory=list)
    ended_in: str | None = None  # what more than half of these say
    said_open: bool = False  # whether the ledger still takes what they say

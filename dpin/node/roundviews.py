"""The rounds of a job as people and programs see them; see dpin.node.status."""

import msgspec


class ScoreView(msgspec.Struct, kw_only=True):
    """By how much one update alone lowered the loss, in milli-nats."""

    name: str
    assigned: int  # on what its provider was to train on
    other: int  # on what others were


class WitnessView(msgspec.Struct, kw_only=True):
    """What a witness has found about the updates of a round, beside the requester's scores."""

    name: str
    node: str
    differs: bool


class ClientView(msgspec.Struct, kw_only=True):
    """What one provider has told of its part in a round; of updates that are hidden no loss."""

    name: str
    steps: int
    loss: float | None
    tokens_per_second: int


class BudgetView(msgspec.Struct, kw_only=True):
    """What the noise of a job has cost, as dp-accounting reckons it, of what it may cost."""

    epsilon: float
    epsilon_max: float
    delta: float


class RoundView(msgspec.Struct, kw_only=True):
    """One round of a job."""

    round: int
    participants: list[str]
    included: int
    loss: float | None  # mean training loss that providers reported
    holdout: float | None
    tokens_per_second: int | None  # of all together; None: nobody has told
    started_ms: int  # or, where it was missed, known
    train_ms: int
    exchange_ms: int
    state_hash: str | None
    update_bytes: int = 0  # of all updates merged
    missed: bool = False  # over before this node came to know of it: its times are not known
    scores: list[ScoreView] = []
    witnesses: list[WitnessView] = []
    clients: list[ClientView] = []
    epsilon: float | None = None  # spent by all rounds up to this one

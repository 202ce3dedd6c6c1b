"""A job's rounds as text for people."""

from dpin.cli.metrics import communication_share
from dpin.cli.options import table
from dpin.node.roundviews import BudgetView, RoundView


def scores_text(rounds: list[RoundView]) -> list[str]:
    """What single updates of the last scored round were worth by themselves, if any was scored."""
    scored = [item for item in rounds if item.scores]
    if not scored:
        return []
    heads = ("ROUND", "UPDATE OF", "GAIN ON OWN DATA", "ON OTHERS'")
    return [table(heads, [
        (str(scored[-1].round + 1), one.name,
         f"{one.assigned / 1000:.3f}", f"{one.other / 1000:.3f}")
        for one in scored[-1].scores
    ])]  # fmt: skip


def _took(item: RoundView, milliseconds: int) -> str:
    return "-" if item.missed else f"{milliseconds / 1000:.1f}s"


def rounds_text(rounds: list[RoundView]) -> str:
    """One line a round: who, how well, how fast, and compute beside communication."""
    heads = (
        "ROUND", "NODES", "INCLUDED", "LOSS", "HELD OUT", "TOK/S", "TRAIN", "EXCHANGE",
        "COMM", "KB",
    )  # fmt: skip
    return table(heads, [
        (str(item.round + 1), str(len(item.participants)), str(item.included), loss_text(item.loss),
         loss_text(item.holdout), _known(item.tokens_per_second),
         _took(item, item.train_ms), _took(item, item.exchange_ms),
         _share(communication_share(item)),
         str(item.update_bytes // 1000))
        for item in rounds
    ])  # fmt: skip


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def loss_text(value: float | None) -> str:
    """A loss in nats; - where it is not known."""
    return "-" if value is None else f"{value:.3f}"


def _known(value: int | None) -> str:
    return "-" if value is None else str(value)


def clients_text(rounds: list[RoundView]) -> list[str]:
    """What each provider has told of the newest round that any has told of."""
    told = [item for item in rounds if item.clients]
    if not told:
        return []
    heads = ("ROUND", "PROVIDER", "STEPS", "LOSS", "TOK/S")
    return [table(heads, [
        (str(told[-1].round + 1), one.name, str(one.steps), loss_text(one.loss),
         str(one.tokens_per_second))
        for one in told[-1].clients
    ])]  # fmt: skip


def budget_text(budget: BudgetView) -> str:
    """What the noise has cost."""
    delta = f"{budget.delta:g}".replace("e-0", "e-")
    return f"epsilon {budget.epsilon:.2f} of {budget.epsilon_max:g} at delta {delta}"

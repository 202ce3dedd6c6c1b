"""A job's rounds as pictures, and the page that shows them."""

import base64
from html import escape
from io import BytesIO
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dpin.base.units import format_tokens
from dpin.cli.metrics import MILLIS, communication_share
from dpin.cli.roundpictures import budget_text
from dpin.node.roundviews import RoundView, WitnessView
from dpin.node.status import JobDetail

INCHES: Final = (11, 7)
DPI: Final = 110
STYLE: Final = (
    "body{font-family:sans-serif;max-width:70em;margin:2em auto;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}th{background:#f4f4f4}img{max-width:100%}"
)


def chart(detail: JobDetail) -> bytes:
    """Loss, speed, compute beside communication, and who took part: a PNG."""
    made = BytesIO()
    FigureCanvasAgg(figure_of(detail)).print_png(made, metadata={"Software": None})
    return made.getvalue()


def figure_of(detail: JobDetail) -> Figure:
    """The same as something to be drawn."""
    figure = Figure(figsize=INCHES, layout="constrained")
    figure.suptitle(f"{detail.job.id} {detail.job.name} ({detail.job.kind}, {detail.job.state})")
    (loss, speed), (times, nodes) = figure.subplots(2, 2)
    rounds = [item.round + 1 for item in detail.rounds]
    _losses(loss, detail)
    told = [item for item in detail.rounds if item.tokens_per_second is not None]
    speed.plot(
        [item.round + 1 for item in told], [item.tokens_per_second for item in told], marker="o"
    )
    speed.set_title("tokens a second")
    _times(times, detail.rounds)
    nodes.bar(rounds, [len(item.participants) for item in detail.rounds], label="took part")
    nodes.bar(rounds, [item.included for item in detail.rounds], width=0.5, label="merged")
    nodes.set_title("providers")
    nodes.legend()
    nodes.yaxis.set_major_locator(_whole_numbers())
    last = max(rounds, default=1)
    for axes, first in ((loss, 0), (speed, 1), (times, 1), (nodes, 1)):
        axes.set_xlabel("round")
        axes.set_xlim(first - 0.5, last + 0.5)
        axes.xaxis.set_major_locator(_whole_numbers())
        axes.set_ylim(bottom=None if axes is loss else 0)
    return figure


def _whole_numbers() -> MaxNLocator:
    """Ticks for what is counted: without the second word there would be two, whole or not."""
    return MaxNLocator(integer=True, min_n_ticks=1)


def _losses(axes: Axes, detail: JobDetail) -> None:
    trained = [(item.round + 1, item.loss) for item in detail.rounds if item.loss is not None]
    held = [(item.round + 1, item.holdout) for item in detail.rounds if item.holdout is not None]
    if detail.holdout_before is not None:
        held.insert(0, (0, detail.holdout_before))
    for points, label in ((trained, "training"), (held, "held out")):
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set_title("loss, nats")
    if trained or held:
        axes.legend()


def _times(axes: Axes, rounds: list[RoundView]) -> None:
    numbers = [item.round + 1 for item in rounds]
    train = [item.train_ms / MILLIS for item in rounds]
    axes.bar(numbers, train, label="compute")
    exchange = [item.exchange_ms / MILLIS for item in rounds]
    axes.bar(numbers, exchange, bottom=train, label="communication")
    axes.set_title("seconds")
    axes.legend()


def page(detail: JobDetail, picture: bytes) -> str:
    """One HTML file with everything in it."""
    job = detail.job
    heads = ("round", "providers", "merged", "loss", "held out", "tokens/s", "compute s", "comm. s",
             "comm. share", "update bytes", "scores own/others", "witnesses", "state")  # fmt: skip
    rows = "".join(f"<tr>{''.join(map(_cell, _row(item)))}</tr>" for item in detail.rounds)
    facts = {
        "state": f"{job.state} {job.reason}",
        "loss": f"{_number(detail.holdout_before)} → {_number(detail.holdout_after)}",
        "cost": f"{format_tokens(job.cost)} of at most {format_tokens(job.cost_max)}",
        "checks": ", ".join(f"{count} {name}" for name, count in sorted(detail.verdicts.items())),
        "privacy": "-" if detail.budget is None else budget_text(detail.budget),
        "on the ledger": job.ledger_id or "-",
        "result": detail.output or "-",
    }
    told = "".join(f"<li>{name}: {escape(text)}</li>" for name, text in facts.items())
    title = escape(f"{job.id} {job.name}")
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><ul>{told}</ul>"
        f'<img alt="loss, speed, times, providers" '
        f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>\n"
    )


def _row(item: RoundView) -> tuple[str, ...]:
    share = communication_share(item)
    return (
        str(item.round + 1),
        ", ".join(item.participants),
        str(item.included),
        _number(item.loss),
        _number(item.holdout),
        "-" if item.tokens_per_second is None else str(item.tokens_per_second),
        "-" if item.missed else f"{item.train_ms / MILLIS:.1f}",
        "-" if item.missed else f"{item.exchange_ms / MILLIS:.1f}",
        "-" if share is None else f"{share:.0%}",
        f"{item.update_bytes:,}",
        ", ".join(f"{one.name} {one.assigned}/{one.other}" for one in item.scores) or "-",
        ", ".join(f"{one.name} {_agrees(one)}" for one in item.witnesses) or "-",
        (item.state_hash or "-")[:12],
    )


def _agrees(witness: WitnessView) -> str:
    return "DIFFERS" if witness.differs else "agrees"


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

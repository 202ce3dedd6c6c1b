"""What a job's loss is counted in, and when its owner should be warned about it."""

from typing import Final

from dpin.base.units import MILLION, format_millionths
from dpin.compute.hubspec import CAUSAL, HubSpec
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import Architecture, Prepared
from dpin.market.orders import TrainOrder
from dpin.market.ownjob import OwnJob

LOUD: Final = 10  # times the longest step of a round: so much noise is what the model becomes


def unit_of(model: Architecture) -> str:
    """What a loss is counted in; a module of somebody's own says itself what it means."""
    match model:
        case ModuleSpec():
            return ""
        case HubSpec(head=head):
            return " nats a token" if head == CAUSAL else " nats an example"
        case _:
            return " nats a byte"


def too_loud(order: TrainOrder, prepared: Prepared) -> str:
    """What is wrong with the noise of `dp` for a model of this size; empty where it is bearable.

    A round moves the model by one clip at most; the mean's noise is as long as the root of the
    number of parameters times the noise of one, over the number of clients.
    """
    model = order.model
    if not order.privacy.noised or (isinstance(model, HubSpec) and model.lora is not None):
        return ""
    times = _root(prepared.parameters) * order.privacy.noise_ppm // (MILLION * order.seats)
    if times < LOUD:
        return ""
    return (
        f"the noise of a round is about {times:,} times as long as the longest step that its "
        f"updates can make: {prepared.parameters:,} parameters need more clients than "
        f"{order.seats}, or less noise; adapters (method: {{r, ...}}) have fewer parameters"
    )


def worse(own: OwnJob) -> str:
    """That a model has got worse; empty where it has not, or nobody knows."""
    before, after = own.holdout_before, own.holdout_after
    if before is None or after is None or after <= before:
        return ""
    said = f"{format_millionths(before, 3)} to {format_millionths(after, 3)}"
    return f"the held-out loss has risen from {said}: the model is worse than it was"


def _root(number: int) -> int:
    """The whole part of a square root, by Newton's steps."""
    root = 1 << (number.bit_length() + 1) // 2
    while root * root > number:
        root = (root + number // root) // 2
    return root

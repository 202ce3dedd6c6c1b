"""An evaluation from the requester's side: how it is cut, what it came to."""

from collections.abc import Iterator
from typing import Final

import msgspec

from dpin.base.units import ceil_div
from dpin.compute.tallies import Total
from dpin.compute.task import EVALUATE, OuterSpec, Prepared
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import Job, JobState, State
from dpin.ledger.transactions import EVAL
from dpin.ledger.views import evaluated
from dpin.market.merging import Merging
from dpin.market.offers import REFERENCE_FLOPS_PER_MS
from dpin.market.orders import TrainOrder

EVALUATION: Final = OuterSpec(1, 0, nesterov=False, rule=EVALUATE)
WINDOWS_MIN: Final = 4
WINDOWS_MAX: Final = 16
WINDOW_MS: Final = 60_000


def evaluates(order: object) -> bool:
    """Whether an order is one of an evaluation."""
    return isinstance(order, TrainOrder) and order.outer.rule == EVALUATE


def measured(order: TrainOrder, prepared: Prepared) -> TrainOrder:
    """The order with as many steps as its longest part has batches."""
    batch = order.inner.batch
    steps = max(WINDOWS_MIN, ceil_div(prepared.examples, batch))
    flops = 2 * prepared.parameters * batch * order.model.context * steps
    minutes = ceil_div(flops, REFERENCE_FLOPS_PER_MS * WINDOW_MS)
    return msgspec.structs.replace(
        order,
        inner=msgspec.structs.replace(order.inner, steps=steps),
        windows=min(steps, WINDOWS_MAX, max(WINDOWS_MIN, minutes)),
        quorum=order.seats,  # A part that is not waited for has to be done again.
        text_bytes=prepared.text_bytes,
    )


def total(order: TrainOrder, merging: Merging, state: State, provenance: str) -> Iterator[Order]:
    """Once the job is done, add up what its units have counted."""
    job: Job = merging.job
    if job.propose.kind != EVAL or job.state != JobState.DONE:
        return
    updates = [part.update for _, part in sorted(evaluated(state, job).items())]
    if all(update in merging.paths for update in updates):
        parts = tuple(merging.paths[update] for update in updates)
        command = Total(parts, order.output, provenance, order.text_bytes)
        yield Order(WorkerId(merging.worker), command)

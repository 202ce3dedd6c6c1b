"""What a dry run finds out by doing: data and model are read as the job would, and left alone.

It asks a short-lived worker for the very preparation that the job itself begins with, so what is
refused here is what would be refused there, in the same words.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from dpin.base.codec import encode
from dpin.base.errors import Misuse
from dpin.compute.generation import Generate
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import Command, Failed, Prepared, Report
from dpin.market.evaluating import evaluates, measured
from dpin.market.losses import too_loud
from dpin.market.orders import InferOrder, Order, TrainOrder
from dpin.market.preparing import generation_of, prepare_command, tuned

Ask = Callable[[Command], Awaitable[Report]]
PAGE: Final = "docs/job-file.md"
COPY: Final = "copy the model's folder again: dpin fetch JOB"
OWN_PAGE: Final = "docs/own-modules.md"
ONE_TOKEN: Final = 1  # tells whether a model can be read and writes at all


class Tried(msgspec.Struct, frozen=True):
    """An order as it is once its data and its model were read, and what its owner should know."""

    order: Order
    chosen: str = ""  # what `auto` came to, and why
    warnings: tuple[str, ...] = ()


class Trials:
    """One at a time: a model is read whole, and memory is not for many."""

    def __init__(self, ask: Ask) -> None:
        """`ask` puts one question to a worker; it raises Unavailable where there is no answer."""
        self._ask = ask
        self._turn = trio.Lock()

    async def of(self, order: Order) -> Tried:
        """Raises Misuse with what the job would be refused for."""
        async with self._turn:
            if isinstance(order, InferOrder):
                await self._answer(_first_token(order), COPY)
                return Tried(order)
            page = OWN_PAGE if isinstance(order.model, ModuleSpec) else PAGE
            report = await self._answer(prepare_command(order, ""), f"see {page}")
        assert isinstance(report, Prepared), "a worker answers what it was asked"
        return known(order, report)

    async def _answer(self, command: Command, fix: str) -> Report:
        report = await self._ask(command)
        if isinstance(report, Failed):
            about = f"{command.model}: " if isinstance(command, Generate) else ""
            said = f"the job would be refused: {about}{report.reason}"
            raise Misuse(said, fix=report.fix or fix)
        return report


def known(order: TrainOrder, prepared: Prepared) -> Tried:
    """The order with what the data and the model have told: size, steps, rounds."""
    order = msgspec.structs.replace(order, parameters=prepared.parameters)
    loud, chosen = too_loud(order, prepared), ""
    if order.tune is not None:
        order, _, chosen = tuned(order, prepared)
    if evaluates(order):
        order = measured(order, prepared)
    return Tried(order, chosen, (loud,) if loud else ())


def _first_token(order: InferOrder) -> Generate:
    """As much of the generation as shows that the model is one."""
    short = msgspec.structs.replace(order, tokens=ONE_TOKEN)
    return Generate(encode(generation_of(short)), order.model_file)

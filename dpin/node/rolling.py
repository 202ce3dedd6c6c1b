"""The log begins anew while the node goes on: a state is written piece by piece."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio

from dpin.base.machine import Roll

REST_SECONDS_PER_BYTE: Final = 1e-7  # after each piece: about as long as it took


class Rolling(Protocol):
    """The log; see dpin.storage.log.Log."""

    def roll(self, carry: Iterable[bytes]) -> None:
        """At once."""
        ...

    def begin_roll(self) -> None:
        """From here on."""
        ...

    def carry(self, records: Iterable[bytes]) -> None:
        """More."""
        ...

    def end_roll(self) -> None:
        """That was all."""
        ...


class Roller:
    """One roll at a time; the next one takes the place of one that has not come to its end."""

    def __init__(self, nursery: trio.Nursery, log: Rolling, done: Callable[[], None]) -> None:
        """`done` is called when all is written; the sync after that makes it final."""
        self._nursery = nursery
        self._log = log
        self._done = done
        self._scope = trio.CancelScope()

    def perform(self, roll: Roll) -> None:
        """Begin the log anew: soon, unless it must be done at once."""
        self._scope.cancel()
        if roll.at_once:
            self._log.roll(roll.records)
            return
        self._log.begin_roll()
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._carry, roll, self._scope)

    async def _carry(self, roll: Roll, scope: trio.CancelScope) -> None:
        with scope:
            await trio.lowlevel.checkpoint()  # It may be over before it begins.
            for record in roll.records:
                self._log.carry([record])
                await trio.sleep(len(record) * REST_SECONDS_PER_BYTE)
            self._log.end_roll()
            self._done()

"""How the epochs ended that are over, from genesis on: bytes, of which one is read at a time.

Whoever trusts nothing but a genesis, or an old checkpoint, goes from epoch to epoch by these, so
none is ever dropped. Each is written once, to a place of its own (`Preserve`): a log that begins
anew takes along the newest alone, in case a crash has kept them from that place.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from typing_extensions import override

from dpin.base.codec import decode, encode
from dpin.ledger.handover import Handover

CARRIED: Final = 16  # that a log begins with


class Closings(Mapping[int, Handover]):
    """Handovers, by the epoch that ended. `preserved` are those that were written once."""

    def __init__(self, preserved: Iterable[bytes] = ()) -> None:
        self._encoded = {decode(Handover, data).epoch: data for data in preserved}
        self._new: list[int] = []  # epochs whose end is to be preserved

    def add(self, handover: Handover) -> None:
        """An epoch has ended."""
        if handover.epoch not in self._encoded:
            self._new.append(handover.epoch)
        self._encoded[handover.epoch] = encode(handover)

    def encoded(self, epoch: int) -> bytes:
        """As it is stored."""
        return self._encoded[epoch]

    def carried(self, epoch: int) -> list[bytes]:
        """What a log begins with in that epoch, in order."""
        wanted = range(max(0, epoch - CARRIED), epoch)
        return [self._encoded[one] for one in wanted if one in self._encoded]

    def take_new(self) -> tuple[bytes, ...]:
        """Those that were not preserved yet; they are, from here on."""
        new, self._new = self._new, []
        return tuple(self._encoded[epoch] for epoch in new)

    @override
    def __getitem__(self, epoch: int) -> Handover:
        return decode(Handover, self._encoded[epoch])

    @override
    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._encoded))

    @override
    def __len__(self) -> int:
        return len(self._encoded)

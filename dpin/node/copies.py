"""Who keeps what this node has said of itself: how many others, and since when."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dpin.base.units import Instant
from dpin.net.records import Key

KEPT_MAX: Final = 512


class By(StrEnum):
    """How others were asked to keep something."""

    MESSAGES = "messages"  # of dpin's own, among connected peers
    KAD = "kad"  # libp2p's Kad-DHT, at the nodes nearest to the key


@dataclass(frozen=True, slots=True)
class Copy:
    """The last time that a record of this node was brought to others."""

    key: Key
    by: By
    copies: int  # of those asked, who said that they keep it
    at: Instant


class Copies:
    """The last time for each record and each way; the newest KEPT_MAX."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[Key, By], Copy] = OrderedDict()

    def __iter__(self) -> Iterator[Copy]:
        return iter(self._last.values())

    def note(self, copy: Copy) -> None:
        """Others have been asked."""
        self._last.pop((copy.key, copy.by), None)
        self._last[copy.key, copy.by] = copy
        while len(self._last) > KEPT_MAX:
            self._last.popitem(last=False)

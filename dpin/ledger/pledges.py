"""What somebody asked this node to bring to the ledger, kept in the log until it is there.

Machines compare the state with what is due and wish again after a start. A payment that a person
sent is due by nothing but the asking: so it is written down, signed, before anybody is told that it
goes on, and is offered again after every start until it was applied, expired or was refused. Only
one transaction of a number is ever applied, so offering one again does no harm.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dpin.base.codec import Wire, decode


class Pledge(Wire, frozen=True, tag=1):
    """A signed transaction that is under way; one of the same key takes its place."""

    key: str  # of the wish
    data: bytes  # encoded SignedTransaction
    signed: int  # times, under the same number


class Release(Wire, frozen=True, tag=2):
    """It has ended without being applied, and whoever waits is told so: never offer it again."""

    key: str


@dataclass(frozen=True, slots=True)
class Pledged:
    """What was asked for under this key is written down: it outlives this process."""

    key: str


def standing(records: Iterable[bytes]) -> list[Pledge]:
    """What a log's records leave to be done, in the order in which it was asked for."""
    left: dict[str, Pledge] = {}
    for data in records:
        record: Pledge | Release = decode(Pledge | Release, data)
        if isinstance(record, Pledge):
            left[record.key] = record
        else:
            left.pop(record.key, None)
    return list(left.values())

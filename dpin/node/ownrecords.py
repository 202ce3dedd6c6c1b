"""Whose the records of a node's log are, and reading those that an earlier version wrote."""

from collections.abc import Container, Iterable, Iterator, Mapping
from enum import IntEnum
from types import UnionType
from typing import Final, TypeVar

from dpin.base.codec import decode
from dpin.base.errors import PeerFault
from dpin.market import ownjobs
from dpin.market.orders import Bequest, OwnJobEnd, OwnRecord, OwnRound

T = TypeVar("T")
ROUNDS_MAX: Final = 16_384  # of all own jobs, whose figures a log that begins anew keeps


class Owner(IntEnum):
    """Whose a log record is; its first byte."""

    LEDGER = 1
    OWN_JOB = 2
    PRODUCED = 3
    PLEDGED = 4


def by_owner(records: Iterable[bytes]) -> dict[Owner, list[bytes]]:
    """The records of a log; raises PeerFault where some are of nobody that is known."""
    own: dict[Owner, list[bytes]] = {owner: [] for owner in Owner}
    for record in records:
        if record[0] not in own:
            raise PeerFault(f"records of an owner {record[0]}, which is not known")
        own[Owner(record[0])].append(record[1:])
    return own


def owned_records(kept: Mapping[Owner, Iterable[bytes]]) -> Iterator[bytes]:
    """The same as records again."""
    for owner in Owner:
        for record in kept[owner]:
            yield bytes([owner]) + record


def readable(kind: type[T] | UnionType, bodies: Iterable[bytes], unread: list[str]) -> Iterator[T]:
    """Those that can be read; of others it is said in `unread` why not.

    A job that an earlier version began must not keep its node from starting.
    """
    for body in bodies:
        try:
            found: T = decode(kind, body)
        except PeerFault as fault:
            unread.append(f"a job of another version of dpin is not gone on with: {fault}")
        else:
            yield found


def remembered(bodies: Iterable[bytes], known: Container[str]) -> list[bytes]:
    """Those of own jobs that are known still; of others how the newest of them ended.

    Of each round the newest word, of the newest rounds. What cannot be read is left alone. What is
    kept for others is not among it: whoever keeps it knows what of it still counts.
    """
    either = [(body, _read(body)) for body in bodies]
    read = [(body, one) for body, one in either if not isinstance(one, Bequest)]
    gone = [body for body, one in read if isinstance(one, OwnJobEnd) and one.local_id not in known]
    kept = {*gone[-ownjobs.FORGOTTEN_MAX :], *_rounds(read, known)}
    return [
        body
        for body, one in read
        if one is None or body in kept or (one.local_id in known and not isinstance(one, OwnRound))
    ]


def _rounds(read: Iterable[tuple[bytes, OwnRecord | None]], known: Container[str]) -> list[bytes]:
    newest: dict[tuple[str, int], bytes] = {}
    for body, one in read:
        if isinstance(one, OwnRound) and one.local_id in known:
            newest.pop((one.local_id, one.round), None)
            newest[one.local_id, one.round] = body
    return list(newest.values())[-ROUNDS_MAX:]


def _read(body: bytes) -> OwnRecord | Bequest | None:
    try:
        found: OwnRecord | Bequest = decode(OwnRecord | Bequest, body)
    except PeerFault:
        return None
    return found

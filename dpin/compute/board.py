"""Where a group's processes find each other and what they are told: torch's TCPStore, in bytes.

It is rank 0's. It has no password: it listens on this machine alone, or where the operator says.
"""

from datetime import timedelta
from typing import Final

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed import DistNetworkError, DistStoreError

PATIENCE: Final = timedelta(minutes=1)  # then it is asked again
MEETING: Final = timedelta(seconds=30)  # for one that has come and only has to answer
COMING: Final = timedelta(minutes=6)  # for one that waits for a rank that is lost (ranks.WAIT)

GO: Final = b"go"
EPOCH_KEY: Final = "epoch"
ENGINE_KEY: Final = "engine"
CLASS_KEY: Final = "class"


class BoardGone(Exception):
    """Rank 0 is gone, or cannot be reached."""


class Board:
    """One end of it. Every method raises BoardGone."""

    def __init__(self, host: str, port: int, *, own: bool) -> None:
        """`own`: rank 0's end, which the others come to; port 0 is a free one."""
        try:
            self._store = TCPStore(host, port, is_master=own, wait_for_workers=False)
        except DistNetworkError as error:
            raise BoardGone(str(error).splitlines()[0]) from None

    @property
    def port(self) -> int:
        """Where the others come to."""
        return self._store.port

    def corner(self, name: str) -> Store:
        """A part of it for torch's own words."""
        return PrefixStore(name, self._store)

    def put(self, key: str, data: bytes) -> None:
        """Let everybody read this."""
        try:
            self._store.set(key, data.hex())
        except DistNetworkError:
            raise BoardGone from None

    def wait_for(self, key: str) -> bytes:
        """What stands at a key, once it does."""
        while True:
            try:
                self._store.wait([key], PATIENCE)
                return bytes.fromhex(self._store.get(key).decode())
            except DistStoreError:
                continue  # There is nothing to do at the moment.
            except DistNetworkError:
                raise BoardGone from None

    def comes(self, key: str, within: timedelta = COMING) -> bool:
        """Whether something comes to stand at a key in this time."""
        try:
            self._store.wait([key], within)
        except DistStoreError:
            return False
        except DistNetworkError:
            raise BoardGone from None
        return True

    def count(self, key: str, more: int) -> int:
        """A counter that all share, after adding `more` to it."""
        try:
            return int(self._store.add(key, more))
        except DistNetworkError:
            raise BoardGone from None

    def forget(self, key: str) -> None:
        """Nobody reads this any more."""
        self._store.delete_key(key)


def epoch_key(epoch: int) -> str:
    """Stands once the epoch has begun."""
    return f"epoch/{epoch}"


def joined_key(epoch: int) -> str:
    """How many other than rank 0 have come."""
    return f"joined/{epoch}"


def here_key(epoch: int, rank: int) -> str:
    """Stands once that rank has come."""
    return f"here/{epoch}/{rank}"


def size_key(epoch: int) -> str:
    """How many of them, with rank 0, make the group."""
    return f"size/{epoch}"


def meets_key(epoch: int, rank: int) -> str:
    """Stands once that rank, which has come, has read the group's size."""
    return f"meets/{epoch}/{rank}"


def goes_key(epoch: int) -> str:
    """Whether they are all still there: GO, or nothing where one is gone."""
    return f"goes/{epoch}"


def key_of(epoch: int, number: int) -> str:
    """Where the numbered message of an epoch stands."""
    return f"told/{epoch}/{number}"

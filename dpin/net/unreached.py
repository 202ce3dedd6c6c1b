"""Why a dial came to nothing, in plain words."""

import errno
from typing import Final

import trio
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey

from dpin.base.errors import Unavailable
from dpin.net.contained import one_line, root_of
from dpin.net.guards import DIAL_SECONDS
from dpin.net.network import Outcome, Unreached

_NO_ROUTE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EACCES)


def unreached(error: BaseException) -> Unreached:
    """What libp2p raised, in plain words."""
    root = root_of(error)
    match root:
        case ConnectionRefusedError():
            return Unreached(Outcome.REFUSED, "nobody listens there (connection refused)")
        case PeerIDMismatchesPubkey():
            return Unreached(Outcome.WRONG_NODE, "another node answers at that address")
        case Unavailable():
            return root if isinstance(root, Unreached) else Unreached(Outcome.FAILED, str(root))
        case TimeoutError() | trio.TooSlowError():
            return Unreached(Outcome.SILENT, f"no answer within {DIAL_SECONDS:.0f} seconds")
        case OSError() if root.errno in _NO_ROUTE:
            return Unreached(Outcome.NO_ROUTE, f"no way there ({root.strerror})")
        case _:
            return Unreached(Outcome.FAILED, f"the connection failed ({one_line(error)})")

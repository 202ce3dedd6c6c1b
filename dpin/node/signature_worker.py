"""A process that checks signatures and does nothing else: claims in on stdin, bits out on stdout.

    python -m dpin.node.signature_worker CHAIN

See `dpin.ledger.claims` for the words. It ends with its input. It has no secrets, and whatever it
is given, the most it can say is no.
"""

import sys
from typing import BinaryIO

from dpin.base.ids import ChainId
from dpin.ledger.claims import CLAIM_BYTES, COUNT_BYTES, verdicts


def serve(chain: ChainId, inward: BinaryIO, outward: BinaryIO) -> None:
    """Answer until there is nothing more to read."""
    while len(head := inward.read(COUNT_BYTES)) == COUNT_BYTES:
        size = int.from_bytes(head) * CLAIM_BYTES
        claims = inward.read(size)
        if len(claims) < size:
            return
        outward.write(verdicts(chain, claims))
        outward.flush()


if __name__ == "__main__":
    serve(ChainId(bytes.fromhex(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)

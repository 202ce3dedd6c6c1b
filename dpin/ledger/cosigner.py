"""Own signatures over checkpoints: made once for each, and sent with the next own blocks.

One signature for each (epoch, sequence), for ever (M5): sequences are signed in ascending order, an
own block is synced before it is sent, and own blocks from the log say how far that went.
"""

from collections import deque
from typing import Final

from dpin.base.crypto import SigningKey
from dpin.base.ids import ChainId
from dpin.ledger.blocks import SIGNATURES_MAX, Header
from dpin.ledger.certificates import sign_checkpoint
from dpin.ledger.certifier import Made
from dpin.ledger.checkpoint import CheckpointSignature

QUEUED_MAX: Final = 8  # checkpoints; of more, the oldest are not signed


class Cosigner:
    """Checkpoints of one epoch that are still to be signed."""

    def __init__(self, chain: ChainId, key: SigningKey) -> None:
        self._chain = chain
        self._key = key
        self._queue: deque[Made] = deque(maxlen=QUEUED_MAX)
        self._signed = 0  # the newest sequence that was ever signed in this epoch

    def made(self, own: Made) -> None:
        """The node has come to a checkpoint, which it may sign."""
        self._queue.append(own)

    def restore(self, header: Header) -> None:
        """An own block from the log."""
        for signature in header.checkpoint_signatures:
            self._signed = max(self._signed, signature.sequence)

    def take(self) -> tuple[CheckpointSignature, ...]:
        """Signatures for the next own block."""
        signed: list[CheckpointSignature] = []
        while self._queue and len(signed) < SIGNATURES_MAX:
            own = self._queue.popleft()
            if own.checkpoint.sequence > self._signed:
                self._signed = own.checkpoint.sequence
                value = sign_checkpoint(self._key, self._chain, own.size, own.root)
                signed.append(CheckpointSignature(self._signed, own.name, value))
        return tuple(signed)

"""What a validator, or who wants to be one, can ask of the ledger: operations as data.

Rules live in `validators.py`. Wire structures are final.
"""

from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import ChainId, Digest, NodeId, Round
from dpin.base.units import MicroTokens

POSSESSION_TAG: Final = "dpin/skey/v1"


class BondValidator(Wire, frozen=True, tag=16):
    """Set free tokens aside as the sender's validator bond, or add to it."""

    amount: MicroTokens


class RegisterValidator(Wire, frozen=True, tag=17):
    """Stand for the committee from the next epoch on (again: replaces what was said before).

    `signer` signs blocks and checkpoints; `possession` is its signature over `possession_digest`,
    so that nobody registers a key that another holds. `anchor` belongs to `anchor_round` and begins
    a hash chain of reveals.
    """

    signer: NodeId
    possession: bytes
    anchor: Digest
    anchor_round: Round


class RetireValidator(Wire, frozen=True, tag=18):
    """Stand for the committee no more."""


class WithdrawBond(Wire, frozen=True, tag=19):
    """Take all of the bond back, once nothing that was signed can cost it any more."""


class ReadyValidator(Wire, frozen=True, tag=20):
    """The sender follows the network and can validate this epoch, the next one (H7)."""

    epoch: int


def possession_digest(node: NodeId, anchor: Digest, anchor_round: Round) -> Digest:
    """What a consensus key signs to become the key of this node."""
    return digest(POSSESSION_TAG, encode([node, anchor, anchor_round]))


def register_validator(
    signer: SigningKey, chain: ChainId, node: NodeId, anchor: Digest, anchor_round: Round
) -> RegisterValidator:
    """A registration of this node with the proof that its consensus key is at hand."""
    named = possession_digest(node, anchor, anchor_round)
    possession = signer.sign(POSSESSION_TAG, chain, named)
    return RegisterValidator(signer.node_id, possession, anchor, anchor_round)

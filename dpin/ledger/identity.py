"""Who a node is among validators: its own key, its hash chains, its consensus keys."""

from dataclasses import dataclass, field
from typing import Final

from dpin.base.crypto import SigningKey
from dpin.base.ids import ChainId, NodeId, Round
from dpin.ledger.candidacy import RegisterValidator, register_validator
from dpin.ledger.chains import OwnChains

SIGNERS_MAX: Final = 8  # consensus keys that are kept; an epoch needs two


@dataclass(frozen=True, slots=True)
class WantSigner:
    """Make a consensus key, keep it where it survives, and answer with HoldSigner."""


@dataclass(frozen=True, slots=True)
class WantChain:
    """Make the hash chain of this number, keep its table, and answer with HoldChain."""

    number: int


@dataclass(frozen=True, slots=True)
class HoldSigner:
    """A consensus key that is nowhere else, and that survives a crash."""

    key: SigningKey


@dataclass(frozen=True, slots=True)
class HoldChain:
    """The table of the hash chain of this number."""

    number: int
    table: bytes


@dataclass(slots=True)
class Identity:
    """One for the life of a node, and shared by all that sign in its name.

    `signers` are consensus keys beside the node's own, the newest last: each was made where this
    node runs and is nowhere else.
    """

    key: SigningKey
    chains: OwnChains = field(default_factory=OwnChains)
    signers: list[SigningKey] = field(default_factory=list)
    fresh: bool = False  # the newest is to take the registered one's place

    def hold(self, key: SigningKey) -> None:
        """Stand with this key from now on."""
        self.signers = [*self.signers, key][-SIGNERS_MAX:]
        self.fresh = True

    @property
    def newest(self) -> SigningKey:
        """The consensus key that this node stands with from now on."""
        return self.signers[-1] if self.signers else self.key

    def holder(self, signer: NodeId) -> SigningKey | None:
        """The key of that public half, if it is here."""
        held = (self.key, *self.signers)
        return next((key for key in held if key.node_id == signer), None)

    def registration(self, chain: ChainId, round_: Round) -> RegisterValidator | None:
        """The node as a validator, as it is now; None while its hash chain is not there."""
        anchor = self.chains.anchor(round_)
        if anchor is None:
            return None
        return register_validator(self.newest, chain, self.key.node_id, anchor, round_)

"""When a validator needs other secrets: its log lost what a key signed, or a hash chain ends.

What is made is wished onto the ledger by `duties.py`.
"""

from dpin.base.ids import NodeId, Round
from dpin.ledger.accounts import State
from dpin.ledger.identity import Identity, WantChain, WantSigner


class Renewal:
    """What one node asks for; whoever runs it makes that and has the identity hold it."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._wanted: int | None = None  # the hash chain that is being made

    def silenced(self, used_up: NodeId | None) -> list[WantSigner]:
        """The node signs nothing in this epoch; `used_up`: because of its key (H10)."""
        if used_up is None:
            return []
        if self._identity.newest.node_id == used_up:
            return [WantSigner()]
        self._identity.fresh = True  # It was made before a crash, and perhaps not registered.
        return []

    def step(self, state: State, round_: Round) -> list[WantChain]:
        """The next hash chain of a validator, when it is time to have it."""
        validator = state.validators.get(self._identity.key.node_id)
        number = self._identity.chains.lacks(round_)
        if validator is None or not validator.stands:
            return []
        if number is None or number == self._wanted:
            return []
        self._wanted = number
        return [WantChain(number)]

"""A unit under check on a real ledger, and what an honest provider has to show for it."""

from dpin.base.ids import NO_BLOB, Digest, NodeId
from dpin.base.leaf import leaf_path
from dpin.ledger.accounts import Unit, UnitState
from dpin.ledger.transactions import VerifyCommit, seal
from dpin.verify.commitment import commit_of
from dpin.verify.examination import ACCUSE_TICKS
from dpin.verify.messages import Opening
from tests.support.jobs import file_id, market, training
from tests.support.ledgers import SALT, UPDATE, found_in, key_of, reveal_of, unit_of, work

STATE, LAST, BASE = file_id("state"), file_id("last"), file_id("base")


class CheckedUnit:
    """A unit of maker's, committed; `one` and `two` have the seats."""

    def __init__(self) -> None:
        self.ledger = market()
        self.job = training(self.ledger, "buyer", "maker")
        self.done = work(self.ledger, key_of(self.ledger, self.job, "maker"))
        assert self.ledger.do("maker", commit_of(self.done.leaves, UPDATE)) == "ok"
        self.ledger.wait(1)
        assert self.unit.state == UnitState.SEATED
        assert len(self.unit.seats) == 2

    @property
    def unit(self) -> Unit:
        """As the ledger knows it now."""
        return unit_of(self.ledger, self.job, "maker")

    @property
    def honest(self) -> Digest:
        """What an honest verifier finds."""
        return found_in(self.done, self.unit)

    def opening(self, *, final: bool) -> Opening:
        """What an honest provider answers."""
        window = len(self.done.leaves) - 1 if final else self.unit.window - 1
        return Opening(
            lease=self.unit.lease,
            round=self.unit.round,
            final=final,
            leaf=self.done.leaves[window],
            path=leaf_path(self.done.leaves, window),
            state=LAST if final else STATE,
            base=BASE if final else NO_BLOB,
        )

    def seal(self, verifier: NodeId) -> None:
        """One of the verifiers seals what is right."""
        unit = self.unit
        sealed = seal(unit.lease, unit.round, verifier, self.honest, SALT)
        operation = VerifyCommit(unit.lease, unit.round, sealed)
        assert self.ledger.do(self.ledger.name(verifier), operation) == "ok"

    def open_leaves(self) -> None:
        """The provider opens, once all have sealed."""
        assert self.ledger.do("maker", self.done.open_leaf(self.unit.window)) == "ok"

    def reveal(self, verifier: NodeId) -> None:
        """One of the verifiers reveals what is right."""
        operation = reveal_of(self.unit, self.honest)
        assert self.ledger.do(self.ledger.name(verifier), operation) == "ok"

    def near_deadline(self) -> None:
        """The time of the unit's present state is almost over."""
        self.ledger.wait(self.unit.deadline - ACCUSE_TICKS - self.ledger.state.tick)

"""What a validator, or who wants to be one, does of itself: is ready, shows who signed twice.

It compares the state with what is due and wishes for the rest, like all that follow the ledger.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from dpin.base.ids import ChainId, NodeId, Round
from dpin.base.units import MICROS_PER_MILLI, Instant, Tick
from dpin.ledger.accounts import State
from dpin.ledger.beacon import GAP_MAX
from dpin.ledger.candidacy import ReadyValidator
from dpin.ledger.evidence import Evidence, contradiction_of, evidence_of
from dpin.ledger.identity import Identity
from dpin.ledger.offences import CheckpointFork, Crime
from dpin.ledger.order import OrderedCommit
from dpin.ledger.params import Params
from dpin.ledger.standing import Validator
from dpin.ledger.validators import READY_PARTS
from dpin.ledger.watch import Watch
from dpin.ledger.wishes import Wish

LATE_MS: Final = 10_000  # who is further behind the others catches up first

_WORDS: Final = {Crime.EQUIVOCATION: "equivocation", Crime.FORK: "checkpoint-fork"}


class Witness(NamedTuple):
    """What a node saw: who signed twice in which epoch, and how.

    `watches` are by epoch, those that ended not long ago too: the last blocks of an epoch come
    when nothing of it is executed any more. `forks` are by epoch and author, from certificates
    that contradict each other.
    """

    watches: Mapping[int, Watch]
    forks: Mapping[tuple[int, int], CheckpointFork]


@dataclass(frozen=True, slots=True)
class _Case:
    """What this node can show, and since when."""

    evidence: Evidence
    since: Tick


_Place = tuple[int, int, Crime]  # epoch, author, what it did


class Duties:
    """See `step`."""

    def __init__(self, identity: Identity, chain: ChainId, params: Params) -> None:
        self._identity = identity
        self._chain = chain
        self._params = params
        self._cases: dict[_Place, _Case] = {}
        self._known: set[_Place] = set()  # what is a case, or was

    def step(
        self, state: State, commit: OrderedCommit, witness: Witness, now: Instant
    ) -> Sequence[Wish]:
        """A commit was executed: what should be on the ledger because of it."""
        self._look(state, witness)
        if abs(now // MICROS_PER_MILLI - commit.timestamp_ms) > LATE_MS:
            return ()
        renewed = self._renew(state, commit.leader_round)
        return [*renewed, *self._stand(state), *self._accuse(state)]

    # --- to keep what it signs with ---

    def _renew(self, state: State, round_: Round) -> Iterator[Wish]:
        """Register anew: a key that took another's place, a chain that ends, or one out of reach.

        The newest chain takes over in the last tenth of the one before. Whoever has no seat is not
        heard, so its chain falls behind by itself.
        """
        me = self._identity.key.node_id
        validator = state.validators.get(me)
        if validator is None or not validator.stands:
            return
        begun = self._identity.chains.begins(self._identity.chains.number(round_))
        behind = round_ - validator.anchor_round > GAP_MAX // 2
        waits = behind and _place(state, me) is None and self._may_stand(state, validator)
        rekeyed = validator.signer != self._identity.newest.node_id
        self._identity.fresh = self._identity.fresh and rekeyed
        ends = waits or validator.anchor_round < begun
        if self._identity.fresh or (ends and self._identity.holder(validator.signer) is not None):
            again = self._identity.registration(self._chain, round_)
            if again is not None:
                yield Wish(f"chain:{state.epoch}", again)

    # --- to be seated ---

    def _stand(self, state: State) -> Iterator[Wish]:
        epoch = state.epoch
        validator = state.validators.get(self._identity.key.node_id)
        if validator is None or not self._may_stand(state, validator):
            return
        passed = state.time - state.term.opened_ms
        near = passed * READY_PARTS >= self._params.epoch_ms * (READY_PARTS - 1)
        if near and validator.ready_for <= epoch:
            yield Wish(f"ready:{epoch + 1}", ReadyValidator(epoch + 1))

    def _may_stand(self, state: State, validator: Validator) -> bool:
        """Whether it is not seated, and nothing but readiness is wanting."""
        seated = _place(state, self._identity.key.node_id) is not None
        free = validator.jailed_until <= state.epoch + 1
        enough = validator.bond >= self._params.validator_bond_min
        return validator.stands and not seated and free and enough

    # --- to show what others did ---

    def _look(self, state: State, witness: Witness) -> None:
        """Remember who signed twice, and what: epochs and their blocks are forgotten."""
        for epoch, watch in witness.watches.items():
            for author, (one, other) in watch.twins.items():
                place = (epoch, author, Crime.EQUIVOCATION)
                self._note(state, place, partial(evidence_of, one.block, other.block))
            for author, (one, other) in watch.caught.items():
                place = (epoch, author, Crime.FORK)
                self._note(state, place, partial(contradiction_of, one.block, other.block))
        for (epoch, author), fork in witness.forks.items():
            self._note(state, (epoch, author, Crime.FORK), partial(_itself, fork))

    def _note(self, state: State, place: _Place, shown: Callable[[], Evidence]) -> None:
        if place not in self._known:
            self._known.add(place)
            self._cases[place] = _Case(shown(), state.tick)

    def _accuse(self, state: State) -> Iterator[Wish]:
        """Members report in turn, a tick each, so that not all of them pay to say the same."""
        for place, case in list(self._cases.items()):
            epoch, author, crime = place
            offender = _offender(state, epoch, author)
            if _is_settled(state, place, offender):
                del self._cases[place]
            elif offender is not None and self._is_due(state, case, offender):
                yield Wish(f"{_WORDS[crime]}:{epoch}:{author}", case.evidence)

    def _is_due(self, state: State, case: _Case, offender: NodeId) -> bool:
        """Whether it is this member's turn; nobody accuses itself."""
        me, members = self._identity.key.node_id, len(state.term.committee.members)
        mine = _place(state, me)
        if mine is None or me == offender:
            return False
        after = _place(state, offender)
        wait = mine if after is None else (mine - after - 1) % members
        return state.tick >= case.since + wait


def _itself(fork: CheckpointFork) -> Evidence:
    return fork


def _place(state: State, node: NodeId) -> int | None:
    """Somebody's author index in the present committee."""
    nodes = [member.node for member in state.term.committee.members]
    return nodes.index(node) if node in nodes else None


def _offender(state: State, epoch: int, author: int) -> NodeId | None:
    record = state.committees.get(epoch)
    return None if record is None else record.members[author].node


def _is_settled(state: State, place: _Place, offender: NodeId | None) -> bool:
    """Whether evidence was shown already, or comes too late."""
    epoch, _, crime = place
    if offender is None:
        return epoch < state.epoch
    validator = state.validators.get(offender)
    return validator is None or (crime, epoch) in {
        (one.crime, one.epoch) for one in validator.offences
    }

"""What a validator, or who wants to be one, does of itself: is ready, shows who signed twice.

It compares the state with what is due and wishes for the rest, like all that follow the ledger.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dpin.base.ids import ChainId, NodeId, Round
from dpin.base.units import MICROS_PER_MILLI, Instant, Tick
from dpin.ledger.accounts import State
from dpin.ledger.beacon import GAP_MAX
from dpin.ledger.blocks import Vertex
from dpin.ledger.candidacy import ReadyValidator
from dpin.ledger.dag import Dag
from dpin.ledger.evidence import contradiction_of, evidence_of
from dpin.ledger.identity import Identity
from dpin.ledger.offences import CheckpointContradiction, CheckpointFork, Crime, Equivocation
from dpin.ledger.order import OrderedCommit
from dpin.ledger.params import Params
from dpin.ledger.standing import Validator
from dpin.ledger.validators import READY_PARTS
from dpin.ledger.watch import Watch
from dpin.ledger.wishes import Wish

LATE_MS: Final = 10_000  # who is further behind the others catches up first
ROUNDS_BACK: Final = 200  # twins are looked for in so many rounds


_WORDS: Final = {Crime.EQUIVOCATION: "equivocation", Crime.FORK: "checkpoint-fork"}


class Witness(NamedTuple):
    """What a node saw: an epoch's accepted blocks, and who signed checkpoints twice, and how.

    `forks` are by epoch and author, from certificates that contradict each other.
    """

    dag: Dag
    watch: Watch
    forks: Mapping[tuple[int, int], CheckpointFork]


@dataclass(frozen=True, slots=True)
class _Case:
    """What this node can show, and since when."""

    evidence: Equivocation | CheckpointContradiction | CheckpointFork
    since: Tick


_Place = tuple[int, int, Crime]  # epoch, author, what it did


class Duties:
    """See `step`."""

    def __init__(self, identity: Identity, chain: ChainId, params: Params) -> None:
        self._identity = identity
        self._chain = chain
        self._params = params
        self._cases: dict[_Place, _Case] = {}
        self._dag: Dag | None = None
        self._looked: set[int] = set()  # equivocators of that DAG whose twins were looked for
        self._shown: set[tuple[int, int]] = set()  # forks that are a case, or were
        self._forked: set[int] = set()  # who signed checkpoints twice there, and is a case

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
        """Remember who signed twice, and what: the DAG it is in ends with its epoch."""
        dag = witness.dag
        if dag is not self._dag:
            self._dag, self._looked, self._forked = dag, set(), set()
        for author in sorted(dag.equivocators - self._looked):
            self._looked.add(author)
            pair = _twins(dag, author)
            if pair is not None:
                evidence = evidence_of(pair[0].block, pair[1].block)
                place = (pair[0].block.header.epoch, author, Crime.EQUIVOCATION)
                self._cases.setdefault(place, _Case(evidence, state.tick))
        for author in sorted(witness.watch.caught.keys() - self._forked):
            self._forked.add(author)
            one, other = (vertex.block for vertex in witness.watch.caught[author])
            place = (one.header.epoch, author, Crime.FORK)
            self._cases[place] = _Case(contradiction_of(one, other), state.tick)
        for epoch, author in sorted(witness.forks.keys() - self._shown):
            self._shown.add((epoch, author))
            case = _Case(witness.forks[epoch, author], state.tick)
            self._cases.setdefault((epoch, author, Crime.FORK), case)

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


def _twins(dag: Dag, author: int) -> tuple[Vertex, Vertex] | None:
    """Two accepted blocks of one of its newest rounds."""
    lowest = max(dag.base + 1, dag.highest - ROUNDS_BACK)
    for number in range(dag.highest, lowest - 1, -1):
        first, *more = dag.slot(Round(number), author) or (None,)
        if first is not None and more:
            return first, more[0]
    return None

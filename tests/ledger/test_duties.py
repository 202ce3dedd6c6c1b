"""What a validator does of itself: ready in time, twins shown once, nothing while it lags."""

from dataclasses import dataclass, field

from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.merkle import EMPTY_ROOT
from dpin.base.units import MICROS_PER_MILLI, Instant, MicroTokens, Tick
from dpin.ledger.beacon import GAP_MAX, Chain, OwnChain
from dpin.ledger.blocks import Header, Vertex, opening_blocks, sign_block, vertex_of
from dpin.ledger.candidacy import (
    BondValidator,
    ReadyValidator,
    RegisterValidator,
    register_validator,
)
from dpin.ledger.chains import OwnChains
from dpin.ledger.checkpoint import CheckpointSignature
from dpin.ledger.committee import committee_of
from dpin.ledger.dag import Dag
from dpin.ledger.duties import LATE_MS, Duties, Witness
from dpin.ledger.identity import Identity
from dpin.ledger.offences import CheckpointContradiction, CheckpointFork, Equivocation
from dpin.ledger.watch import SPAN, Watch
from dpin.ledger.wishes import Wish
from dpin.sim.ledgers import short_table
from tests.support.ledgers import Ledger
from tests.support.validators import (
    BOND,
    become_validator,
    block,
    close_epoch,
    key_of_member,
    near_the_end,
    place_of,
    signer,
    welcome,
)

FOUR = ["ann", "bob", "cat", "dan"]
TABLE = short_table(bytes(32))


def dag_of(ledger: Ledger) -> Dag:
    """The DAG of the present epoch, without a block yet."""
    committee = committee_of(ledger.state.term.committee)
    opening = opening_blocks(committee, 0, Digest(ledger.executor.chain))
    return Dag(opening, committee, ledger.genesis.params.consensus.gc_depth)


def first_block(ledger: Ledger, dag: Dag, name: str, time_ms: int) -> Vertex:
    """A valid block of the first round."""
    author = place_of(ledger, name)
    opening = [dag.slot(dag.base, one)[0].reference for one in range(4)]
    own = opening.pop(author)
    header = Header(
        version=1,
        epoch=ledger.state.epoch,
        round=Round(dag.base + 1),
        author=author,
        timestamp_ms=time_ms,
        ancestors=(own, *opening),
        payload_root=EMPTY_ROOT,
        payload_bytes=0,
        transactions=0,
        own_gap=0,
        reveal=NO_DIGEST,
        checkpoint_signatures=(),
        evidence=(),
    )
    return sign_block(key_of_member(ledger, author), ledger.executor.chain, header, ())


@dataclass
class Members:
    """The duties of some, as they follow a ledger; what they wish is done."""

    ledger: Ledger
    names: tuple[str, ...]
    late_ms: int = 0
    duties: dict[str, Duties] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    watches: dict[int, Watch] = field(default_factory=dict)  # by epoch
    forks: dict[tuple[int, int], CheckpointFork] = field(default_factory=dict)

    @property
    def watch(self) -> Watch:
        """Of the present epoch."""
        return self.watches.setdefault(self.ledger.state.epoch, Watch())

    def step(self) -> list[tuple[str, Wish]]:
        """The newest commit is followed by everybody."""
        ledger, found = self.ledger, []
        now = Instant((ledger.now_ms + self.late_ms) * MICROS_PER_MILLI)
        for name in self.names:
            if name not in self.duties:
                key, params = ledger.keys[name], ledger.genesis.params
                identity = self.identities.setdefault(name, Identity(key, OwnChains({0: TABLE})))
                self.duties[name] = Duties(identity, ledger.executor.chain, params)
            seen = Witness(self.watches, self.forks)
            wishes = self.duties[name].step(ledger.state, ledger.commits[-1], seen, now)
            found += [(name, wish) for wish in wishes]
        return found


def with_bob() -> Ledger:
    ledger = Ledger("ann")
    welcome(ledger, "ann", "bob")
    become_validator(ledger, "bob")
    return ledger


def test_a_candidate_says_that_it_is_ready_in_the_last_tenth_and_once() -> None:
    ledger = with_bob()
    members = Members(ledger, ("ann", "bob"))
    assert members.step() == []
    near_the_end(ledger)
    assert members.step() == [("bob", Wish("ready:1", ReadyValidator(1)))]
    assert ledger.do("bob", ReadyValidator(1)) == "ok"
    assert members.step() == []


def test_who_could_not_be_seated_does_not_pay_to_say_that_it_is_ready() -> None:
    ledger = with_bob()
    members = Members(ledger, ("bob",))
    near_the_end(ledger)
    bob = ledger.state.validators[ledger.id("bob")]
    for name, value in [("jailed_until", 2), ("bond", BOND - 1), ("retired", True)]:
        kept = getattr(bob, name)
        setattr(bob, name, value)
        assert members.step() == []
        setattr(bob, name, kept)
    assert members.step()


def test_a_node_that_lags_behind_wishes_for_nothing() -> None:
    ledger = with_bob()
    near_the_end(ledger)
    assert Members(ledger, ("bob",), late_ms=LATE_MS + 1).step() == []
    assert Members(ledger, ("bob",), late_ms=LATE_MS).step()


def test_a_candidate_registers_its_chain_anew_before_it_is_out_of_reach() -> None:
    ledger = Ledger("ann")
    welcome(ledger, "ann", "bob")
    chain, key = ledger.executor.chain, ledger.keys["bob"]
    first = Identity(key, OwnChains({0: TABLE})).registration(chain, Round(1))
    assert first is not None
    assert ledger.do("bob", BondValidator(MicroTokens(BOND)), first) == "ok"
    members = Members(ledger, ("bob",))
    assert members.step() == []
    ledger.round = Round(GAP_MAX // 2 + 2)
    ledger.commit()
    [(_, wish)] = members.step()
    again = wish.operation
    assert isinstance(again, RegisterValidator)
    assert again.anchor_round == ledger.round
    assert again.anchor == OwnChain(Chain(), TABLE).at(ledger.round)
    assert ledger.do("bob", again) == "ok"
    assert members.step() == []


def test_a_chain_that_ends_is_followed_by_the_next_in_its_last_tenth() -> None:
    ledger, short = Ledger("ann"), Chain(1 << 8)
    tables = {number: short.build(bytes([number]) * 32) for number in (0, 1)}
    chains = OwnChains({0: tables[0]}, short)
    members = Members(ledger, ("ann",))
    members.identities["ann"] = Identity(ledger.keys["ann"], chains)
    assert chains.begins(1) == 231
    ledger.round = Round(228)
    ledger.commit()
    assert ledger.round < chains.begins(1)
    assert (chains.lacks(ledger.round), members.step()) == (None, [])
    ledger.commit()
    assert (chains.lacks(ledger.round), members.step()) == (1, [])
    chains.add(1, tables[1])
    [(_, wish)] = members.step()
    assert isinstance(wish.operation, RegisterValidator)
    assert wish.operation.anchor == short.reveal(tables[1], ledger.round - 231)
    assert wish.operation.anchor_round == ledger.round
    assert ledger.do("ann", wish.operation) == "ok"
    assert members.step() == []


def test_a_fresh_consensus_key_takes_the_place_of_the_registered_one() -> None:
    ledger = Ledger("ann")
    members = Members(ledger, ("ann",))
    ledger.commit()
    assert members.step() == []
    ann = members.identities["ann"]
    ann.hold(signer("ann"))
    [(_, wish)] = members.step()
    assert isinstance(wish.operation, RegisterValidator)
    assert wish.operation.signer == signer("ann").node_id
    assert ledger.do("ann", wish.operation) == "ok"
    assert members.step() == []
    chain, anchor = ledger.executor.chain, wish.operation.anchor
    elsewhere = register_validator(signer("bob"), chain, ledger.id("ann"), anchor, Round(0))
    assert ledger.do("ann", elsewhere) == "ok"
    assert members.step() == []  # Registered elsewhere since: two homes do not take turns.


def twin_blocks(ledger: Ledger, name: str) -> list[Vertex]:
    return [first_block(ledger, dag_of(ledger), name, time_ms) for time_ms in (1, 2)]


def twins_in(members: Members, name: str) -> None:
    first, second = twin_blocks(members.ledger, name)
    members.watch.compare(second, [first])


def test_members_show_twins_in_turn_and_the_offender_does_not() -> None:
    ledger = Ledger(*FOUR)
    members = Members(ledger, tuple(FOUR))
    ledger.commit()
    assert members.step() == []
    twins_in(members, "bob")
    [(first, wish)] = members.step()
    assert place_of(ledger, first) == (place_of(ledger, "bob") + 1) % 4
    assert isinstance(wish.operation, Equivocation)
    reporters = {first}
    ticks = int(ledger.state.tick)
    while ledger.state.tick < Tick(ticks + 5):
        ledger.wait(1)
        reporters |= {name for name, _ in members.step()}
    assert reporters == {"ann", "cat", "dan"}
    assert ledger.do(first, wish.operation) == "ok"
    assert ledger.state.validators[ledger.id("bob")].jailed_until
    assert members.step() == []


def perjury(ledger: Ledger, watch: Watch, name: str) -> None:
    """Two blocks of two rounds that name different checkpoints under one number."""
    for number, other in ((8, 1), (9, 2)):
        said = (CheckpointSignature(5, Digest(bytes([other]) * 32), bytes(64)),)
        changes = {"round": Round(number), "checkpoint_signatures": said}
        watch.take(vertex_of(block(ledger, name, number, **changes)))


def test_members_show_who_signed_a_number_twice_and_the_bond_pays() -> None:
    ledger = Ledger(*FOUR)
    members = Members(ledger, tuple(FOUR))
    ledger.commit()
    perjury(ledger, members.watch, "bob")
    [(first, wish)] = members.step()
    assert place_of(ledger, first) == (place_of(ledger, "bob") + 1) % 4
    assert isinstance(wish.operation, CheckpointContradiction)
    assert ledger.do(first, wish.operation) == "ok"
    bob = ledger.state.validators[ledger.id("bob")]
    assert bob.bond < BOND
    assert bob.jailed_until
    assert members.step() == []


def test_a_number_signed_once_and_others_beside_it_is_nothing_to_show() -> None:
    ledger = Ledger(*FOUR)
    members = Members(ledger, tuple(FOUR))
    ledger.commit()
    for number in range(SPAN + 8):
        said = (CheckpointSignature(number, Digest(number.to_bytes(32, "big")), bytes(64)),)
        changes = {"round": Round(number), "checkpoint_signatures": said}
        members.watch.take(vertex_of(block(ledger, "bob", number, **changes)))
    assert members.watch.caught == {}
    assert len(members.watch) == SPAN
    assert members.step() == []


def test_twins_are_remembered_when_the_epoch_and_its_dag_are_over() -> None:
    ledger = Ledger(*FOUR)
    members = Members(ledger, tuple(FOUR), late_ms=LATE_MS + 1)
    ledger.commit()
    twins_in(members, "bob")
    assert members.step() == []
    close_epoch(ledger)
    members.late_ms = 0
    found = members.step()
    assert {name for name, _ in found} == {"ann", "cat", "dan"}
    assert ledger.do("ann", found[0][1].operation) == "ok"
    assert members.step() == []


def test_twins_that_come_after_the_last_commit_of_their_epoch_are_shown_in_the_next() -> None:
    ledger = Ledger(*FOUR)
    members = Members(ledger, tuple(FOUR))
    watch, first, second = members.watch, *twin_blocks(ledger, "bob")
    close_epoch(ledger)
    assert members.step() == []
    watch.compare(second, [first])
    assert len(members.step()) == 1  # In turn.
    ledger.wait(4)
    assert {name for name, _ in members.step()} == {"ann", "cat", "dan"}


def test_twins_whose_epoch_no_bond_answers_for_are_forgotten() -> None:
    ledger = Ledger(*FOUR)
    members = Members(ledger, tuple(FOUR))
    ledger.commit()
    twins_in(members, "bob")
    assert members.step()
    for _ in range(ledger.genesis.params.unbonding_epochs + 1):
        close_epoch(ledger)
    assert members.step() == []

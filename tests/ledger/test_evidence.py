"""Evidence costs whom it convicts, once, and nobody else; what shows nothing is refused."""

from collections.abc import Sequence

import msgspec
import pytest

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.units import MILLION, MicroTokens
from dpin.ledger.blocks import Reference, sign_block
from dpin.ledger.candidacy import BondValidator
from dpin.ledger.checkpoint import Checkpoint, CheckpointSignature, note_text
from dpin.ledger.evidence import contradiction_of, evidence_of
from dpin.ledger.execute import Executor
from dpin.ledger.money import MAX_SUPPLY, supply
from dpin.ledger.offences import (
    CheckpointContradiction,
    CheckpointFork,
    Equivocation,
    SignedCheckpoint,
    SignedHeader,
)
from dpin.ledger.order import OrderedBlock
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.roots import root_of
from dpin.ledger.standing import Validator
from dpin.ledger.transactions import TRANSACTION_BYTES_MAX, Operation, Transfer, sign
from tests.support.ledgers import Ledger
from tests.support.validators import (
    BOND,
    become_validator,
    block,
    close_epoch,
    key_of_member,
    place_of,
    registering,
    run_epoch,
    signer,
    twins,
    welcome,
)

FOUR = ["ann", "bob", "cat", "dan"]
SEVEN = [*FOUR, "eve", "fay", "gil"]


def checkpoint(ledger: Ledger, sequence: int = 3, **changes: object) -> Checkpoint:
    none = NO_DIGEST
    made = Checkpoint(sequence, ledger.state.epoch, 30, none, none, 1, none, none, none)
    return msgspec.structs.replace(made, **changes)


def signed(
    ledger: Ledger, key: SigningKey, made: Checkpoint, before: Sequence[bytes] = ()
) -> SignedCheckpoint:
    """A checkpoint that ends a log with these leaves before it, signed."""
    leaves = [merkle.leaf_hash(one) for one in (*before, encode(made))]
    path = merkle.inclusion_proof(leaves, len(leaves) - 1)
    text = note_text(ledger.executor.chain, len(leaves), merkle.root(leaves))
    return SignedCheckpoint(made, len(leaves), tuple(path), key.sign_note(text))


def fork(ledger: Ledger, name: str) -> CheckpointFork:
    """Two checkpoints of one number."""
    author = place_of(ledger, name)
    key = key_of_member(ledger, author)
    two = [checkpoint(ledger, height=height) for height in (30, 40)]
    return CheckpointFork(author, *(signed(ledger, key, one, [b"x", b"y"]) for one in two))


def validator(ledger: Ledger, name: str) -> Validator:
    return ledger.state.validators[ledger.id(name)]


def test_who_makes_two_blocks_of_a_round_pays_the_reporter_and_burns_the_rest() -> None:
    ledger = Ledger(*SEVEN)
    before, reserve = ledger.account("ann").free, ledger.state.reserve
    assert ledger.do("ann", twins(ledger, "bob")) == "ok"
    share = 3 * (MILLION // 7)
    taken = -(-BOND * share // MILLION)
    reward = taken * DEVELOPMENT.reporter_ppm // MILLION
    bob = validator(ledger, "bob")
    assert bob.bond == BOND - taken
    assert ledger.account("ann").free == before + reward
    assert ledger.state.reserve == reserve + taken - reward
    assert (bob.faults, bob.jailed_until) == (1, 1 + DEVELOPMENT.jail_epochs)
    assert supply(ledger.state) == MAX_SUPPLY


def test_who_signs_two_checkpoints_of_one_number_is_slashed_too() -> None:
    ledger = Ledger(*SEVEN)
    assert ledger.do("ann", fork(ledger, "bob")) == "ok"
    assert validator(ledger, "bob").bond < BOND
    assert validator(ledger, "bob").jailed_until > 1


def test_one_checkpoint_in_two_logs_is_a_fork() -> None:
    ledger = Ledger(*SEVEN)
    author = place_of(ledger, "bob")
    key, made = key_of_member(ledger, author), checkpoint(ledger)
    logs = [signed(ledger, key, made, [leaf]) for leaf in (b"x", b"y")]
    assert ledger.do("ann", CheckpointFork(author, logs[0], logs[0])) == "no-offence"
    assert ledger.do("ann", CheckpointFork(author, *logs)) == "ok"


def perjury(ledger: Ledger, *said: tuple[int, int], name: str = "bob") -> CheckpointContradiction:
    """Two blocks of two rounds; each signs the checkpoint of this number and name."""
    headers = []
    for number, (sequence, named) in enumerate(said):
        one = CheckpointSignature(sequence, Digest(bytes([named]) * 32), bytes(64))
        changes = {"round": Round(8 + number), "checkpoint_signatures": (one,)}
        headers.append(block(ledger, name, number, **changes))
    return contradiction_of(*headers)


def test_two_headers_that_sign_a_number_differently_are_a_fork_without_the_logs() -> None:
    ledger = Ledger(*SEVEN)
    shown = perjury(ledger, (5, 1), (5, 2))
    assert ledger.do("ann", shown) == "ok"
    assert validator(ledger, "bob").bond < BOND
    assert ledger.do("cat", shown) == "already-shown"
    assert ledger.do("cat", fork(ledger, "bob")) == "already-shown"


@pytest.mark.parametrize("said", [[(5, 1), (6, 2)], [(5, 1), (5, 1)]])
def test_headers_that_sign_other_numbers_or_the_same_show_nothing(
    said: list[tuple[int, int]],
) -> None:
    ledger = Ledger(*SEVEN)
    assert ledger.do("ann", perjury(ledger, *said)) == "no-offence"


def test_nobody_is_framed_by_the_header_of_another_or_by_one_it_did_not_sign() -> None:
    ledger = Ledger(*SEVEN)
    shown, others = perjury(ledger, (5, 1), (5, 2)), perjury(ledger, (5, 1), (5, 2), name="cat")
    unsigned = SignedHeader(shown.second.header, bytes(64))
    for mixed in (others.second, unsigned):
        assert ledger.do("ann", CheckpointContradiction(shown.first, mixed)) == "no-offence"


def test_stake_and_free_tokens_of_the_offender_stay_as_they_are() -> None:
    ledger = Ledger(*SEVEN)
    before = ledger.account("bob").worth
    assert ledger.do("ann", twins(ledger, "bob")) == "ok"
    assert ledger.account("bob").worth == before


def test_each_offence_costs_once_whoever_shows_it() -> None:
    ledger = Ledger(*SEVEN)
    assert ledger.do("ann", twins(ledger, "bob")) == "ok"
    left = validator(ledger, "bob").bond
    other = evidence_of(block(ledger, "bob", 3, round=9), block(ledger, "bob", 4, round=9))
    assert ledger.do("cat", twins(ledger, "bob")) == "already-shown"
    assert ledger.do("cat", other) == "already-shown"
    assert validator(ledger, "bob").bond == left
    assert ledger.do("cat", fork(ledger, "bob")) == "ok"
    assert validator(ledger, "bob").bond < left


def test_the_more_weight_is_at_fault_the_more_each_pays() -> None:
    ledger = Ledger(*SEVEN)
    lost = []
    for name in ("bob", "cat", "dan"):
        assert ledger.do("ann", twins(ledger, name)) == "ok"
        lost.append(BOND - validator(ledger, name).bond)
    assert lost[0] < lost[1] < lost[2]
    assert lost[2] == BOND


def test_a_single_fault_costs_the_least_share_of_a_large_committee() -> None:
    params = msgspec.structs.replace(DEVELOPMENT, slash_min_ppm=600_000)
    ledger = Ledger(*SEVEN, params=params)
    assert ledger.do("ann", twins(ledger, "bob")) == "ok"
    assert validator(ledger, "bob").bond == BOND - BOND * 6 // 10


def test_who_reports_itself_gets_nothing_back() -> None:
    ledger = Ledger(*SEVEN)
    before = ledger.account("bob").free
    assert ledger.do("bob", twins(ledger, "bob")) == "ok"
    assert ledger.account("bob").free == before
    assert supply(ledger.state) == MAX_SUPPLY


def test_the_jailed_leave_the_committee_and_return_when_their_time_is_over() -> None:
    ledger = Ledger(*SEVEN)
    assert ledger.do("bob", BondValidator(BOND)) == "ok"
    assert ledger.do("ann", twins(ledger, "bob")) == "ok"
    six = [name for name in SEVEN if name != "bob"]
    for _ in range(DEVELOPMENT.jail_epochs):
        assert run_epoch(ledger, SEVEN, ready=("bob",)) == six
    assert run_epoch(ledger, SEVEN, ready=("bob",)) == SEVEN


def test_evidence_holds_as_long_as_the_bond_answers_and_no_longer() -> None:
    ledger = Ledger(*SEVEN)
    early = twins(ledger, "bob")
    other = fork(ledger, "bob")
    for _ in range(DEVELOPMENT.unbonding_epochs):
        close_epoch(ledger)
    assert ledger.do("ann", early) == "ok"
    close_epoch(ledger)
    assert ledger.do("ann", other) == "not-in-time"
    ahead = evidence_of(block(ledger, "bob", 1, epoch=9), block(ledger, "bob", 2, epoch=9))
    assert ledger.do("ann", ahead) == "not-in-time"


def test_offences_of_before_unbonding_time_do_not_raise_the_price() -> None:
    ledger = Ledger(*SEVEN)
    assert ledger.do("ann", twins(ledger, "bob")) == "ok"
    for _ in range(DEVELOPMENT.unbonding_epochs + 1):
        close_epoch(ledger)
    assert ledger.do("ann", twins(ledger, "cat")) == "ok"
    lost = BOND - validator(ledger, "cat").bond
    assert lost == -(-BOND * 3 * (MILLION // 7) // MILLION)


def test_the_consensus_key_of_the_epoch_convicts_and_the_account_key_does_not() -> None:
    ledger = Ledger(*FOUR, "eve")
    assert ledger.do("bob", registering(ledger, "bob")) == "ok"
    by_account = twins(ledger, "bob")
    people = [*FOUR, "eve"]
    assert run_epoch(ledger, people) == people
    assert key_of_member(ledger, place_of(ledger, "bob")).node_id == signer("bob").node_id
    assert ledger.do("ann", twins(ledger, "bob")) == "ok"
    assert ledger.do("ann", by_account) == "ok"
    forged = [block(ledger, "cat", number) for number in (1, 2)]
    key, chain = ledger.keys["bob"], ledger.executor.chain
    author = place_of(ledger, "bob")
    headers = [msgspec.structs.replace(one.header, author=author) for one in forged]
    lies = [sign_block(key, chain, header, ()).block for header in headers]
    assert ledger.do("ann", evidence_of(*lies)) == "no-offence"


def equivocations(ledger: Ledger) -> dict[str, Operation]:
    """What looks like an equivocation and is none."""
    one, two = block(ledger, "bob", 1), block(ledger, "bob", 2)
    longer = msgspec.structs.replace(DEVELOPMENT, epoch_ms=DEVELOPMENT.epoch_ms + 1)
    elsewhere = Ledger(*FOUR, params=longer)
    good = evidence_of(one, two)
    unsigned = msgspec.structs.replace(good.second, signature=bytes(64))
    padded = msgspec.structs.replace(good.second, header=good.second.header + b"\0")
    return {
        "one block twice": evidence_of(one, one),
        "two rounds": evidence_of(one, block(ledger, "bob", 2, round=9)),
        "two authors": evidence_of(one, block(ledger, "cat", 2)),
        "no member": evidence_of(
            block(ledger, "bob", 1, author=7), block(ledger, "bob", 2, author=7)
        ),
        "a negative author": evidence_of(
            block(ledger, "bob", 1, author=-1), block(ledger, "bob", 2, author=-1)
        ),
        "another network": evidence_of(block(elsewhere, "bob", 1), block(elsewhere, "bob", 2)),
        "a forged signature": Equivocation(good.first, unsigned),
        "no header": Equivocation(good.first, SignedHeader(b"\x90", bytes(64))),
        "not canonical": Equivocation(good.first, padded),
    }


def forks(ledger: Ledger) -> dict[str, Operation]:
    """What looks like a fork and is none."""
    author = place_of(ledger, "bob")
    key, good = key_of_member(ledger, author), fork(ledger, "bob")
    later = signed(ledger, key, checkpoint(ledger, 4))
    by_other = signed(ledger, ledger.keys["cat"], checkpoint(ledger, height=50))
    astray = msgspec.structs.replace(good.second, path=(*good.second.path, NO_DIGEST))
    short = msgspec.structs.replace(good.second, path=(Digest(b"x"), *good.second.path[1:]))
    return {
        "two numbers": CheckpointFork(author, good.first, later),
        "another's signature": CheckpointFork(author, good.first, by_other),
        "another's name": msgspec.structs.replace(good, author=place_of(ledger, "cat")),
        "no member": msgspec.structs.replace(good, author=99),
        "a path that leads nowhere": CheckpointFork(author, good.first, astray),
        "a path of no digests": CheckpointFork(author, good.first, short),
        "no size": CheckpointFork(
            author, good.first, msgspec.structs.replace(good.second, size=-1)
        ),
    }


NOTHING = Ledger(*FOUR)


@pytest.mark.parametrize("what", [*equivocations(NOTHING), *forks(NOTHING)])
def test_evidence_that_shows_nothing_changes_nothing(what: str) -> None:
    ledger = Ledger(*FOUR)
    shown = {**equivocations(ledger), **forks(ledger)}[what]
    assert ledger.do("ann", shown) == "no-offence"
    assert validator(ledger, "bob") == Ledger(*FOUR).state.validators[ledger.id("bob")]
    assert validator(ledger, "cat").bond == BOND


def test_evidence_in_a_transaction_that_fails_is_taken_back() -> None:
    ledger = Ledger(*FOUR)
    before = validator(ledger, "bob").bond
    too_much = Transfer(ledger.id("ann"), MicroTokens(10**15), b"")
    together = sign(ledger.keys["ann"], ledger.executor.chain, 1, (twins(ledger, "bob"), too_much))
    [receipt] = ledger.commit(encode(together)).receipts
    assert receipt.detail == "not-enough-free operation=2"
    assert validator(ledger, "bob").bond == before
    assert not validator(ledger, "bob").offences
    while ledger.state.height % 10:
        ledger.commit()
    assert ledger.applied[-1].state_root == root_of(ledger.state)


def test_the_largest_blocks_of_the_largest_committee_fit_into_a_transaction() -> None:
    ledger = Ledger(*FOUR)
    round_ = Round(2**32 - 1)
    ancestors = tuple(
        Reference(Round(round_ - 1), author, Digest(bytes([author]) * 32)) for author in range(31)
    )
    signatures = tuple(
        CheckpointSignature(2**32 - 4 + place, NO_DIGEST, bytes(64)) for place in range(4)
    )
    largest = {
        "round": round_,
        "ancestors": ancestors,
        "payload_bytes": 512 * 1024,
        "transactions": 2_000,
        "checkpoint_signatures": signatures,
    }
    two = [block(ledger, "bob", 2**41 + number, **largest) for number in (1, 2)]
    data = ledger.signed("ann", evidence_of(*two))
    assert 3_800 < len(data) <= TRANSACTION_BYTES_MAX - 100
    [receipt] = ledger.commit(data).receipts
    assert receipt.detail == "ok"


def test_a_fork_in_a_log_of_a_trillion_leaves_fits_into_a_transaction() -> None:
    ledger = Ledger(*FOUR)
    proof = fork(ledger, "bob").first
    deep = msgspec.structs.replace(proof, size=2**40, path=(NO_DIGEST,) * 40)
    assert len(ledger.signed("ann", CheckpointFork(1, deep, deep))) <= TRANSACTION_BYTES_MAX


def test_whichever_block_was_seen_first_the_evidence_is_the_same() -> None:
    ledger = Ledger(*FOUR)
    one, two = block(ledger, "bob", 1), block(ledger, "bob", 2)
    assert evidence_of(one, two) == evidence_of(two, one)


def test_a_block_that_nobody_could_apply_costs_its_author_the_fees_of_the_epoch() -> None:
    params = msgspec.structs.replace(DEVELOPMENT, fee_base=MicroTokens(1_000))
    ledger = Ledger(*SEVEN, params=params)
    good = ledger.signed("eve", BondValidator(MicroTokens(1)))
    stale = ledger.signed("eve", BondValidator(MicroTokens(1)))
    ledger.commit(stale)
    ann, bob = place_of(ledger, "ann"), place_of(ledger, "bob")
    blocks = [
        OrderedBlock(ann, Round(1), 2, ()),
        OrderedBlock(bob, Round(1), 3, ()),
        OrderedBlock(ann, Round(2), 0, ()),
    ]
    ledger.commit(good, stale, b"junk", good, b"more junk", blocks=blocks)
    faults = [one.faults for one in ledger.state.term.seated]
    assert faults == [int(author == bob) for author in range(7)]
    before = {name: ledger.account(name).free for name in SEVEN}
    run_epoch(ledger, SEVEN)
    gained = {name: ledger.account(name).free - before[name] for name in SEVEN}
    assert gained == {name: 0 if name == "bob" else 1_000 // 7 for name in SEVEN}
    assert validator(ledger, "bob").faults == 1
    assert validator(ledger, "bob").bond == BOND


def test_everybody_judges_alike() -> None:
    ledger = Ledger(*SEVEN)
    welcome(ledger, "ann", "hal")
    become_validator(ledger, "hal")
    for name in ("bob", "cat"):
        ledger.do("hal", twins(ledger, name))
    ledger.commit(b"junk", blocks=[OrderedBlock(3, Round(1), 1, ())])
    close_epoch(ledger)
    other = Executor(ledger.genesis)
    assert [other.apply(commit) for commit in ledger.commits] == ledger.applied
    assert other.state == ledger.state
    assert ledger.applied[-1].state_root == root_of(ledger.state)

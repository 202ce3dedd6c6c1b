"""Validators in the hand: who bonds, registers and is ready; commits that a committee signs."""

from collections.abc import Collection

import msgspec

from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.units import MicroTokens
from dpin.ledger.beacon import OwnChain
from dpin.ledger.blocks import Block, Header, sign_block
from dpin.ledger.candidacy import (
    BondValidator,
    ReadyValidator,
    RegisterValidator,
    register_validator,
)
from dpin.ledger.checkpoint import CheckpointSignature, note_text
from dpin.ledger.evidence import evidence_of
from dpin.ledger.offences import Equivocation
from dpin.ledger.order import OrderedBlock
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import Transfer
from tests.support.ledgers import CHAIN, Ledger, chain_table

BOND = DEVELOPMENT.validator_bond_min


def signer(name: str) -> SigningKey:
    """Somebody's consensus key, which is not the key of the account."""
    return SigningKey(digest("test/signer", name.encode()))


def anchor(ledger: Ledger, name: str) -> Digest:
    """Where somebody's chain of reveals begins."""
    return CHAIN.anchor(chain_table(ledger.id(name)))


def registering(ledger: Ledger, name: str, start: int = 0) -> RegisterValidator:
    """A registration with a key of its own and a chain from round `start` on."""
    key, begins = signer(name), anchor(ledger, name)
    return register_validator(key, ledger.executor.chain, ledger.id(name), begins, Round(start))


def become_validator(ledger: Ledger, name: str, bond: int = BOND, start: int = 0) -> None:
    """Bond so much and register."""
    done = ledger.do(name, BondValidator(MicroTokens(bond)), registering(ledger, name, start))
    assert done == "ok"


def welcome(ledger: Ledger, giver: str, *names: str, grant: int = 10 * BOND) -> None:
    """These are no founders: each has a key and what the giver grants."""
    for name in names:
        key = SigningKey(digest("test/key", name.encode()))
        ledger.keys[name], ledger._sequences[name] = key, 0
        ledger.reveals[key.node_id] = OwnChain(CHAIN, chain_table(key.node_id))
        assert ledger.do(giver, Transfer(key.node_id, MicroTokens(grant), b"")) == "ok"


def close_epoch(ledger: Ledger) -> None:
    """Let time pass up to the end of the epoch; nobody signs anything."""
    number = ledger.state.epoch
    while ledger.state.epoch == number:
        ledger.commit(after_ms=ledger.genesis.params.epoch_ms // 25)


def near_the_end(ledger: Ledger) -> None:
    """Let time pass up to the last tenth of the epoch."""
    params, term = ledger.genesis.params, ledger.state.term
    while ledger.state.time < term.opened_ms + params.epoch_ms * 9 // 10:
        ledger.commit(after_ms=1_000)


def key_of_member(ledger: Ledger, author: int) -> SigningKey:
    """The consensus key that a member of the present committee signs with."""
    member = ledger.state.term.committee.members[author]
    name = ledger.name(member.node)
    own = ledger.keys[name]
    return own if own.node_id == member.signer else signer(name)


def signatures(ledger: Ledger, author: int) -> list[CheckpointSignature]:
    """By one member, over every checkpoint of the epoch that it has not signed yet."""
    key, chain = key_of_member(ledger, author), ledger.executor.chain
    return [
        CheckpointSignature(
            one.sequence,
            one.checkpoint,
            key.sign_note(note_text(chain, one.size, one.root)),
        )
        for one in ledger.state.term.noted
        if not one.cosigners >> author & 1
    ]


def signed_blocks(ledger: Ledger, signing: Collection[str]) -> list[OrderedBlock]:
    """A block of each of these members that signs what there is to sign."""
    return [
        OrderedBlock(author, Round(ledger.round + 1), 0, signatures(ledger, author))
        for author, member in enumerate(ledger.state.term.committee.members)
        if ledger.name(member.node) in signing
    ]


def run_epoch(ledger: Ledger, signing: Collection[str], ready: Collection[str] = ()) -> list[str]:
    """Live through the present epoch; returns who is seated in the next one, by name."""
    term = ledger.state.term
    due = term.opened_ms + ledger.genesis.params.epoch_ms * 9 // 10
    said = False
    while ledger.state.epoch == term.number:
        transactions: list[bytes] = []
        if ledger.state.time >= due and not said:
            said = True
            operation = ReadyValidator(term.number + 1)
            transactions = [ledger.signed(name, operation) for name in ready]
        ledger.commit(*transactions, after_ms=1_500, blocks=signed_blocks(ledger, signing))
    return seated(ledger)


def seated(ledger: Ledger) -> list[str]:
    """The names of the present members."""
    return sorted(ledger.name(member.node) for member in ledger.state.term.committee.members)


def weights(ledger: Ledger) -> dict[str, int]:
    """What the present members weigh."""
    members = ledger.state.term.committee.members
    return {ledger.name(member.node): member.weight for member in members}


def place_of(ledger: Ledger, name: str, epoch: int | None = None) -> int:
    """The author index of somebody."""
    record = ledger.state.committees[ledger.state.epoch if epoch is None else epoch]
    return [member.node for member in record.members].index(ledger.id(name))


def block(ledger: Ledger, name: str, number: int, **changes: object) -> Block:
    """A block by a member of the present committee; no two numbers give the same."""
    author = place_of(ledger, name)
    header = Header(
        version=1,
        epoch=ledger.state.epoch,
        round=Round(8),
        author=author,
        timestamp_ms=number,
        ancestors=(),
        payload_root=NO_DIGEST,
        payload_bytes=0,
        transactions=0,
        own_gap=1,
        reveal=NO_DIGEST,
        checkpoint_signatures=(),
        evidence=(),
    )
    header = msgspec.structs.replace(header, **changes)
    key = key_of_member(ledger, author)
    return sign_block(key, ledger.executor.chain, header, ()).block


def twins(ledger: Ledger, name: str) -> Equivocation:
    """Two blocks of one round."""
    return evidence_of(block(ledger, name, 1), block(ledger, name, 2))

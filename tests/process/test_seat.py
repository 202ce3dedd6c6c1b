"""Real processes: a node comes from outside, gets a seat, signs, and leaves with its bond."""

import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import msgspec
import pytest

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import NodeId
from dpin.cli.archives import source_of
from dpin.cli.audits import compare
from dpin.cli.comparing import ask_node
from dpin.cli.exits import ExitCode
from dpin.cli.process import spawn, wait_until_up
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.ledger.annals import OWN
from dpin.ledger.blocks import Vertex
from dpin.ledger.genesis import read
from dpin.light.facts import note_text, verifier_of
from dpin.light.files import read_proof, write_proof
from dpin.light.notes import Note, Signature
from dpin.light.proofs import SignedCheckpoint
from dpin.node.control import ProofRequest
from dpin.node.home import Home, locate, read_key, read_signers
from dpin.node.proofviews import ComparisonView
from dpin.node.status import ValidatorView
from scripts.demo_network import DemoNode, accept, dpin, invite_to, join, make_nodes, wait_for
from tests.support.network import (
    PATIENCE_SECONDS,
    archived,
    assert_conserved,
    assert_signed_once,
    pay,
    run,
    stopped,
    told,
    with_short_chains,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

EPOCH_MS: Final = 4_000
IDLE_MS: Final = 150
THIEF: Final = Path(__file__).parents[1] / "support" / "thief.py"
FOUNDERS: Final = ("kim", "lea", "max", "nia")


def hurry(first: DemoNode) -> None:
    """Epochs of seconds, and a bond that is free soon: the command line knows presets alone."""
    genesis = read(first.home.genesis.read_bytes())
    consensus = msgspec.structs.replace(genesis.params.consensus, idle_round_ms=IDLE_MS)
    rules = msgspec.structs.replace(
        genesis.params,
        consensus=consensus,
        epoch_ms=EPOCH_MS,
        epoch_commits_min=8,
        unbonding_epochs=3,  # So long the busiest machine has time to show evidence.
    )
    first.home.genesis.write_bytes(encode(msgspec.structs.replace(genesis, params=rules)))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[DemoNode]]:
    """Four founders, and one who comes with some tokens and no seat."""
    folder: Path = tmp_path_factory.mktemp("seat")
    with_short_chains(folder, (*FOUNDERS, "oda"))
    nodes = make_nodes(folder, [(name, "1", False) for name in (*FOUNDERS, "oda")])
    first, *others, newcomer = nodes
    newcomer.environment["DPIN_JOBS__STAKE"] = "0"  # Nothing is set aside for jobs.
    for node in nodes:
        node.environment["DPIN_LEDGER__ARCHIVE"] = "true"  # So that all blocks can be looked at.
    try:
        cards = [word for node in others for word in ("--validator", node.card)]
        dpin("net", "create", "seat", "--home", first.folder, *cards)
        hurry(first)
        first.start()
        invite = invite_to(first)
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(join, invite=invite), others))
        join(newcomer, invite)
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def validator(viewer: DemoNode, node: DemoNode) -> ValidatorView | None:
    """What one node's ledger says of another as a validator."""
    with Client(viewer.home) as client:
        validators = client.validators().validators
    return next((one for one in validators if one.node_id == node.node_id), None)


def wait_until(
    what: str, viewer: DemoNode, node: DemoNode, holds: Callable[[ValidatorView], bool]
) -> ValidatorView:
    def look() -> ValidatorView | None:
        one = validator(viewer, node)
        return one if one is not None and holds(one) else None

    found: ValidatorView = wait_for(f"{node.name} {what}", PATIENCE_SECONDS, look)
    return found


def free(node: DemoNode) -> int:
    """What a node could pay now."""
    view = node.look()
    assert view is not None
    return view.money.free


def test_a_node_registers_gets_a_seat_signs_retires_and_has_its_bond_back(
    town: Sequence[DemoNode],
) -> None:
    kim, oda = town[0], town[-1]
    pay(kim, oda, "300")
    before: int = wait_for("oda has tokens", PATIENCE_SECONDS, lambda: free(oda) or None)
    assert validator(kim, oda) is None
    told(oda, "validator", "register", "--bond", "150")
    assert free(oda) == before - 150_000_000
    seated = wait_until("has a seat", kim, oda, lambda one: one.weight > 0)
    assert seated.bond == 150_000_000
    wait_until("signs", kim, oda, lambda one: one.cosigned > 0)
    view = oda.look()
    assert view is not None
    assert view.ledger.validator
    assert len(view.ledger.committee) == 5
    told(oda, "validator", "retire")
    wait_until("has no seat", kim, oda, lambda one: one.weight == 0 and not one.registered)
    assert free(oda) == before - 150_000_000
    freed = wait_until("is told when its bond is free", oda, oda, lambda one: one.free_from > 0)
    wait_for(
        "nothing can cost the bond any more",
        PATIENCE_SECONDS,
        partial(reached, oda, freed.free_from),
    )
    told(oda, "validator", "withdraw")
    assert free(oda) == before
    assert validator(oda, oda) is None
    for node in town:
        seen = node.look()
        assert seen is not None
        assert_conserved(seen)
    assert_signed_once(town)


def test_a_key_that_was_changed_by_command_signs_from_the_next_epoch_on_and_after_a_start(
    town: Sequence[DemoNode],
) -> None:
    """A lost log is played in the simulation: `rekey`."""
    kim, lea = town[:2]
    assert not lea.home.signers.exists()
    told(lea, "validator", "rotate-key")
    key = lea.home.signers.read_bytes()
    wait_for("an epoch begins", PATIENCE_SECONDS, partial(reached, kim, epoch(kim) + 1))
    wait_until("signs with it", kim, lea, lambda one: one.weight > 0 and one.cosigned > 0)
    lea.kill()
    lea.start()
    wait_for("an epoch begins", PATIENCE_SECONDS, partial(reached, kim, epoch(kim) + 1))
    wait_until("signs after a start", kim, lea, lambda one: one.weight > 0 and one.cosigned > 0)
    assert lea.home.signers.read_bytes() == key
    assert_signed_once(town)


def test_an_old_copy_of_a_home_signs_nothing_twice_and_comes_back_with_another_key(
    town: Sequence[DemoNode], tmp_path: Path
) -> None:
    """A back-up, or the snapshot of a machine, was taken while the node ran on (H10)."""
    kim, lea, idle, nia, _ = town
    wait_until("has a seat", kim, nia, lambda one: one.weight > 0)
    old, lost = locate(str(tmp_path / "old"), {}), locate(str(tmp_path / "lost"), {})
    wait_for("there is a copy", PATIENCE_SECONDS, partial(copied, nia, old))
    last = newest_own(old)
    wait_for("it signs on", PATIENCE_SECONDS, lambda: newest_own(nia.home) > last or None)
    with stopped(lea, idle):  # Without them there is no quorum: the epoch does not end meanwhile.
        nia.kill()
        nia.home.root.rename(lost.root)
        old.root.rename(nia.home.root)
        said = stops(nia)
        nia.start()
        wait_for("it falls silent", PATIENCE_SECONDS, lambda: stops(nia) > said or None)
    end = newest_own(lost)
    assert end > last
    wait_for("it signs again", PATIENCE_SECONDS, lambda: newest_own(nia.home)[0] > end[0] or None)
    assert nia.home.signers.exists()
    pay(nia, kim, "1")
    own = [place(one) for kind, one in archived(nia.home) if kind == OWN]
    assert all(at <= last or at[0] > end[0] for at in own)  # Nothing more in that epoch.
    assert signed_twice([*(node.home for node in town), lost]) == []


def test_a_validator_whose_keys_sign_in_two_processes_is_slashed_and_the_others_agree(
    town: Sequence[DemoNode], tmp_path: Path
) -> None:
    """Both sign the same rounds: whoever copied the home runs a node that asks nobody (H10)."""
    kim, lea, idle, nia, _ = town
    honest = [wait_until("has a seat", kim, node, lambda one: one.weight > 0) for node in town[:3]]
    seated = wait_until("has a seat", kim, nia, lambda one: one.weight > 0)
    with twin(nia, tmp_path, invite_to(kim)) as thief:
        slashed = wait_until("is slashed", kim, nia, lambda one: one.jailed_until > 0)
    assert slashed.bond <= seated.bond // 4  # Three times the weight that is at fault.
    pay(kim, lea, "1")
    for node in (kim, lea, idle, nia):
        seen = node.look()
        assert seen is not None
        assert_conserved(seen)
    kept = [validator(kim, node) for node in town[:3]]
    assert [one and (one.bond, one.jailed_until) for one in kept] == [
        (one.bond, 0) for one in honest
    ]
    authors = sorted(node.node_id for node in town[:4])
    twice = signed_twice([*(node.home for node in town[:4]), thief])
    assert {authors[at] for _, at, _ in twice} == {nia.node_id}
    assert_one_ledger((kim, lea, idle, nia))


def assert_one_ledger(nodes: Sequence[DemoNode]) -> None:
    """Of those that have it whole: whom a busy machine left epochs behind has joined by a state."""
    whole = [node.home.root for node in nodes if not joined_by_state(node)]
    for one, other in pairwise(whole):
        assert compare(source_of(one).run(), source_of(other).run()).height > 0


def joined_by_state(node: DemoNode) -> bool:
    """Whether it went on from a state at the end of an epoch, without the blocks before."""
    return '"joined": true' in (node.home.root / "node.log").read_text()


@contextmanager
def twin(victim: DemoNode, folder: Path, invite: str) -> Iterator[Home]:
    """A thief's node signs with the keys of somebody else meanwhile; its home."""
    stolen = locate(str(folder / "stolen"), {})
    with_short_chains(folder, ["thief"])
    (thief,) = make_nodes(folder, [("thief", "1", False)])
    accept(thief, invite)
    wait_for("there is a copy", PATIENCE_SECONDS, partial(copied, victim, stolen))
    process = spawn(thief.home, [sys.executable, str(THIEF), thief.folder, str(stolen.root)])
    try:
        wait_until_up(thief.home, process)
        yield thief.home
    finally:
        process.terminate()
        process.wait()


def test_a_signed_proof_of_another_ledger_is_refused_and_its_signers_are_slashed(
    town: Sequence[DemoNode], tmp_path: Path
) -> None:
    """Three keys of four sign what is not the ledger; the last test: nobody trusts it then."""
    kim, oda = town[0], town[-1]
    proof = tmp_path / "proof.json"
    seated = [wait_until("has a seat", kim, node, lambda one: one.weight > 0) for node in town[:4]]
    bonds, liars = {one.node_id: one.bond for one in seated}, town[:3]

    found: list[ComparisonView] = []

    def shown() -> bool:
        """Whether the node contradicts one more."""
        with suppress(ClientError):  # Perhaps too early.
            with Client(oda.home) as client:
                proof.write_text(forged(client.proof(ProofRequest()).proof, liars))
            # In parts: where the tests before took long, there are more epochs than one may ask of.
            found.append(ask_node(oda.folder, read_proof(proof.read_text())))
            return found[-1].verdict == "other"
        return False

    def refused() -> CompletedProcess[str] | None:
        done = run(oda, "verify", str(proof), "--node") if shown() else None
        return done if done is not None and done.returncode == ExitCode.NOT_VERIFIED else None

    def slashed() -> list[ValidatorView] | None:
        seen = [validator(kim, liar) for liar in liars]
        paid = [one for one in seen if one is not None and one.jailed_until > 0]
        if len(paid) >= 2:  # Two quorums of four share so many.
            return paid
        shown()
        return None

    wait_for("two epochs have ended", PATIENCE_SECONDS, partial(reached, oda, 2))
    done = wait_for("it is refused", PATIENCE_SECONDS, refused)
    assert "error[not-verified]: two signed ledgers: checkpoint" in done.stderr
    for one in wait_for("they are slashed", PATIENCE_SECONDS, slashed):
        assert one.bond <= bonds[one.node_id] // 4  # Three times the weight that is at fault.
        assert one.faults > 0
    assert any(len(one.signed_both) >= 2 for one in found)
    with Client(oda.home) as client:
        (forks,) = [one for one in client.checks() if one.name == "forks"]
        assert_conserved(client.node())
    assert forks.verdict == "warn"


def forged(written: str, liars: Sequence[DemoNode]) -> str:
    """The proof of the newest end of an epoch, as a node writes it, but of another state.

    What ended an epoch every node keeps, so that it does not matter how soon it is asked.
    """
    proof = read_proof(written)
    *before, last = proof.crossings
    checkpoint = replace(last.closing.checkpoint, state_root=bytes(32))
    text = note_text(proof.chain, 1, checkpoint.leaf)
    seeds = {node.name: read_key(node.home) for node in liars}
    further = [seed for node in liars for seed in read_signers(node.home, seeds[node.name])]
    holders = {key.node_id: key for key in map(SigningKey, [*seeds.values(), *further])}
    lines = []
    for member in before[-1].committee.members:
        if member.signer in holders:
            name = verifier_of(proof.chain, member)
            signature = holders[NodeId(member.signer)].sign_note(text)
            lines.append(Signature(name.name, name.key_id, signature))
    wrong = SignedCheckpoint(checkpoint, (), Note(text, tuple(lines)))
    return write_proof(replace(proof, crossings=tuple(before), certificate=wrong))


def copied(node: DemoNode, target: Home) -> bool | None:
    """Files come and go while a node runs: a back-up of some moments fails."""
    try:
        shutil.copytree(node.home.root, target.root)
    except (OSError, shutil.Error):
        shutil.rmtree(target.root, ignore_errors=True)
        return None
    return True


def signed_twice(homes: Sequence[Home]) -> list[tuple[int, int, int]]:
    """Epoch, author and round wherever these logs, taken together, have more than one block."""
    blocks: dict[tuple[int, int, int], set[bytes]] = defaultdict(set)
    for home in homes:
        for _, one in archived(home):
            blocks[one.block.header.epoch, one.author, one.round].add(one.digest)
    return [at for at, digests in blocks.items() if len(digests) > 1]


def place(vertex: Vertex) -> tuple[int, int]:
    """Epoch and round of a block."""
    return vertex.block.header.epoch, vertex.round


def newest_own(home: Home) -> tuple[int, int]:
    """Of the blocks that the node of this home has signed."""
    return max(place(one) for kind, one in archived(home) if kind == OWN)


def stops(node: DemoNode) -> int:
    """How often it has said that it signs no more."""
    return (node.home.root / "node.log").read_text().count("signing-stopped")


def epoch(node: DemoNode) -> int:
    with Client(node.home) as client:
        return client.validators().epoch


def reached(node: DemoNode, number: int) -> bool | None:
    return epoch(node) >= number or None

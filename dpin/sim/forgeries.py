"""A false checkpoint with a quorum's signatures: who sees it beside the right one shows who signed.

Three of four keys sign it, out of sight; their nodes do nothing else that is wrong. Somebody who
was led astray by it tells a node that knows better, or its owner.
"""

from dataclasses import replace as replace_fields
from typing import Final

from msgspec.structs import replace
from typing_extensions import override

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import NO_DIGEST, Digest, NodeId, short
from dpin.base.machine import Received
from dpin.base.merkle import leaf_hash
from dpin.base.units import after, seconds
from dpin.ledger.certificates import AuthorSignature, Certificate, sign_checkpoint
from dpin.ledger.committee import first_record
from dpin.ledger.forks import Verdict
from dpin.ledger.messages import CertificateMessage
from dpin.ledger.offences import Crime
from dpin.ledger.prover import certificate_fact, committee_fact
from dpin.light.files import read_proof, write_proof
from dpin.light.proofs import signed
from dpin.net.envelope import Service, wrap
from dpin.node.comparing import compare
from dpin.node.control import CompareRequest, ProofRequest
from dpin.node.proving import proof_view
from dpin.sim.ledgers import Owner, secret
from dpin.sim.peers import peer_node
from dpin.sim.stage import MEMBERS, Report, since
from dpin.sim.timeline import dice
from dpin.sim.wholes import Wholes, idle

EPOCH_MS: Final = 8_000
SHOWN: Final = since(5)
PATIENCE: Final = seconds(30)
SETTLED: Final = seconds(2)
FORGERS: Final = 3


class Forgery(Wholes):
    """Whole nodes, three of whose keys have signed one more checkpoint."""

    def __init__(self, seed: int, name: str = "slash-fork") -> None:
        super().__init__(name, seed, EPOCH_MS)
        chance = dice(seed, "forgers")
        self.forgers = sorted(chance.chosen(range(MEMBERS), FORGERS))
        [self.shown_to] = [at for at in range(MEMBERS) if at not in self.forgers]

    def forged(self) -> Certificate:
        """Of the newest checkpoint's number, and of another state."""
        right = self.machine(self.nodes[self.shown_to]).peer.replica.engine.certificate
        assert right is not None, "some checkpoint was signed by now"
        checkpoint = replace(right.checkpoint, state_root=NO_DIGEST)
        root = Digest(leaf_hash(encode(checkpoint)))
        chain, keys = self.founding.chain, self.founding.keys
        signatures = tuple(
            AuthorSignature(at, sign_checkpoint(keys[at], chain, 1, root)) for at in self.forgers
        )
        return Certificate(checkpoint, 1, root, (), signatures)

    def convicted(self) -> list[NodeId]:
        """Whom every node knows to have signed two checkpoints."""
        return [
            node
            for node in self.nodes
            if all(
                Crime.FORK in {one.crime for one in self.validators(each)[node].offences}
                for each in self.nodes
            )
        ]

    def show(self) -> None:
        """Show it to the one whose key did not sign."""
        message = wrap(
            self.founding.chain, Service.LEDGER, encode(CertificateMessage(self.forged()))
        )
        teller = self.nodes[self.forgers[0]]
        self.world.inject(self.nodes[self.shown_to], Received(teller, message), SHOWN)

    def play(self) -> Report:
        """Show it, and wait until all three are slashed."""
        self.world.run(SHOWN)
        self.show()
        now, end = SHOWN, after(SHOWN, PATIENCE)
        guilty = [self.nodes[at] for at in self.forgers]
        while now < end and not self.world.trace.problems and self.convicted() != guilty:
            now = after(now, seconds(0.5))
            self.world.run(now)
        self.world.run(after(now, SETTLED))
        problems = list(self.world.trace.problems)
        if self.convicted() != guilty:
            problems.append(f"slashed are {[short(node) for node in self.convicted()]}")
        if [node for node in self.slashed() if node not in guilty]:
            problems.append("somebody was slashed for nothing")
        return self.report(problems, {"slashed": len(self.slashed())})


class Told(Forgery):
    """The same, but a stranger shows a proof to the owner of a node that has no seat.

    It cannot accuse: it holds the proof against its own ledger, and shows the others what it finds.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed, "slash-told")
        key = SigningKey(secret("slash-told", seed, "follower"))
        self.follower = key.node_id
        choice = idle("follower")
        self.world.add(key.node_id, peer_node(self.founding, Owner(key, None), choice, self.depot))

    @override
    def show(self) -> None:
        """As `dpin verify --node` does; from then on, whatever the verdict, nothing is told."""
        peer = self.machine(self.follower).peer
        record = first_record(self.founding.genesis, self.founding.chain)
        shown = signed(self.founding.chain, certificate_fact(self.forged()), committee_fact(record))
        right = read_proof(proof_view(peer, ProofRequest(), SHOWN).proof)
        text = write_proof(replace_fields(right, certificate=shown))
        compared = compare(peer, CompareRequest(proof=text))
        self.verdict = compared.view.verdict
        for received in compared.heard:
            self.world.inject(self.follower, received, SHOWN)

    @override
    def play(self) -> Report:
        """See Forgery; the owner must be told as well."""
        report = super().play()
        if self.verdict != Verdict.OTHER:
            report.problems.append(f"its owner was told: {self.verdict}")
        return report


def forgery(seed: int) -> Report:
    """Three of four sign a false checkpoint; all three lose their bonds."""
    return Forgery(seed).play()


def told(seed: int) -> Report:
    """A follower is shown a proof that leads to it; all three lose their bonds."""
    return Told(seed).play()


FORGERIES: Final = {"slash-fork": forgery, "slash-told": told}

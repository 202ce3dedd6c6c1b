"""Somebody else's proof against what this node knows: one ledger, or two that were signed?

A proof convinces whoever trusts the founders. If more than a third of an epoch's weight lied there
may be two such proofs that contradict each other, and who looks at one alone is none the wiser.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import decode, encode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import Digest
from dpin.base.machine import Received
from dpin.ledger.certificates import AuthorSignature, Certificate
from dpin.ledger.checkpoint import Checkpoint, CommitteeRecord
from dpin.ledger.committee import first_record
from dpin.ledger.forks import Finding, Verdict
from dpin.ledger.messages import CertificateMessage
from dpin.ledger.prover import committee_fact
from dpin.light import facts
from dpin.light.facts import NotProven
from dpin.light.fields import BadFile
from dpin.light.files import read_proof
from dpin.light.notes import BadNote, read_head
from dpin.light.pack import pack
from dpin.light.proofs import Proof, SignedCheckpoint
from dpin.net.envelope import Service, wrap
from dpin.node.control import CompareRequest
from dpin.node.peer import Peer
from dpin.node.proofviews import CheckpointView, ComparisonView
from dpin.node.status import Check

CROSSINGS_MAX: Final = 64  # of one request: each may cost the check of a quorum's signatures
HEARD_MAX: Final = 4  # certificates of one request that the node takes in
NAMED_MAX: Final = 3
SHORT: Final = 8


@dataclass(frozen=True, slots=True)
class Compared:
    """What is said of a proof, and what of it the node has to take in: none of that is old news."""

    view: ComparisonView
    heard: list[Received]


@dataclass(frozen=True, slots=True)
class _Judged:
    """One certificate of a proof; None is one of an epoch that this node knows nothing of."""

    shown: CheckpointView
    certificate: Certificate | None
    finding: Finding


def compare(peer: Peer, request: CompareRequest) -> Compared:
    """Hold all certificates of a proof against this node's, oldest first, up to one that differs.

    Raises Misuse for what is no proof, or one of another network.
    """
    proof = _read(peer, request.proof)
    judged: list[_Judged] = []
    for signed in [*(one.closing for one in proof.crossings), proof.certificate]:
        judged.append(_judged(peer, signed))
        if judged[-1].finding.verdict in {Verdict.OTHER, Verdict.UNSIGNED}:
            break
    last = judged[-1]
    found = last.finding
    news = [
        _heard(peer, one.certificate)
        for one in judged
        if one.certificate and one.finding.verdict in {Verdict.OTHER, Verdict.UNKNOWN}
    ]
    view = ComparisonView(
        verdict=found.verdict.value,
        compared=len(judged),
        known=sum(one.finding.verdict == Verdict.SAME for one in judged),
        checkpoint=last.shown,
        own=None if found.known is None else _view(found.known),
        signed_both=_names(peer, last.shown.epoch, found.both),
    )
    return Compared(view, news[-HEARD_MAX:])


def fork_checks(peer: Peer) -> list[Check]:
    """A warning where this node has met two signed checkpoints that contradict each other."""
    caught = sorted(peer.replica.disputes.forks.caught)
    if not caught:
        return []
    named = [name[:SHORT] for epoch, author in caught for name in _names(peer, epoch, [author])]
    whom = " ".join(sorted(set(named))[:NAMED_MAX])
    return [
        Check(
            name="forks",
            verdict="warn",
            detail=f"{len(caught)} times a validator signed two checkpoints of one number: {whom}",
            fix="compare your newest checkpoint with people you know: dpin ledger checkpoint",
        )
    ]


def _read(peer: Peer, text: str) -> Proof:
    try:
        proof = read_proof(text)
    except (BadFile, BadNote, NotProven) as problem:
        raise _no_proof(problem) from None
    if proof.chain != peer.chain:
        raise Misuse(
            f"the proof is of the network {proof.chain.hex()}, this node of {peer.chain.hex()}",
            fix="ask a node of that network",
        )
    if len(proof.crossings) > CROSSINGS_MAX:
        raise Misuse(f"one request has at most {CROSSINGS_MAX} ends of epochs", fix="ask in parts")
    return proof


def _no_proof(problem: Exception) -> Misuse:
    return Misuse(f"this is no proof: {problem}", fix="dpin ledger prove writes one")


def _judged(peer: Peer, signed: SignedCheckpoint) -> _Judged:
    """A certificate, under the committee of its epoch, if this node knows that."""
    checkpoint, record = signed.checkpoint, _record(peer, signed.checkpoint.epoch)
    try:
        head = read_head(signed.note.text)
        view = CheckpointView(
            epoch=checkpoint.epoch,
            sequence=checkpoint.sequence,
            log_size=head.size,
            log_root=head.root.hex(),
        )
        if record is None:
            return _Judged(view, None, Finding(Verdict.UNKNOWN))
        certificate = _certificate(signed.under(peer.chain, committee_fact(record)))
    except (BadNote, NotProven, PeerFault) as problem:
        raise _no_proof(problem) from None
    log = peer.executor.receipts.tree
    return _Judged(view, certificate, peer.replica.disputes.forks.compare(certificate, log))


def _certificate(fact: facts.Certificate) -> Certificate:
    """In the words of a node; raises PeerFault."""
    return Certificate(
        decode(Checkpoint, pack(facts.fields(fact.checkpoint))),
        fact.size,
        Digest(fact.root),
        tuple(map(Digest, fact.path)),
        tuple(AuthorSignature(author, signature) for author, signature in fact.signatures),
    )


def _record(peer: Peer, epoch: int) -> CommitteeRecord | None:
    """Who validated an epoch, if this node has been through it or is in it."""
    if epoch == 0:
        return first_record(peer.genesis, peer.chain)
    before = peer.replica.engine.annals.closings.get(epoch - 1)
    return None if before is None else before.record


def _heard(peer: Peer, certificate: Certificate) -> Received:
    """As if a peer had shown it: it is kept, compared with what comes, told, and accused of."""
    message = encode(CertificateMessage(certificate))
    return Received(peer.key.node_id, wrap(peer.chain, Service.LEDGER, message))


def _names(peer: Peer, epoch: int, authors: Sequence[int]) -> list[str]:
    record = _record(peer, epoch)
    return [] if record is None else [record.members[author].node.hex() for author in authors]


def _view(certificate: Certificate) -> CheckpointView:
    checkpoint = certificate.checkpoint
    return CheckpointView(
        epoch=checkpoint.epoch,
        sequence=checkpoint.sequence,
        log_size=certificate.size,
        log_root=certificate.root.hex(),
    )

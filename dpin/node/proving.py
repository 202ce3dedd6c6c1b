"""What a node hands to strangers who want to check the ledger by themselves."""

from typing import Final

from dpin.base.errors import Misuse, TooEarly
from dpin.base.ids import read_id
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.ledger.book import Kind, Part
from dpin.ledger.committee import first_record
from dpin.ledger.prover import WAIT, History, Known, Prover
from dpin.light.files import write_proof, write_trust
from dpin.node.control import ProofRequest
from dpin.node.peer import Peer
from dpin.node.status import ProofView

SUBJECT: Final = "a transaction's or a unit's id"


def proof_view(peer: Peer, request: ProofRequest, now: Instant) -> ProofView:
    """A proof as a file, and the checkpoint that it leads to; raises as `Prover.proof` does."""
    subject = _digest(request.subject, SUBJECT) if request.subject else None
    part: Part | None = None
    if request.account:
        part = (Kind.ACCOUNT, _digest(request.account, "a node's id"), 0)
    prover = prover_of(peer, request.epoch)
    proof = prover.proof(Known(request.epoch, request.size), subject, part)
    trust = prover.trust(now // MICROS_PER_MILLI)
    return ProofView(
        epoch=trust.committee.epoch,
        sequence=trust.sequence,
        proof=write_proof(proof),
        checkpoint=write_trust(trust),
    )


def prover_of(peer: Peer, since: int = 0) -> Prover:
    """Its means of proof now, from that epoch on; raises TooEarly before the first certificate."""
    certificate = peer.replica.engine.certificate
    if certificate is None:
        raise TooEarly("no checkpoint of this epoch is signed yet", fix=WAIT)
    return Prover(peer.genesis, peer.executor, history_of(peer, since), certificate)


def history_of(peer: Peer, since: int = 0) -> History:
    """How the epochs ended from that one on, as far as the node knows, and who validated them."""
    closings = peer.replica.engine.annals.closings
    handovers = {epoch: closings[epoch] for epoch in closings if epoch >= since - 1}
    committees = {0: first_record(peer.genesis, peer.chain), **peer.state.committees}
    committees |= {one.record.epoch: one.record for one in handovers.values()}
    return History(committees, {epoch: one.certificate for epoch, one in handovers.items()})


def _digest(text: str, what: str) -> bytes:
    data = read_id(text)
    if data is None:
        raise Misuse(f"{text[:80]!r} is not {what}", fix="paste all of its 64 hexadecimal digits")
    return data

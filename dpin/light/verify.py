"""A whole proof against what somebody trusts: what it shows, in a form that people can be told."""

from dataclasses import dataclass

from dpin.light.client import LightClient, Trust, check_part, check_receipt
from dpin.light.facts import Certificate, Checkpoint, Member, NotProven, Part, Receipt
from dpin.light.proofs import Proof


@dataclass(frozen=True, slots=True)
class Shown:
    """What a proof has shown. `trust` is what may be trusted from now on, `since` what was."""

    since: Trust
    trust: Trust
    certificate: Certificate
    signers: tuple[Member, ...]
    crossed: int  # epochs between what was trusted and the certificate
    continues: bool  # whether the log was shown to begin with the one that was trusted
    receipt: Receipt | None
    index: int
    part: Part | None

    @property
    def checkpoint(self) -> Checkpoint:
        """What was signed."""
        return self.certificate.checkpoint

    @property
    def weight(self) -> int:
        """The weight that signed."""
        return sum(member.weight for member in self.signers)

    @property
    def total(self) -> int:
        """The weight of the whole committee."""
        return self.trust.committee.total


def verify(proof: Proof, trust: Trust) -> Shown:
    """Check all of a proof; raises NotProven, or BadNote for a signature's line that is wrong.

    Ends of epochs before the one that is trusted are passed over.
    """
    if proof.chain != trust.chain:
        raise NotProven("the proof is of another network than what is trusted")
    client = LightClient(trust)
    epoch = proof.certificate.checkpoint.epoch
    if epoch < trust.committee.epoch:
        raise NotProven(
            f"the proof is of epoch {epoch}, before the trusted checkpoint's epoch "
            f"{trust.committee.epoch}; ask for a new proof"
        )
    crossed = _cross(client, proof, epoch)
    committee = client.trust.committee
    certificate = proof.certificate.under(trust.chain, committee)
    client.advance(certificate)
    if proof.receipt is not None:
        check_receipt(proof.receipt.receipt, proof.receipt.index, proof.receipt.path, certificate)
    if proof.part is not None:
        check_part(proof.part.part, proof.part.bucket, proof.part.path, certificate)
    signers = tuple(committee.members[author] for author, _ in certificate.signatures)
    return Shown(
        since=trust,
        trust=client.trust,
        certificate=certificate,
        signers=signers,
        crossed=crossed,
        continues=_continues(proof, trust, certificate),
        receipt=proof.receipt.receipt if proof.receipt else None,
        index=proof.receipt.index if proof.receipt else 0,
        part=proof.part.part if proof.part else None,
    )


def _cross(client: LightClient, proof: Proof, epoch: int) -> int:
    """Move on, epoch by epoch, to the one of the proof; returns how many ends were passed."""
    trusted, chain = client.trust.committee.epoch, client.trust.chain
    ends = [crossing.closing.checkpoint.epoch for crossing in proof.crossings]
    if ends != list(range(epoch - len(ends), epoch)):
        raise NotProven(f"the ends of epochs up to epoch {epoch} are not all there, in order")
    if epoch - len(ends) > trusted:
        raise NotProven(
            f"the proof is of epoch {epoch}, and shows nothing of the end of epoch {trusted}; "
            "trust a newer checkpoint, or ask for a proof from this one"
        )
    ahead = proof.crossings[len(ends) - (epoch - trusted) :]
    for crossing in ahead:
        closing = crossing.closing.under(chain, client.trust.committee)
        client.cross(closing, crossing.committee)
    return len(ahead)


def _continues(proof: Proof, trust: Trust, certificate: Certificate) -> bool:
    """Whether the proof shows it; raises NotProven if it says so and it is not so."""
    given = proof.continuation
    if trust.size == 0:
        return True  # every log begins with nothing
    if given is None or given.size != trust.size:
        return False
    LightClient(trust).continues(certificate, given.path)
    return True

"""What takes a network from one epoch to the next: the certified closing checkpoint."""

from dpin.base.codec import Wire
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId
from dpin.ledger.certificates import Certificate, check
from dpin.ledger.checkpoint import CommitteeRecord, committee_digest
from dpin.ledger.committee import Committee


class Handover(Wire, frozen=True):
    """The certificate of the checkpoint that closes an epoch, and the next committee it names."""

    certificate: Certificate
    record: CommitteeRecord

    @property
    def epoch(self) -> int:
        """The epoch that ends."""
        return self.certificate.checkpoint.epoch


def check_handover(handover: Handover, chain: ChainId, committee: Committee) -> None:
    """Raises PeerFault unless a quorum of this committee signed the end of its epoch."""
    record = handover.record
    named = handover.certificate.checkpoint.next_committee
    if record.epoch != committee.epoch + 1 or committee_digest(record) != named:
        raise PeerFault("a handover names the next committee and its epoch")
    check(handover.certificate, chain, committee)

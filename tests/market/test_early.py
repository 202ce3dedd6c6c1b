"""An answer may come before its requester sees the job on the ledger: it is not lost."""

import pytest

from dpin.base.ids import JobId, NodeId
from dpin.ledger.transactions import Award, Propose
from dpin.market.early import KEPT, OF_PEER_MAX, PEERS_MAX, EarlyMail
from dpin.market.messages import BidMessage
from dpin.market.requester import ToRequester
from dpin.sim.jobs import JOB, Works, training
from dpin.sim.stage import since
from tests.support.buyers import Buyer, wish_for
from tests.support.jobs import at, market
from tests.support.ledgers import PRICE
from tests.support.market import do, offer, refused

PEER = NodeId(bytes([9]) * 32)
LAST = 3  # the dearest of the simulated providers


def test_answers_that_are_ahead_of_the_requesters_ledger_count() -> None:
    buyer, ahead = Buyer(), market()
    buyer.prepare()
    wish = wish_for(Propose, buyer.follow())
    do(ahead, "buyer", wish)
    [job] = ahead.state.jobs
    for who in ("one", "two"):
        buyer.step(ToRequester(ahead.id(who), refused(job)))
    buyer.step(ToRequester(ahead.id("maker"), BidMessage(offer(ahead, job, "maker", PRICE))))
    assert buyer.own.job is None
    do(buyer.ledger, "buyer", wish)
    award = wish_for(Award, buyer.follow())  # At once: everybody has answered.
    assert isinstance(award.operation, Award)
    assert [it.bid.provider for it in award.operation.bids] == [ahead.id("maker")]
    assert len(buyer.own.supply.declines) == 2


@pytest.mark.parametrize("seed", [6, 12])
def test_the_cheapest_of_honest_providers_have_the_seats(seed: int) -> None:
    """Where each applies the proposal in its own time; in these seeds before the requester."""
    works = Works("jobs", seed, training(2))
    requester = works.node(0)
    works.world.run(since(13))
    own = requester.peer.requester.jobs[JOB]
    taken = [requester.peer.state.leases[lease].provider for lease in works.job().leases]
    assert set(taken) == set(works.nodes[1:LAST])
    assert len(own.supply.bids) == LAST


def test_too_much_early_mail_is_not_kept() -> None:
    mail = EarlyMail()
    for number in range(OF_PEER_MAX + 3):
        mail.keep(PEER, refused(JobId(bytes([number]) * 32)), at(number / 10))
    assert len(mail) == OF_PEER_MAX
    assert list(mail.take(JobId(bytes(32)), at(1))) == []  # The oldest went.
    for number in range(PEERS_MAX + 9):
        mail.keep(NodeId(number.to_bytes(32)), refused(JobId(bytes(32))), at(1))
    assert len(mail) == PEERS_MAX - 1 + OF_PEER_MAX
    newest = JobId(bytes([OF_PEER_MAX + 2]) * 32)
    assert [peer for peer, _ in mail.take(newest, at(1))] == [PEER]
    assert list(mail.take(newest, at(1))) == []


def test_early_mail_does_not_wait_for_ever() -> None:
    mail, job = EarlyMail(), JobId(bytes(32))
    mail.keep(PEER, refused(job), at(0))
    assert list(mail.take(job, at(KEPT / 1_000_000))) == []
    assert len(mail) == 0

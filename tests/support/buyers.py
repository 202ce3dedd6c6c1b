"""A requester's machine with one order, on a ledger that does what it wishes for."""

from collections.abc import Iterable, Sequence

from dpin.base.codec import decode, encode
from dpin.base.ids import Digest, JobId, Round
from dpin.base.machine import Store
from dpin.compute.scores import Score, Scored
from dpin.compute.task import Evaluated, Merged, Opened, OpenJob, Report
from dpin.compute.work import Order, Reported, WorkerId
from dpin.ledger.transactions import Award, Operation, Propose, Ready
from dpin.ledger.wishes import Follow, Wish
from dpin.market.messages import BidMessage
from dpin.market.orders import Order as JobOrder
from dpin.market.orders import OwnRecord
from dpin.market.ownjob import OwnJob
from dpin.market.provider import Probe
from dpin.market.requester import Effect, Event, Requester, Start, ToRequester
from dpin.storage.wanted import Fetched, Kept
from tests.support.jobs import PROBED, at, file_id, here, market, only, path_of
from tests.support.ledgers import (
    PRICE,
    START,
    Ledger,
    check_honestly,
    exchange,
    finish,
    key_of,
    lease_of,
)
from tests.support.market import PREPARED, do, offer, train_order

J, WORKER = "j-1", WorkerId("job-j-1")


class Buyer:
    """The requester's machine, on a ledger that does what it wishes for."""

    def __init__(self, order: JobOrder | None = None) -> None:
        self.ledger: Ledger = market()
        self.records: list[bytes] = []
        self.requester = self._machine()
        self.step(Probe(PROBED))
        self.first = self.step(Start(J, order or train_order()))

    def _machine(self) -> Requester:
        chain, params = self.ledger.executor.chain, self.ledger.genesis.params
        return Requester(self.ledger.id("buyer"), chain, params, self.ledger.keys["buyer"])

    @property
    def own(self) -> OwnJob:
        return self.requester.jobs[J]

    def step(self, event: Event, moment: float = 0) -> list[Effect]:
        effects = self.requester.step(event, at(moment))
        self.records += [store.record for store in only(Store, effects)]
        return effects

    def follow(self, moment: float = 0) -> list[Effect]:
        return self.step(Follow(self.ledger.state), moment)

    def report(self, report: Report, moment: float = 0) -> list[Effect]:
        return self.step(Reported(WORKER, report), moment)

    def prepare(self) -> list[Effect]:
        """All that was prepared is a blob; what the last of them leads to."""
        effects = self.report(PREPARED)
        for path in (*PREPARED.shards, PREPARED.holdout, PREPARED.initial):
            effects = self.step(Kept(path, file_id(path), 1_000))
        return effects

    def fund(self) -> None:
        """Prepared, proposed, and on the ledger."""
        if self.own.propose is None:
            self.prepare()
        do(self.ledger, "buyer", wish_for(Propose, self.follow()))
        self.follow()

    def hire(self) -> None:
        """Awarded to maker, which is ready at once."""
        bid = offer(self.ledger, self.job, "maker", PRICE)
        self.step(ToRequester(self.ledger.id("maker"), BidMessage(bid)))
        do(self.ledger, "buyer", wish_for(Award, self.follow(3)))
        assert self.ledger.do("maker", Ready(lease_of(self.ledger, self.job, "maker").id)) == "ok"

    def restart(self) -> None:
        """Another process, the same log."""
        self.requester = self._machine()
        for record in self.records:
            kept: OwnRecord = decode(OwnRecord, record)
            self.requester.restore(kept)
        self.step(Probe(PROBED))

    @property
    def job(self) -> JobId:
        assert self.own.job is not None
        return self.own.job.id


def wish_for(kind: type[Operation], effects: Iterable[Effect]) -> Wish:
    """The one wish for such an operation."""
    [wish] = [it for it in only(Wish, effects) if isinstance(it.operation, kind)]
    return wish


def commands(effects: Iterable[Effect]) -> list[object]:
    return [order.command for order in only(Order, effects)]


def job_files(buyer: Buyer) -> list[Fetched]:
    manifest = buyer.own.manifest
    assert manifest is not None
    assert buyer.own.propose is not None
    paths = (*PREPARED.shards, PREPARED.holdout, PREPARED.initial)
    return [
        here(buyer.own.propose.manifest, encode(manifest)),
        *[here(file_id(path)) for path in paths],
    ]


INITIAL = path_of(file_id(PREPARED.initial))
ROOT = Digest(b"r" * 32)


class Run(Buyer):
    """A job of three rounds, with one provider, of which some are merged here."""

    def __init__(self, merged: int) -> None:
        super().__init__(train_order(rounds=3))
        self.fund()
        self.hire()
        self.load(4)
        self.report(Opened(Round(0), START), 5)
        self.report(Evaluated(Round(0), 5_500_000), 5)
        for round_ in range(merged):
            self.close()
            self.merge(round_)

    def load(self, moment: float) -> list[Effect]:
        """What comes of it when the job's files are here."""
        effects = self.follow(moment)
        for event in job_files(self):
            effects = self.step(event, moment)
        return effects

    def close(self) -> None:
        """The round under way is closed on the ledger."""
        key = key_of(self.ledger, self.job, "maker")
        finish(self.ledger, self.job, "maker")
        exchange(self.ledger, self.job, "maker")
        check_honestly(self.ledger, key)

    def merge(self, round_: int) -> list[Effect]:
        """Its update comes; the worker scores, merges and measures."""
        self.follow(6 + round_)
        self.arrive(round_)
        lease = lease_of(self.ledger, self.job, "maker").id
        self.report(Scored(Round(round_), (Score(lease, 41, 12),)), 7 + round_)
        root = ROOT if round_ == 2 else Digest(bytes(32))
        done = Merged(Round(round_ + 1), START, f"/w/{round_ + 1}", (), 1_000, root, 1)
        effects = self.report(done, 7 + round_)
        self.report(Evaluated(Round(round_ + 1), 2_000_000 - round_), 7 + round_)
        return effects

    def arrive(self, round_: int) -> list[Effect]:
        """The update of a round is here."""
        [included] = self.ledger.state.jobs[self.job].rounds[round_].included
        return self.step(here(included.update), 6 + round_)

    def begun(self, effects: Sequence[Effect]) -> tuple[Round, str]:
        """What the worker was told to begin with."""
        [command] = [it for it in commands(effects) if isinstance(it, OpenJob)]
        return command.round, command.checkpoint

"""The whole node as one machine: nothing a peer sends hurts it, and what it stores comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import MESSAGE_BYTES_MAX, Wire, encode
from dpin.base.ids import NO_BLOB, BlobId, ChainId, Digest, JobId, NodeId, Round
from dpin.base.leaf import Leaf
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Roll, Store
from dpin.base.units import MicroTokens, Tick
from dpin.compute.work import Exited, Reported, WorkerId
from dpin.ledger.mempool import UNCOVERED
from dpin.ledger.pledges import Pledged, standing
from dpin.ledger.transactions import Bid, SignedBid, Stake, Terms, Transfer, sign
from dpin.ledger.wishes import Carry, Outcome, Wish
from dpin.market.messages import (
    AskCheckpoint,
    BidMessage,
    CheckpointOffer,
    Decline,
    Heartbeat,
    Text,
)
from dpin.market.orders import OwnJobEnd, OwnJobOrdered
from dpin.market.ownjob import OwnJob, Stage
from dpin.market.ownjobs import OwnJobs
from dpin.market.provider import Probe, Rest
from dpin.market.requester import Abandon, Start
from dpin.market.story import Note
from dpin.net.envelope import OVERHEAD_BYTES_MAX, Envelope, Service, wrap
from dpin.node.ownrecords import Owner, remembered
from dpin.node.peer import Effect
from dpin.storage.wanted import Fetched, Keep, Kept, Missing
from dpin.verify.messages import AskOpening, NoOpening, Opening
from tests.support.alone import Alone
from tests.support.jobs import PROBED, file_id, only
from tests.support.market import infer_order, train_order

NODE = Alone()
NODE.wait(1)
PEER = NodeId(bytes([9]) * 32)
ID = Digest(bytes(32))


def received(payload: bytes, node: Alone = NODE) -> list[Effect]:
    """What the node does about a message, which may not move its ledger."""
    height, root = node.peer.state.height, node.peer.executor.state.time
    effects = node.step(Received(PEER, payload))
    assert (node.peer.state.height, node.peer.executor.state.time) == (height, root)
    assert not only(Store, effects)
    return effects


def is_only_blame(effects: list[Effect]) -> bool:
    blames = only(Blame, effects)
    return len(blames) == len(effects) == 1 and blames[0].peer == PEER


@given(st.binary(max_size=300))
def test_garbage_is_blamed_and_changes_nothing(data: bytes) -> None:
    assert is_only_blame(received(data))


@given(st.sampled_from([Service.MARKET, Service.VERIFY]), st.binary(max_size=300))
def test_a_body_that_is_no_message_is_blamed(service: Service, body: bytes) -> None:
    assert is_only_blame(received(wrap(NODE.peer.chain, service, body)))


@given(st.binary(max_size=300))
def test_no_ledger_body_of_any_kind_raises_or_is_stored(body: bytes) -> None:
    received(wrap(NODE.peer.chain, Service.LEDGER, body))


def test_a_message_of_another_network_is_blamed() -> None:
    other = ChainId(bytes(32))
    body = encode(AskCheckpoint(JobId(ID)))
    assert is_only_blame(received(wrap(other, Service.MARKET, body)))


def test_a_message_of_another_version_is_blamed() -> None:
    chain = NODE.peer.chain[:8]
    assert is_only_blame(received(encode(Envelope(2, chain, Service.MARKET, b""))))


@pytest.mark.parametrize("size", [MESSAGE_BYTES_MAX + 1, MESSAGE_BYTES_MAX + OVERHEAD_BYTES_MAX])
def test_a_message_that_is_too_long_is_blamed(size: int) -> None:
    chain = NODE.peer.chain[:8]
    assert is_only_blame(received(encode(Envelope(1, chain, Service.MARKET, bytes(size)))))


def test_a_message_of_a_service_that_nobody_runs_is_blamed() -> None:
    payload = encode([1, NODE.peer.chain[:8], 99, b""])
    assert is_only_blame(received(payload))


def test_peer_exchange_is_left_to_the_driver() -> None:
    assert received(wrap(NODE.peer.chain, Service.PEERS, b"anything")) == []


LEAF = Leaf(JobId(ID), ID, Round(0), 0, 0, ID, ID, ID, 0)
STRANGE_MARKET: list[Wire] = [
    Decline(JobId(ID), "busy", "x" * 1_000),
    Heartbeat(ID, Round(-1), "run", -5, 0, 2**62, -1),
    Text(ID, -1, b"x"),
    AskCheckpoint(JobId(b"")),
    CheckpointOffer(JobId(ID), Round(10**9), BlobId(b"short")),
]
STRANGE_VERIFY: list[Wire] = [
    AskOpening(Digest(b""), Round(-1), final=True),
    Opening(ID, Round(0), final=False, leaf=LEAF, path=(), state=NO_BLOB, base=NO_BLOB),
    NoOpening(ID, Round(0), final=False, reason="x" * 1_000),
]


@pytest.mark.parametrize("message", STRANGE_MARKET, ids=lambda message: type(message).__name__)
def test_market_words_about_nothing_that_is_known_do_nothing(message: Wire) -> None:
    assert received(wrap(NODE.peer.chain, Service.MARKET, encode(message))) == []


def test_a_bid_that_nobody_signed_is_blamed() -> None:
    for key in (PEER, NodeId(b"short")):
        bid = Bid(JobId(ID), key, MicroTokens(1), Tick(1))
        for signature in (b"", bytes(64)):
            body = encode(BidMessage(SignedBid(bid, signature)))
            assert is_only_blame(received(wrap(NODE.peer.chain, Service.MARKET, body)))


@pytest.mark.parametrize("message", STRANGE_VERIFY, ids=lambda message: type(message).__name__)
def test_verify_words_about_nothing_that_is_known_change_nothing(message: Wire) -> None:
    effects = received(wrap(NODE.peer.chain, Service.VERIFY, encode(message)))
    assert not only(Blame, effects)
    assert not NODE.peer.verifier.checking


def test_news_of_workers_and_blobs_that_nobody_wants_are_passed_over() -> None:
    node = Alone()
    node.wait(1)
    for event in (
        Fetched(file_id("x"), "/x", b"", 1),
        Kept("/x", file_id("x"), 1_000),
        Missing(file_id("x"), "gone"),
        Exited(WorkerId("nobody"), "killed"),
        Reported(WorkerId("nobody"), PROBED),
        PeerUp(PEER),
        PeerDown(PEER),
        Rest(rests=True),
    ):
        assert not only(Blame, node.step(event))


def test_a_wish_is_done_and_its_outcome_told() -> None:
    node = Alone()
    effects = node.step(Wish("stake", Stake(MicroTokens(5)))) + node.wait(2)
    assert [(it.key, it.detail) for it in only(Outcome, effects)] == [("stake", "ok")]
    assert node.peer.state.accounts[node.key.node_id].stake == 5


def test_after_the_probe_a_node_registers_and_stakes_by_itself() -> None:
    node = Alone()
    node.step(Probe(PROBED))
    node.wait(3)
    account = node.peer.state.accounts[node.key.node_id]
    assert account.registration is not None
    assert account.registration.fingerprint == PROBED.fingerprint
    assert account.stake == node.choice.stake


def test_records_say_whose_they_are_and_come_back_after_a_restart() -> None:
    node = Alone()
    node.step(Probe(PROBED))
    node.step(Start("j-1", infer_order()))
    node.step(Kept(infer_order().model_file, file_id("model"), 1_000))
    node.wait(2)
    assert {record[0] for record in node.records} == {Owner.LEDGER, Owner.OWN_JOB}
    job = node.peer.requester.jobs["j-1"].job
    assert job is not None
    height = node.peer.state.height
    node.restart()
    assert node.peer.state.height == height
    node.wait(1)
    own = node.peer.requester.jobs["j-1"]
    assert own.job is not None
    assert own.job.id == job.id
    assert len(node.peer.state.jobs) == 1


def test_a_job_that_was_taken_on_is_begun_anew_after_a_crash_before_it_was_prepared() -> None:
    node = Alone()
    node.step(Probe(PROBED))
    effects = node.step(Start("j-1", infer_order()))
    [order] = [one for one in only(Store, effects) if one.record[0] == Owner.OWN_JOB]
    assert order.sync
    assert effects.index(order) < effects.index(only(Note, effects)[0])  # Told when it is durable.
    node.restart()
    [again] = only(Keep, [*node.step(Probe(PROBED)), *node.wait(1)])
    assert again.path == infer_order().model_file
    node.step(Kept(again.path, file_id("model"), 1_000))
    node.wait(2)
    assert node.peer.requester.jobs["j-1"].job is not None
    node.restart()
    assert not only(Keep, [*node.step(Probe(PROBED)), *node.wait(1)])
    assert len(node.peer.state.jobs) == 1


def test_a_job_that_failed_before_it_was_prepared_is_not_begun_again() -> None:
    node = Alone()
    node.step(Probe(PROBED))
    node.step(Start("j-1", infer_order()))
    node.step(Abandon("j-1"))
    node.wait(1)
    assert node.peer.requester.jobs["j-1"].stage == Stage.CANCELLED
    node.restart()
    assert not only(Keep, [*node.step(Probe(PROBED)), *node.wait(1)])
    assert node.peer.requester.jobs["j-1"].stage == Stage.CANCELLED


def test_a_job_that_nobody_took_has_failed_and_stays_so_after_a_restart() -> None:
    node = Alone()
    node.step(Probe(PROBED))
    node.step(Start("j-1", infer_order()))
    node.step(Kept(infer_order().model_file, file_id("model"), 1_000))
    node.wait(15)
    assert node.peer.requester.jobs["j-1"].stage == Stage.FAILED
    node.restart()
    effects = node.wait(1)
    own = node.peer.requester.jobs["j-1"]
    assert (own.stage, own.reason) == (Stage.FAILED, "no-provider")
    assert own.job is not None
    assert not only(Outcome, effects)


def paid(effects: list[Effect]) -> list[str]:
    """What became of payments."""
    return [outcome.detail for outcome in only(Outcome, effects)]


def test_a_payment_that_was_written_down_is_made_after_a_kill() -> None:
    """All that the ledger itself wrote since then is lost, as of a log that was never synced."""
    for lasting, outcomes in ((True, ["ok"]), (False, [])):
        node = Alone()
        node.wait(1)
        effects = node.step(Wish("pay", Transfer(PEER, MicroTokens(5), b""), lasting=lasting))
        assert [one.key for one in only(Pledged, effects)] == ["pay"] * lasting
        node.records = [record for record in node.records if record[0] == Owner.PLEDGED]
        node.restart()
        assert paid(node.wait(2)) == outcomes
        assert (PEER in node.peer.state.accounts) == lasting
        node.restart()
        assert paid(node.wait(2)) == []


def test_a_payment_that_was_refused_is_not_made_after_a_restart() -> None:
    node = Alone()
    node.wait(1)
    dear = Terms(1_000, MicroTokens(node.peer.state.accounts[node.key.node_id].free + 1))
    pay = Transfer(PEER, MicroTokens(5), b"")
    effects = node.step(Carry("pay", sign(node.key, node.peer.chain, 9, pay, dear)))
    assert paid(effects) == [UNCOVERED]
    assert [type(one) for one in only(Pledged, effects)] == [Pledged]
    node.restart()
    assert node.peer.wishes.pledges == []
    assert paid(node.wait(2)) == []


def test_payments_that_are_under_way_outlive_a_log_that_begins_anew() -> None:
    node = Alone()
    node.wait(1)
    wish = Wish("pay", Transfer(PEER, MicroTokens(5), b""), lasting=True)
    assert node.peer.wishes.wish(wish, node.peer.state, node.now) is not None  # not submitted
    rolled = node.peer._logged(Roll([b"ledger"]))
    assert isinstance(rolled, Roll)
    kept = [record[1:] for record in rolled.records if record[0] == Owner.PLEDGED]
    assert [one.key for one in standing(kept)] == ["pay"]


def test_own_jobs_that_nobody_can_look_at_any_more_do_not_fill_the_log() -> None:
    node = Alone()
    node.peer.requester.jobs["j-known"] = OwnJob("j-known", train_order(), node.now)
    for name in ("j-known", "j-of-long-ago"):
        ordered = OwnJobOrdered(name, train_order(), 0)
        node.peer._logged(Store(bytes([Owner.OWN_JOB]) + encode(ordered), sync=True))
    end = OwnJobEnd("j-of-long-ago", JobId(bytes(32)), "done", "", 0, ())
    for record in (b"of a newer version", encode(end)):
        node.peer._logged(Store(bytes([Owner.OWN_JOB]) + record, sync=True))
    for _ in range(2):
        rolled = node.peer._logged(Roll([b"ledger"]))
        assert isinstance(rolled, Roll)
        kept = [record[1:] for record in rolled.records if record[0] == Owner.OWN_JOB]
        known = encode(OwnJobOrdered("j-known", train_order(), 0))
        assert kept == [known, b"of a newer version", encode(end)]


def test_how_jobs_ended_that_nobody_can_look_at_is_remembered_of_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpin.market.ownjobs.FORGOTTEN_MAX", 3)
    ends = [OwnJobEnd(f"j-{n}", JobId(bytes([n]) * 32), "done", "", 0, ()) for n in range(9)]
    bodies = [encode(end) for end in ends]
    assert remembered(bodies, ()) == bodies[-3:]
    jobs = OwnJobs()
    for end in ends:
        jobs.restore(end)
    assert [*jobs._forgotten] == [end.job for end in ends[-3:]]


def test_the_history_of_the_account_outlives_a_log_that_begins_anew() -> None:
    """What came before the end of the epoch is told once, and so is what comes after it."""
    node = Alone()
    for memo in (b"one", b"two", b"three"):
        node.wait(1)
        node.step(Wish("pay", Transfer(PEER, MicroTokens(5), memo), lasting=True))
        begun = node.peer.state.term.number
        while memo == b"two" and node.peer.state.term.number == begun:
            node.wait(10)
    node.wait(1)
    told = node.peer.executor.history.between(0, 0, 100)
    memos = [line.memo for line in told if line.what == "transfer"]
    assert memos == [b"three", b"two", b"one"]
    node.restart()
    assert node.peer.executor.history.between(0, 0, 100) == told

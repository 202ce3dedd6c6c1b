"""Joining: an epoch's state from peers of whom some lie, stall, flood or know nothing."""

from collections.abc import Callable, Sequence
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import Blame, Send
from dpin.base.units import Instant, after, seconds
from dpin.ledger.assembly import Assembly
from dpin.ledger.certificates import Certificate
from dpin.ledger.frozen import PAGE_BYTES, Entry, Frozen
from dpin.ledger.join import BUCKET_BYTES_MAX, PEER_MAX, QUESTIONS_MAX, UNDER_WAY_MAX, Join
from dpin.ledger.roots import root_of
from dpin.ledger.statemessages import (
    AskBucket,
    AskState,
    BucketPage,
    NoState,
    StateAnswer,
    StateQuestion,
    StateSummary,
    answer,
    read_state_message,
)
from tests.ledger.test_parts import busy
from tests.support.ledgers import Ledger

Behaviour = Callable[[Frozen, StateQuestion], StateAnswer | None]


@cache
def ended() -> Ledger:
    """A ledger at the end of an epoch, with jobs in every stage."""
    return busy()


def certificate_of(ledger: Ledger) -> Certificate:
    frozen = ledger.executor.frozen.states[-1]
    log = ledger.executor.receipts
    path = log.prove(frozen.size - 1, frozen.size)
    return Certificate(frozen.checkpoint, frozen.size, log.tree.root(frozen.size), path, ())


# --- how peers behave --------------------------------------------------------------------------


def honest(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    return answer([frozen], question)


def silent(_frozen: Frozen, _question: StateQuestion) -> StateAnswer | None:
    return None


def ignorant(_frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    return answer([], question)


def rich(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    """One account has a token more."""
    said = answer([frozen], question)
    if isinstance(said, BucketPage) and said.entries:
        first = said.entries[0]
        changed = msgspec.structs.replace(first, value=first.value[:-1] + b"\x07")
        return msgspec.structs.replace(said, entries=(changed, *said.entries[1:]))
    return said


def forgetful(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    said = answer([frozen], question)
    if isinstance(said, BucketPage):
        return msgspec.structs.replace(said, entries=said.entries[1:])
    return said


def doubling(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    said = answer([frozen], question)
    if isinstance(said, BucketPage) and said.entries:
        return msgspec.structs.replace(said, entries=20 * said.entries)
    return said


def endless(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    said = answer([frozen], question)
    if isinstance(said, BucketPage):
        page = (Entry(1, bytes(32), 0, bytes(512 * 1024)),)
        return msgspec.structs.replace(said, entries=page, then=said.start + 1)
    return said


def circling(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    said = answer([frozen], question)
    return msgspec.structs.replace(said, then=0) if isinstance(said, BucketPage) else said


def dripping(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    """All is true, and comes a part at a time: nobody is ever late, and nothing is ever done."""
    said = answer([frozen], question)
    if isinstance(said, BucketPage) and len(said.entries) > 1:
        return msgspec.structs.replace(said, entries=said.entries[:1], then=said.start + 1)
    return said


def of_another_state(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    said = answer([frozen], question)
    if isinstance(said, StateSummary):
        return msgspec.structs.replace(said, hashes=said.hashes[::-1])
    return said


def of_another_log(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    said = answer([frozen], question)
    if isinstance(said, StateSummary):
        return msgspec.structs.replace(said, peaks=said.peaks[::-1] + said.peaks[:1])
    return said


def of_a_changed_log(frozen: Frozen, question: StateQuestion) -> StateAnswer | None:
    said = answer([frozen], question)
    if isinstance(said, StateSummary):
        return msgspec.structs.replace(said, peaks=(Digest(bytes(32)), *said.peaks[1:]))
    return said


LIARS = (
    rich,
    forgetful,
    doubling,
    endless,
    circling,
    dripping,
    of_another_state,
    of_another_log,
    of_a_changed_log,
)
USELESS = (silent, ignorant)


class Meeting:
    """A joiner, its peers, and time."""

    def __init__(self, behaviours: Sequence[Behaviour], frozen: Frozen | None = None) -> None:
        self.join = Join(certificate_of(ended()), Assembly)
        self.frozen = frozen or ended().executor.frozen.states[-1]
        self.peers = {NodeId(bytes([at]) * 32): one for at, one in enumerate(behaviours, 1)}
        self.now = Instant(0)
        self.blamed: dict[NodeId, str] = {}
        self.questions: list[tuple[Instant, NodeId, StateQuestion]] = []
        for peer in self.peers:
            self.join.up(peer)

    def run(self, steps: int = 3_000) -> None:
        """Until the state is there or nobody can be asked."""
        for _ in range(steps):
            sends = [one for one in self.join.step(self.now) if isinstance(one, Send)]
            if self.join.restored is not None or self.join.stuck:
                return
            answered = [self.deliver(send) for send in sends]
            if not any(answered):
                assert self.join.next_at > self.now
                self.now = self.join.next_at
        raise AssertionError("it neither ends nor gives up")

    def deliver(self, send: Send) -> bool:
        """Have a question answered; whether it was."""
        question = read_state_message(send.payload)
        assert isinstance(question, AskState | AskBucket)
        self.questions.append((self.now, send.peer, question))
        said = self.peers[send.peer](self.frozen, question)
        if said is None:
            return False
        for effect in self.join.take(send.peer, said):
            assert isinstance(effect, Blame)
            self.blamed[effect.peer] = effect.reason
        return True


def of(meeting: Meeting, behaviour: Behaviour) -> list[NodeId]:
    return [peer for peer, one in meeting.peers.items() if one is behaviour]


def test_a_state_comes_from_one_honest_peer() -> None:
    meeting = Meeting([honest])
    meeting.run()
    assert meeting.join.restored is not None
    assert meeting.join.restored.state == ended().state
    assert root_of(meeting.join.restored.state) == meeting.frozen.checkpoint.state_root
    log = ended().executor.receipts
    assert meeting.join.restored.receipts.root == log.tree.root(meeting.frozen.size)


def test_many_peers_are_asked_at_a_time_and_share_the_work() -> None:
    meeting = Meeting(4 * [honest])
    meeting.join.take(NodeId(bytes([1]) * 32), NoState(Digest(bytes(32))))  # of something else
    first = meeting.join.step(Instant(0))
    assert len(first) == 1  # the summary
    for send in first:
        assert isinstance(send, Send)
        meeting.deliver(send)
    sends = [one.peer for one in meeting.join.step(Instant(0)) if isinstance(one, Send)]
    assert len(sends) == UNDER_WAY_MAX
    assert {peer: sends.count(peer) for peer in meeting.peers} == dict.fromkeys(
        meeting.peers, PEER_MAX
    )


@pytest.mark.parametrize("liar", LIARS)
def test_a_liar_is_blamed_and_the_state_comes_from_others(liar: Behaviour) -> None:
    caught = []
    for behaviours in ([liar, honest], [honest, liar]):
        meeting = Meeting(behaviours)
        meeting.run()
        assert meeting.join.restored is not None
        assert meeting.join.restored.state == ended().state
        assert list(meeting.blamed) in ([], of(meeting, liar))
        caught.append(bool(meeting.blamed))
    # Whoever drips is seen only where a bucket of several entries falls to it.
    assert any(caught) if liar is dripping else caught[0]


@pytest.mark.parametrize("behaviour", [*LIARS, *USELESS])
def test_who_has_nobody_honest_is_stuck_and_has_no_state(behaviour: Behaviour) -> None:
    meeting = Meeting(3 * [behaviour])
    meeting.run()
    assert meeting.join.stuck
    assert meeting.join.restored is None


@settings(max_examples=25)
@given(st.lists(st.sampled_from([*LIARS, *USELESS]), max_size=6), st.integers(0, 6))
def test_one_honest_peer_among_any_others_is_enough(others: list[Behaviour], place: int) -> None:
    meeting = Meeting([*others[:place], honest, *others[place:]])
    meeting.run()
    assert meeting.join.restored is not None
    assert meeting.join.restored.state == ended().state
    assert not {*of(meeting, honest), *of(meeting, silent), *of(meeting, ignorant)} & {
        *meeting.blamed
    }


def test_no_peer_is_asked_more_often_than_it_answers() -> None:
    meeting = Meeting([honest, honest])
    meeting.run()
    for peer in meeting.peers:
        times = [at for at, asked, _ in meeting.questions if asked == peer]
        for start in times:
            window = [at for at in times if start <= at < after(start, seconds(1))]
            assert len(window) <= 2 * QUESTIONS_MAX  # a window may begin in its middle
    assert meeting.now >= seconds(3)  # 257 questions take that long


def test_a_peer_that_leaves_leaves_its_work_to_others() -> None:
    meeting = Meeting([honest, honest])
    first, second = meeting.peers
    for send in meeting.join.step(Instant(0)):
        assert isinstance(send, Send)
        meeting.deliver(send)
    meeting.join.step(Instant(0))
    meeting.join.down(first)
    meeting.questions.clear()
    meeting.run()
    assert meeting.join.restored is not None
    assert {peer for _, peer, _ in meeting.questions} == {second}


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    meeting = Meeting([honest, rich])
    lying = of(meeting, rich)[0]
    page = answer([meeting.frozen], AskBucket(meeting.frozen.name, 3, 0))
    assert meeting.join.take(lying, page) == []
    assert meeting.join.take(NodeId(bytes(32)), page) == []
    meeting.run()
    assert meeting.join.restored is not None


def test_a_bucket_takes_so_many_bytes_and_no_more() -> None:
    meeting = Meeting([endless])
    meeting.run()
    pages = [one for _, _, one in meeting.questions if isinstance(one, AskBucket)]
    most = max(pages, key=lambda one: one.start).start
    assert most * 512 * 1024 <= BUCKET_BYTES_MAX
    assert "no bucket is as large" in next(iter(meeting.blamed.values()))


def test_questions_out_of_range_are_refused() -> None:
    name = Digest(bytes(32))
    for message in (
        AskBucket(name, 256, 0),
        AskBucket(name, -1, 0),
        AskBucket(name, 0, -1),
        StateSummary(name, (), ()),
        StateSummary(name, (name,) * 256, (name,) * 65),
    ):
        with pytest.raises(PeerFault):
            read_state_message(encode(message))
    assert answer([], AskState(name)) == NoState(name)


def test_an_answer_is_one_page() -> None:
    frozen = ended().executor.frozen.states[-1]
    for bucket in range(256):
        said = answer([frozen], AskBucket(frozen.name, bucket, 10**9))
        assert isinstance(said, BucketPage)
        assert said.entries == ()
        entries, then = frozen.page(bucket, 0)
        assert then is None
        assert sum(len(entry.value) for entry in entries) < 2 * PAGE_BYTES

"""What is accepted into the DAG, what waits, and what one member cannot do to the others."""

import pytest

from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest, NodeId, Round
from dpin.base.machine import Blame, PeerUp, Received, Send, Store, Tick
from dpin.base.units import after, seconds
from dpin.ledger import dag as dags
from dpin.ledger.annals import FOREIGN, OWN, Record
from dpin.ledger.blocks import Reference, Vertex, read_block
from dpin.ledger.committee import first_committee
from dpin.ledger.dag import Dag, Fate, encoded
from dpin.ledger.engine import Engine
from dpin.ledger.fetch import RETRY_FIRST, WANTED_MAX, Fetch
from dpin.ledger.identity import Identity
from dpin.ledger.messages import REFERENCES_MAX, AskBlocks, AskRange, BlockMessage, read_message
from dpin.ledger.replica import Replica
from dpin.ledger.serve import answer_blocks, answer_range
from tests.support.cluster import START, FakeExecutor, key
from tests.support.forge import Forge, core_of

FORGE = Forge()
ROUNDS = FORGE.rounds(8)
SENDER = NodeId(bytes(32))
OUTSIDER = Identity(key(99))
RANDOM = digest("test/random", b"")


def wanted(dag: Dag) -> list[Reference]:
    """What suspended blocks wait for and nobody has sent, in order of need."""
    return [link for link in dag.waiting.missing() if link.digest not in dag]


def fresh(gc_depth: int = 60) -> Dag:
    return Dag(FORGE.roots, first_committee(FORGE.genesis, FORGE.chain), gc_depth)


def offer(dag: Dag, *blocks: Vertex) -> list[Fate]:
    return [dag.offer(block, SENDER, START).fate for block in blocks]


def filled(rounds: int) -> Dag:
    dag = fresh()
    for blocks in ROUNDS[1 : rounds + 1]:
        assert offer(dag, *blocks) == [Fate.ACCEPTED] * 4
    return dag


def test_blocks_are_accepted_once_their_ancestors_are() -> None:
    dag = fresh()
    late = [block for blocks in ROUNDS[3:0:-1] for block in blocks]
    assert set(offer(dag, *late[:-1])) == {Fate.SUSPENDED, Fate.ACCEPTED}
    assert dag.highest == 1
    accepted = dag.offer(late[-1], SENDER, START).accepted
    assert dag.highest == 3
    assert len(accepted) == 9
    assert [block.round for block in accepted] == sorted(block.round for block in accepted)
    assert list(dag.waiting) == []
    assert offer(dag, late[0]) == [Fate.KNOWN]


def test_what_is_missing_is_told_once_with_the_block_that_needs_it() -> None:
    dag = filled(2)
    offered = dag.offer(ROUNDS[4][0], SENDER, START)
    assert offered.fate is Fate.SUSPENDED
    assert {link.digest for link in offered.missing} == {block.digest for block in ROUNDS[3]}
    assert set(wanted(dag)) == {block.reference for block in ROUNDS[3]}


def test_a_third_twin_is_taken_only_when_somebody_links_to_it() -> None:
    dag = filled(1)
    twins = [FORGE.block(2, 0, ROUNDS[1], (bytes([number]),)) for number in range(4)]
    assert offer(dag, *twins[:3]) == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.TWIN]
    assert dag.equivocators == {0}
    offer(dag, *ROUNDS[2][1:])
    child = FORGE.block(3, 1, [*ROUNDS[2][1:], twins[2]])
    assert offer(dag, child, twins[3], twins[2]) == [Fate.SUSPENDED, Fate.TWIN, Fate.ACCEPTED]
    assert child.digest in dag


def test_a_third_twin_that_the_log_holds_is_taken_again_with_all_that_builds_on_it() -> None:
    twins = [FORGE.block(2, 0, ROUNDS[1], (bytes([number]),)) for number in range(3)]
    child = FORGE.block(3, 1, [*ROUNDS[2][1:], twins[2]])
    log = [*ROUNDS[1], *twins[:2], *ROUNDS[2][1:], twins[2], child]
    engine = Engine(FORGE.genesis, OUTSIDER, FakeExecutor())
    engine.replay(encode(Record(FOREIGN, encoded(block))) for block in log)
    dag = engine.core.dag
    assert all(dag.get(block.digest) is not None for block in log)
    assert list(dag.waiting) == []
    assert engine.core.dag.highest == 3


def test_an_own_block_of_the_log_that_is_accepted_late_stays_an_own_block() -> None:
    """Written as somebody else's, it would silence its author at the next start."""
    own, late, mine = ROUNDS[1][0], ROUNDS[1][3], ROUNDS[2][0]
    author = Identity(FORGE.keys[0])
    engine = Engine(FORGE.genesis, author, FakeExecutor())
    log = [(OWN, own), (FOREIGN, ROUNDS[1][1]), (FOREIGN, ROUNDS[1][2]), (OWN, mine)]
    engine.replay(encode(Record(kind, encoded(block))) for kind, block in log)
    assert engine.core.dag.get(mine.digest) is None
    engine.take(late, SENDER, START)
    effects = engine.advance(START, behind=False).effects
    found = [decode(Record, effect.record) for effect in effects if isinstance(effect, Store)]
    kinds = {read_block(record.body).digest: record.kind for record in found}
    assert kinds == {late.digest: FOREIGN, mine.digest: OWN}
    again = Engine(FORGE.genesis, author, FakeExecutor())
    again.replay(
        [*(encode(Record(kind, encoded(block))) for kind, block in log), *map(encode, found)]
    )
    assert again.serves


def test_an_own_block_that_the_log_lacks_silences_its_author_for_good() -> None:
    engine = Engine(FORGE.genesis, Identity(FORGE.keys[0]), FakeExecutor())
    engine.take(ROUNDS[1][0], SENDER, START)
    effects = engine.advance(START, behind=False).effects
    records = [effect.record for effect in effects if isinstance(effect, Store)]
    assert [decode(Record, record).kind for record in records] == [FOREIGN]
    again = Engine(FORGE.genesis, Identity(FORGE.keys[0]), FakeExecutor())
    again.replay(records)
    assert not again.serves


def test_suspended_twins_count_too() -> None:
    dag = filled(1)
    twins = [FORGE.block(3, 0, ROUNDS[2], (bytes([number]),)) for number in range(3)]
    assert offer(dag, *twins) == [Fate.SUSPENDED, Fate.SUSPENDED, Fate.TWIN]


def test_an_author_has_only_so_much_room_for_suspended_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dags, "SUSPENDED_MAX", 2)
    dag = filled(1)
    assert offer(dag, ROUNDS[3][0], ROUNDS[4][0], ROUNDS[5][0]) == [
        Fate.SUSPENDED,
        Fate.SUSPENDED,
        Fate.FULL,
    ]
    assert offer(dag, ROUNDS[3][1]) == [Fate.SUSPENDED]
    for blocks in ROUNDS[2:5]:
        offer(dag, *blocks)
    assert dag.highest == 4  # what is complete needs no room


def test_the_bytes_of_suspended_blocks_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dags, "SUSPENDED_BYTES_MAX", 100)
    dag = filled(1)
    large = FORGE.block(3, 0, ROUNDS[2], (bytes(99),))
    larger = FORGE.block(4, 0, ROUNDS[3], (bytes(2),))
    assert offer(dag, large, larger) == [Fate.SUSPENDED, Fate.FULL]


def test_what_is_too_far_ahead_or_too_old_is_not_kept() -> None:
    dag = fresh(gc_depth=3)
    assert offer(dag, ROUNDS[3][0], ROUNDS[4][0]) == [Fate.SUSPENDED, Fate.FAR]
    dag.collect(Round(2))
    assert offer(dag, ROUNDS[2][0], ROUNDS[3][0]) == [Fate.OLD, Fate.KNOWN]
    assert dag.highest == 3  # its ancestors need not come any more


def test_two_blocks_of_a_round_are_seen_whatever_becomes_of_the_second() -> None:
    second = {}
    for fate in (Fate.ACCEPTED, Fate.SUSPENDED, Fate.OLD):
        core = core_of(FORGE.genesis)
        for vertex in [one for round_ in ROUNDS[1:4] for one in round_]:
            core.offer(vertex, SENDER, START)
        core.dag.collect(Round(2 if fate is Fate.OLD else 0))
        lacking = FORGE.block(1, 3, ROUNDS[0], (b"nobody has it",))
        links = [lacking, *ROUNDS[1][:3]] if fate is Fate.SUSPENDED else ROUNDS[1]
        second[fate] = FORGE.block(2, 3, links, (b"again",))
        assert core.offer(second[fate], SENDER, START).fate is fate
        assert core.watch.twins == {3: (ROUNDS[2][3], second[fate])}


def test_a_link_that_lies_about_its_block_is_never_satisfied_before_gc_passes_it() -> None:
    dag = filled(5)
    truth = ROUNDS[4][2].reference
    lie = Reference(Round(5), truth.author, truth.digest)
    liar = FORGE.block(6, 0, [ROUNDS[5][0], ROUNDS[5][1], lie, ROUNDS[5][3]])
    assert offer(dag, liar) == [Fate.SUSPENDED]
    assert wanted(dag) == []  # nobody could help
    assert dag.collect(Round(4)) == []
    assert dag.collect(Round(5)) == [liar]


def test_wanted_blocks_are_asked_of_the_sender_then_of_others_ever_less_often() -> None:
    dag, fetch = filled(2), Fetch()
    missing = dag.offer(ROUNDS[4][0], SENDER, START).missing
    peers = [NodeId(bytes([number]) * 32) for number in range(1, 4)]
    asked = [send.peer for send in fetch.want(missing, SENDER, START)]
    assert asked == [SENDER]
    assert fetch.want(missing, peers[0], START) == []
    now, moments = START, []
    for _ in range(400):
        now = after(now, RETRY_FIRST)
        sends = fetch.step(dag, peers, now)
        if sends:
            moments.append((now - START) // RETRY_FIRST)
            assert {send.peer for send in sends} <= set(peers)
    assert moments[:6] == [1, 3, 7, 15, 31, 63]
    offer(dag, *ROUNDS[3])
    fetch.step(dag, peers, after(now, seconds(60)))
    assert len(fetch) == 0


def test_only_so_much_is_wanted_at_once() -> None:
    fetch = Fetch()
    links = [
        Reference(Round(9), 0, Digest(number.to_bytes(32))) for number in range(WANTED_MAX + 1)
    ]
    sends = fetch.want(links, SENDER, START)
    assert len(fetch) == WANTED_MAX
    sizes = []
    for send in sends:
        message = read_message(send.payload)
        assert isinstance(message, AskBlocks)
        sizes.append(len(message.references))
    assert set(sizes) == {REFERENCES_MAX}
    assert sum(sizes) == WANTED_MAX
    assert fetch.want(links, SENDER, START) == []


TOP = 70


class EdgeOfMemory:
    """C4: a certificate that one node alone got, then blocks that lean on its later gc_round.

    Member `x` leads round TOP. Its commit needs a certificate of the liar, which only x is given,
    after its own block of TOP + 3. So only x moves gc_round on, and only x can accept the liar's
    chain, whose first block links to a block of that round that does not exist. Then x's next block
    links to the chain: all others must wait, and without x there is no quorum.
    """

    def __init__(self) -> None:
        self.forge = Forge()
        self.x = core_of(self.forge.genesis)
        self._leader = self.x.rules.committee.leader(Round(TOP))
        self._liar = (self._leader + 1) % 4
        self._made = self.forge.rounds(TOP)
        self.open = [one for blocks in self._made[1:] for one in blocks]
        second, third = self._split_votes()
        self.peer = self.forge.keys[self._leader].node_id
        self._tell_x([*self.open, self.certificate])
        self.edge = self.x.dag.gc_round
        chain = self._chain(second)
        self.last = self.forge.block(TOP + 4, self._leader, [*third, chain[-1]])
        self._tell_x([*chain, self.last])

    def _split_votes(self) -> tuple[list[Vertex], list[Vertex]]:
        """Three rounds after which the leader is decided by the certificate alone."""
        block, last = self.forge.block, self._made[TOP]
        x, liar, y, z = ((self._leader + step) % 4 for step in range(4))
        others = [one for one in last if one.author != x]
        first = [block(TOP + 1, author, others if author == y else last) for author in range(4)]
        seen = [one for one in first if one.author != liar]
        second = [block(TOP + 2, author, seen if author == y else first) for author in (x, y, z)]
        third = [block(TOP + 3, author, second) for author in (x, y, z)]
        self.certificate = block(TOP + 2, liar, [first[liar], first[x], first[z]])
        self.open += [*first, *second, *third]
        return second, third

    def _chain(self, second: list[Vertex]) -> list[Vertex]:
        """The liar's other chain, from nothing at x's gc_round to the present."""
        chain: list[Vertex] = []
        own: Vertex | Reference = Reference(self.edge, self._liar, RANDOM)
        for round_ in (self.edge + 20, self.edge + 40, self.edge + 60):
            honest = [one for one in self._made[round_ - 1] if one.author != self._liar]
            own = self.forge.block(round_, self._liar, [own, *honest])
            chain.append(own)
        return [*chain, self.forge.block(TOP + 3, self._liar, [own, *second])]

    def _tell_x(self, blocks: list[Vertex]) -> None:
        for block in blocks:
            assert self.x.offer(block, SENDER, START).fate is Fate.ACCEPTED
        while self.x.next_commit(RANDOM):
            pass

    def answer(self, payload: bytes, *, ranges: bool) -> list[Received]:
        """What x replies to the others' questions."""
        match read_message(payload):
            case AskBlocks() as question:
                return [Received(self.peer, encode(answer_blocks([self.x.dag], question)))]
            case AskRange() as question if ranges:
                return [Received(self.peer, encode(answer_range(self.x.dag, question)))]
            case _:
                return []


def played(story: EdgeOfMemory, *, ranges: bool) -> int:
    """Commits of an honest node that is told all but the liar's secrets, after half a minute."""
    executor, now = FakeExecutor(), START
    node = Replica(story.forge.genesis, Identity(key(99)), executor, [])
    events: list[Received | Tick | PeerUp] = [PeerUp(story.peer)]
    events += [
        Received(story.peer, encode(BlockMessage(encoded(block))))
        for block in [*story.open, story.last]
    ]
    for _ in range(300):
        effects = [effect for event in events for effect in node.step(event, now)]
        assert not [effect for effect in effects if isinstance(effect, Blame)]
        sends = [effect for effect in effects if isinstance(effect, Send)]
        events = [Tick()]
        events += [it for send in sends for it in story.answer(send.payload, ranges=ranges)]
        now = after(now, seconds(0.1))
    return len(executor.commits)


def test_one_liar_with_a_late_certificate_and_a_link_to_nothing_halts_nobody() -> None:
    story = EdgeOfMemory()
    assert story.x.height >= TOP
    # By name alone the certificate is never found: no block links to it.
    assert played(story, ranges=False) == TOP - 1
    assert played(story, ranges=True) == story.x.height

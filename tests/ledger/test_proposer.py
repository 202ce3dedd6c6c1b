"""When blocks are made, and to what they link."""

import pytest

from dpin.base.ids import NodeId, Round
from dpin.base.units import NEVER, Instant
from dpin.ledger.beacon import Chain, OwnChain
from dpin.ledger.blocks import Vertex, check_block
from dpin.ledger.core import Core
from dpin.ledger.proposer import Author, Content, Need, Proposer
from tests.support.cluster import START
from tests.support.forge import Forge, core_of

FORGE = Forge()
SENDER = NodeId(bytes(32))
NOTHING = Need(queued=0, unfinished=False, deadlines=False)
WORK = Need(queued=1, unfinished=False, deadlines=False)
BUSY = Need(queued=100, unfinished=False, deadlines=False)
TIME = Need(queued=0, unfinished=False, deadlines=True)


def member(index: int) -> tuple[Core, Proposer]:
    core = core_of(FORGE.genesis)
    author = Author(index, FORGE.keys[index], OwnChain(Chain(), bytes(64 * 1024)))
    proposer = Proposer(core.rules, core.dag, author)
    proposer.observe(START)
    return core, proposer


def offer(core: Core, *blocks: Vertex) -> None:
    for block in blocks:
        core.offer(block, SENDER, START)


def leader(round_: int) -> int:
    return core_of(FORGE.genesis).rules.committee.leader(Round(round_))


def test_nothing_is_made_while_nothing_is_of_use() -> None:
    core, proposer = member(0)
    assert proposer.when(NOTHING) == NEVER
    assert proposer.when(WORK) <= START
    offer(core, FORGE.rounds(1)[1][2])
    proposer.observe(START)
    assert proposer.when(NOTHING) <= START  # somebody else has begun the round


def test_rounds_keep_their_pace() -> None:
    core, proposer = member(0)
    made = FORGE.rounds(1)[1]
    own = proposer.make(Content(), START)
    assert proposer.when(WORK) == NEVER  # one block a round
    offer(core, own, *made[1:])
    proposer.observe(START)
    assert proposer.when(WORK) == START + 8_000
    assert proposer.when(BUSY) == START + 50_000
    assert proposer.when(TIME) == START + 1_000_000
    assert proposer.when(NOTHING) == NEVER


def test_an_absent_leader_is_awaited_then_not_then_not_at_all() -> None:
    absent = leader(2)
    me = (absent + 1) % 4
    core, proposer = member(me)
    rounds = FORGE.rounds(1)
    offer(core, *rounds[1])
    last = rounds[1]
    for number in range(2, 9):
        present = [author for author in range(4) if author != absent]
        last = [FORGE.block(number, author, last) for author in present]
        offer(core, *last)
        now = Instant(START + number * 1_000_000)
        proposer.observe(now)
        awaited = leader(number) == absent and number <= 1 + 3
        assert proposer.when(BUSY) == (now + 250_000 if awaited else 50_000), number


def test_a_leader_that_came_too_late_for_its_round_and_has_gone_on_is_not_awaited() -> None:
    late = leader(2)
    core, proposer = member((late + 1) % 4)
    first = FORGE.rounds(1)[1]
    second = [FORGE.block(2, author, first) for author in range(4) if author != late]
    offer(core, *first, *second)
    proposer.observe(START)
    assert proposer.when(WORK) == START + 250_000
    offer(core, FORGE.block(3, late, [*second, first[late]]))
    proposer.observe(START)
    assert proposer.when(WORK) <= START


def test_a_clock_set_back_postpones_nothing() -> None:
    core, proposer = member(0)
    offer(core, proposer.make(Content(), START), *FORGE.rounds(1)[1][1:])
    back = Instant(START - 3_600_000_000)
    proposer.observe(back)
    assert proposer.when(WORK) <= back + 250_000


def test_blocks_link_to_the_newest_of_everybody_and_are_valid() -> None:
    core, proposer = member(1)
    rounds = FORGE.rounds(5)
    for blocks in rounds[1:4]:
        offer(core, *blocks)
    lagging = [FORGE.block(4, author, rounds[3]) for author in (0, 1, 2)]
    offer(core, *lagging)
    proposer.restore(lagging[1])
    proposer.observe(START)
    made = proposer.make(Content((b"payload",)), START)
    check_block(made, core.rules)
    links = [(link.author, link.round) for link in made.block.header.ancestors]
    assert links == [(1, 4), (0, 4), (2, 4), (3, 3)]


def test_proven_equivocators_are_linked_to_only_for_a_quorum() -> None:
    core, proposer = member(1)
    rounds = FORGE.rounds(1)
    twin = FORGE.block(1, 3, FORGE.roots, (b"twin",))
    own = proposer.make(Content(), START)
    offer(core, own, rounds[1][0], rounds[1][3], twin)
    assert core.dag.equivocators == {3}
    proposer.observe(START)
    needed = proposer.make(Content(), START)
    direct = [link.author for link in needed.block.header.ancestors if link.round == 1]
    assert direct == [1, 0, 3]

    core, proposer = member(1)
    own = proposer.make(Content(), START)
    offer(core, own, rounds[1][0], rounds[1][2], rounds[1][3], twin)
    proposer.observe(START)
    shunning = proposer.make(Content(), START)
    assert [link.author for link in shunning.block.header.ancestors] == [1, 0, 2]


def test_a_leader_reveals_and_nobody_else() -> None:
    for author in range(4):
        _, proposer = member(author)
        revealed = any(proposer.make(Content(), START).block.header.reveal)
        assert revealed == (leader(1) == author)


def test_a_second_block_of_a_round_is_a_broken_invariant() -> None:
    _, proposer = member(0)
    proposer.make(Content(), START)
    with pytest.raises(AssertionError, match="never two blocks"):
        proposer.make(Content(), START)

"""What the reference implementation's tests of its committers try, in our words: 4 and 20 members.

Source: asonnino/mysticeti, the scenarios of its base, multi-leader and byzantine committer tests.
"""

from collections.abc import Callable, Iterable, Sequence

import pytest

from dpin.base.ids import Round
from dpin.ledger.blocks import Vertex
from dpin.ledger.commit import CommitRule, Decision, Status, before_all, decided
from tests.support.dags import Dag, committee_of, vertex

CASES = [(4, 1), (4, 2), (4, 4), (20, 1), (20, 2), (20, 14), (20, 20)]  # members, leaders a round

Links = Callable[[int], Sequence[Vertex]]


class World:
    """A DAG that is drawn round by round; the leaders of a round are its author and those after."""

    def __init__(self, members: int, leaders: int) -> None:
        self.committee = committee_of([1] * members)
        self.members, self.leaders = range(members), leaders
        self.quorum = self.committee.quorum
        self.faulty = members - self.quorum
        self.dag = Dag(vertex(0, author, ()) for author in self.members)
        self.rule = CommitRule(
            self.committee, lambda round_: [(round_ + rank) % members for rank in range(leaders)]
        )

    def add(self, number: int, links: Links, authors: Iterable[int] | None = None) -> None:
        """A round in which these authors link to that."""
        chosen = self.members if authors is None else authors
        for made in [vertex(number, author, links(author)) for author in chosen]:
            self.dag.add(made)

    def full(self, first: int, last: int) -> None:
        """Rounds in which everybody links to everybody."""
        for number in range(first, last + 1):
            before = list(self.dag.at(Round(number - 1)))
            for made in [vertex(number, author, before) for author in self.members]:
                self.dag.add(made)

    def leader(self, number: int) -> Vertex:
        """The block of a round's first leader."""
        [block] = self.dag.slot(Round(number), number % len(self.members))
        return block

    def others(self, number: int, without: Vertex) -> list[Vertex]:
        """The blocks of a round but for one."""
        return [block for block in self.dag.at(Round(number)) if block is not without]

    def decisions(self) -> list[Decision]:
        return self.rule.decide(self.dag, before_all(Round(0)))

    def first(self) -> Decision:
        """What became of the first slot."""
        return self.decisions()[0]

    def vote(self, voters: int) -> None:
        """Round 2, in which so many vote for the leader of round 1 and all others do not."""
        leader = self.leader(1)
        everybody, without = list(self.dag.at(Round(1))), self.others(1, leader)
        self.add(2, lambda author: everybody if author < voters else without)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} members, {case[1]} leaders")
def world(request: pytest.FixtureRequest) -> World:
    members, leaders = request.param
    return World(members, leaders)


def test_direct_commit(world: World) -> None:
    world.full(1, 3)
    found = decided(world.decisions())
    assert [(one.slot.round, one.status) for one in found] == [(1, Status.COMMIT)] * world.leaders
    assert found[0].block is world.leader(1)


def test_idempotence(world: World) -> None:
    world.full(1, 5)
    found = decided(world.decisions())
    assert decided(world.rule.decide(world.dag, found[-1].slot)) == []
    assert decided(world.decisions()) == found


def test_several_direct_commits_one_after_the_other(world: World) -> None:
    last = before_all(Round(0))
    world.full(1, 2)
    for number in range(1, 8):
        world.full(number + 2, number + 2)
        found = decided(world.rule.decide(world.dag, last))
        assert [one.slot.round for one in found] == [number] * world.leaders
        assert {one.status for one in found} == {Status.COMMIT}
        last = found[-1].slot


def test_direct_commits_found_by_a_late_call(world: World) -> None:
    world.full(1, 12)
    found = decided(world.decisions())
    assert [one.slot for one in found] == sorted(one.slot for one in found)
    assert len(found) == 10 * world.leaders
    assert {one.status for one in found} == {Status.COMMIT}


def test_nothing_commits_before_a_wave_is_whole(world: World) -> None:
    for number in (1, 2):
        world.full(number, number)
        assert decided(world.decisions()) == []
    before = list(world.dag.at(Round(2)))
    world.add(3, lambda _author: before, range(world.quorum - 1))  # one certificate too few
    assert world.first().status is Status.UNDECIDED


def test_a_leader_without_a_block_is_skipped(world: World) -> None:
    genesis = list(world.dag.at(Round(0)))
    world.add(1, lambda _author: genesis, [author for author in world.members if author != 1])
    world.full(2, 3)
    assert (world.first().author, world.first().status) == (1, Status.SKIP)
    more = [one for one in world.decisions() if one.slot.round == 1][1:]
    assert {one.status for one in more} <= {Status.COMMIT}


def test_direct_skip(world: World) -> None:
    world.full(1, 1)
    world.vote(world.faulty)
    assert world.first().status is Status.SKIP  # A quorum has not voted for it.
    world.full(3, 8)
    assert world.first().status is Status.SKIP


def test_indirect_commit_by_an_anchor_that_reaches_one_certificate(world: World) -> None:
    world.full(1, 1)
    world.vote(world.quorum)
    votes = list(world.dag.at(Round(2)))
    few = votes[world.quorum :] + votes[: world.quorum - world.faulty]  # a quorum of blocks
    assert len(few) == world.quorum
    sure = world.faulty + 1
    world.add(3, lambda author: votes if author < sure else few)
    for last in (4, 5):
        world.full(last, last)
        assert world.first().status is Status.UNDECIDED  # Its anchor is so, too.
    world.full(6, 6)
    assert (world.first().status, world.first().block) == (Status.COMMIT, world.leader(1))


def test_indirect_skip_where_no_certificate_can_be(world: World) -> None:
    world.full(1, 1)
    world.vote(world.faulty + 1)
    world.full(3, 5)
    assert world.first().status is Status.UNDECIDED
    assert decided(world.decisions()) == []  # Whatever is decided above waits for it.
    world.full(6, 6)
    assert world.first().status is Status.SKIP
    assert decided(world.decisions())[-1].slot.round == 4


@pytest.mark.parametrize(("members", "leaders"), [(4, 1), (20, 1), (20, 6)])
def test_an_anchor_that_is_skipped_is_passed_over(members: int, leaders: int) -> None:
    world = World(members, leaders)
    world.full(1, 1)
    world.vote(world.faulty + 1)
    world.full(3, 3)
    before = list(world.dag.at(Round(3)))
    led = {(4 + rank) % len(world.members) for rank in range(world.leaders)}
    world.add(4, lambda _author: before, [one for one in world.members if one not in led])
    world.full(5, 7)
    assert {one.status for one in world.decisions() if one.slot.round == 4} == {Status.SKIP}
    assert world.first().status is Status.SKIP  # By an anchor of round 5.


def test_of_twins_the_one_with_a_quorum_of_votes_commits_and_only_that(world: World) -> None:
    world.full(1, 1)
    leader, genesis = world.leader(1), list(world.dag.at(Round(0)))
    twin = world.dag.add(vertex(1, leader.author, genesis, "twin"))
    rest = [block for block in world.others(1, leader) if block is not twin]
    world.add(2, lambda author: [*rest, leader if author < world.quorum else twin])
    world.full(3, 3)
    assert (world.first().status, world.first().block) == (Status.COMMIT, leader)


def test_of_twins_that_share_the_votes_none_commits(world: World) -> None:
    world.full(1, 1)
    leader, genesis = world.leader(1), list(world.dag.at(Round(0)))
    twin = world.dag.add(vertex(1, leader.author, genesis, "twin"))
    rest = [block for block in world.others(1, leader) if block is not twin]
    world.add(2, lambda author: [*rest, leader if author % 2 else twin])
    world.full(3, 6)
    assert world.first().status is Status.SKIP

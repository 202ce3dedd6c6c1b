"""How much of the mempool an author puts into a block: less while it cannot keep up."""

from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from dpin.base.ids import NodeId, Round
from dpin.base.units import Instant
from dpin.ledger.admission import Gate
from dpin.ledger.blocks import Vertex
from dpin.ledger.core import Core
from dpin.ledger.offload import Offload
from dpin.ledger.order import OrderedCommit
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.payload import FLOOR_BYTES, LAG_ROUNDS, UNSEEN_ROUNDS, Payload, Standing
from tests.support.cluster import START, Cluster
from tests.support.forge import Forge, core_of

FORGE = Forge()
CEILING = DEVELOPMENT.consensus.block_bytes_max
ROUNDS = FORGE.rounds(LAG_ROUNDS + 4)
FULL = tuple(bytes([number]) * 4_000 for number in range(120))


def grown(rounds: int, silent: int | None = None) -> Core:
    """A DAG of whole rounds; nobody links to `silent`."""
    core = core_of(FORGE.genesis)
    last = FORGE.roots
    for number in range(1, rounds + 1):
        if silent is None:
            last = ROUNDS[number]
        else:
            heard = [one for one in last if one.author != silent]
            last = [
                FORGE.block(number, author, [*heard, *own(last, author, silent)])
                for author in range(4)
            ]
        for block in last:
            core.offer(block, NodeId(bytes(32)), START)
    return core


def own(last: list[Vertex], author: int, silent: int) -> list[Vertex]:
    """The silent one alone links to its own blocks."""
    return [one for one in last if one.author == author == silent]


def after_rounds(core: Core, at: Instant = START) -> Standing:
    last = core.dag.slot(core.dag.highest, 0)[0]
    return Standing(last, Round(core.dag.highest - 3), at)


def test_a_validator_that_keeps_up_fills_its_blocks() -> None:
    core = grown(8)
    payload = Payload(core.rules.consensus, core.dag)
    assert [payload.next(after_rounds(core)) for _ in range(3)] == [CEILING] * 3


def test_execution_that_lags_halves_the_payload_and_it_comes_back_by_tenths() -> None:
    core = grown(LAG_ROUNDS + 4)
    payload = Payload(core.rules.consensus, core.dag)
    late = Standing(core.dag.slot(Round(24), 0)[0], Round(core.dag.highest - LAG_ROUNDS - 1), START)
    assert [payload.next(late) for _ in range(5)] == [
        CEILING // 2,
        CEILING // 4,
        CEILING // 8,
        FLOOR_BYTES,
        FLOOR_BYTES,
    ]
    assert payload.next(after_rounds(core)) == FLOOR_BYTES * 11 // 10
    for _ in range(40):
        payload.next(after_rounds(core))
    assert payload.bytes_max == CEILING


def test_blocks_that_nobody_links_to_become_smaller() -> None:
    core = grown(UNSEEN_ROUNDS + 1, silent=0)
    payload = Payload(core.rules.consensus, core.dag)
    assert payload.next(after_rounds(core)) == CEILING // 2
    other = Standing(core.dag.slot(core.dag.highest, 1)[0], Round(3), START)
    assert Payload(core.rules.consensus, core.dag).next(other) == CEILING


def test_a_full_block_after_which_the_next_is_late_was_too_much_and_an_empty_one_was_not() -> None:
    for body, limit in ((FULL, CEILING // 2), ((), CEILING)):
        core = grown(2)
        block = FORGE.block(3, 0, ROUNDS[2], body)
        core.offer(block, NodeId(bytes(32)), START)
        payload = Payload(core.rules.consensus, core.dag)
        payload.next(after_rounds(core))
        late = Instant(START + 1_000 * DEVELOPMENT.consensus.leader_timeout_ms + 1)
        assert payload.next(Standing(block, Round(1), late)) == limit


def test_the_only_validator_has_nobody_who_could_link_to_it() -> None:
    forge = Forge(1)
    core = core_of(forge.genesis)
    for made in forge.rounds(9)[1:]:
        core.offer(made[0], NodeId(bytes(32)), START)
    payload = Payload(core.rules.consensus, core.dag)
    assert payload.next(after_rounds(core)) == CEILING


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2_000_000)), max_size=40))
def test_the_limit_stays_between_floor_and_ceiling(rounds: list[tuple[int, int]]) -> None:
    core = SHARED
    payload, now = Payload(core.rules.consensus, core.dag), START
    last = core.dag.slot(core.dag.highest, 0)[0]
    for lag, wait in rounds:
        now = Instant(now + wait)
        limit = payload.next(Standing(last, Round(core.dag.highest - lag), now))
        assert FLOOR_BYTES <= limit <= CEILING


SHARED = grown(8)


class Stuck(Offload):
    """Workers that have not come to any transaction yet."""

    @override
    def ready(self, commit: OrderedCommit) -> bool:
        return not commit.transactions


def limit(cluster: Cluster, number: int) -> int:
    role = cluster.replica(number).engine.member.role
    assert role is not None
    return role._payload.bytes_max


def test_whoever_checks_signatures_too_slowly_puts_less_into_its_blocks() -> None:
    """No rate is measured: a commit waits for its signatures, and execution lags."""
    cluster = Cluster(4)
    cluster.deadlines = True
    cluster.start()
    slow = cluster.replica(3)
    slow.engine.offload = Stuck(Gate(slow.chain), 1)
    cluster.submit(1, 1)
    cluster.run(20)
    assert slow.engine.core.dag.highest > LAG_ROUNDS + 4
    assert limit(cluster, 3) == FLOOR_BYTES
    assert limit(cluster, 0) == CEILING

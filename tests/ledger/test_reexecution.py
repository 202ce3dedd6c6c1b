"""A ledger is executed again in memory that does not grow with it."""

from collections.abc import Sequence

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.ids import Digest, NodeId
from dpin.base.units import MicroTokens
from dpin.ledger import reexecution
from dpin.ledger.annals import FOREIGN, OWN, Record
from dpin.ledger.blocks import read_block
from dpin.ledger.core import Core, first_opening
from dpin.ledger.dag import count
from dpin.ledger.genesis import chain_id
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.reexecution import Difference, Reexecution
from dpin.ledger.transactions import Transfer
from dpin.ledger.wishes import Wish
from dpin.node.ownrecords import Owner
from tests.support.alone import Alone
from tests.support.ledger_logs import logs

LEAVES = 20
EVERY = 8


def blocks(records: Sequence[bytes]) -> list[bytes]:
    logged = (decode(Record, record) for record in records)
    return [record.body for record in logged if record.kind in {OWN, FOREIGN}]


def test_memory_does_not_grow_with_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """One validator and a payment a block: rounds go by as fast as they can."""
    monkeypatch.setattr(reexecution, "LEAVES_KEPT", LEAVES)
    monkeypatch.setattr(reexecution, "PRUNED_EVERY", EVERY)
    node = Alone()
    for number in range(120):
        node.step(Wish(f"pay {number}", Transfer(NodeId(bytes(32)), MicroTokens(1), b"")))
        node.wait(0.1)
    own = [record[1:] for record in node.records if record[0] == Owner.LEDGER]
    again, most, before = Reexecution(node.genesis), 0, 0
    for number, block in enumerate(blocks(own)):
        for _ in again.take(block):
            pass
        most = max(most, again.kept)
        if number == len(own) // 2:
            before = most
    assert again.blocks > 200
    bound = DEVELOPMENT.consensus.gc_depth + LEAVES + 4 * EVERY
    assert most == before < bound < again.blocks
    assert again.height == node.peer.state.height
    receipts = node.peer.executor.receipts
    assert (len(again.executor.receipts), again.executor.receipts.root) == (
        len(receipts),
        receipts.root,
    )


def test_a_log_that_a_state_began_is_said_not_to_begin_at_genesis() -> None:
    node = Alone()
    node.wait(1)
    [first, *_] = blocks([record[1:] for record in node.records if record[0] == Owner.LEDGER])
    vertex = read_block(first)
    header = msgspec.structs.replace(vertex.block.header, epoch=3)
    joined = encode(msgspec.structs.replace(vertex.block, header=header))
    with pytest.raises(Difference, match=r"is of epoch 3: .* does not begin at genesis") as caught:
        list(Reexecution(node.genesis).take(joined))
    assert "ledger.archive = true" in caught.value.fix


def test_what_is_forgotten_changes_no_commit() -> None:
    """Four validators; one reader forgets all that it may after every block, the other nothing."""
    found = logs(12, 8)
    opening = first_opening(found.genesis)
    chain, consensus = chain_id(found.genesis), found.genesis.params.consensus
    keeping, forgetting = Core(chain, consensus, opening), Core(chain, consensus, opening)
    mix, commits = Digest(bytes(32)), 0
    for data in blocks(found.records[1]):
        for core in (keeping, forgetting):
            core.restore(read_block(data))
        while (one := keeping.next_commit(mix)) is not None:
            other = forgetting.next_commit(mix)
            assert other is not None
            assert one.commit == other.commit
            commits += 1
        assert forgetting.next_commit(mix) is None
        forgetting.prune()
    assert commits > 50
    assert count(forgetting.dag) < count(keeping.dag)

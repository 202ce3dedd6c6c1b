"""Whatever is asked, by whomever: an answer, and never an exception."""

from typing import get_args, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.base.codec import Wire
from dpin.base.ids import BlobId, Digest, JobId, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.offences import SignedCheckpoint, SignedHeader
from dpin.ledger.reasons import Reason
from dpin.ledger.transactions import (
    TRANSACTION_BYTES_MAX,
    Bid,
    LeafPath,
    Operation,
    SignedBid,
)
from tests.support.ledgers import (
    START,
    Ledger,
    exchange,
    finish,
    key_of,
    lease_of,
    peopled,
    running,
    work,
)

WORDS = {reason.word for reason in Reason}


def build() -> Ledger:
    """A ledger with a unit in the middle of its round and one that is seated."""
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann", rounds=3)
    finish(ledger, job, "ann")
    exchange(ledger, job, "ann")
    ledger.wait(1)
    return ledger


LEDGER = build()
[JOB] = LEDGER.state.jobs
LEASE = lease_of(LEDGER, JOB, "ann").id
DONE = work(LEDGER, key_of(LEDGER, JOB, "ann"))

ids = st.sampled_from([JOB, LEASE, START, *LEDGER.state.accounts]) | st.binary(max_size=40)
integers = st.sampled_from([-(2**63), -1, 0, 1, 2, 4, 40, 10**6, 2**63 - 1, 2**64 - 1])
paths = st.sampled_from([DONE.opened(0), DONE.opened(1)]) | st.builds(
    LeafPath, st.binary(max_size=300), st.lists(ids, max_size=6).map(tuple)
)
bids = st.builds(
    SignedBid,
    st.builds(Bid, job=ids, provider=ids, price=integers, until=integers),
    st.binary(max_size=64),
)
BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    int: integers,
    Round: integers,
    MicroTokens: integers,
    bool: st.booleans(),
    str: st.text(max_size=70),
    bytes: ids,
    BlobId: ids,
    Digest: ids,
    JobId: ids,
    NodeId: ids,
    LeafPath: paths,
    tuple[SignedBid, ...]: st.lists(bids, max_size=6).map(tuple),
    tuple[Digest, ...]: st.lists(ids, max_size=6).map(tuple),
    SignedHeader: st.builds(SignedHeader, ids, ids),
    Checkpoint: st.builds(
        Checkpoint, integers, integers, integers, ids, ids, integers, ids, ids, ids
    ),
}


def anything(kind: type[Wire]) -> st.SearchStrategy[object]:
    fields = get_type_hints(kind)
    return st.builds(kind, **{name: BY_TYPE[fields[name]] for name in kind.__struct_fields__})


BY_TYPE[SignedCheckpoint] = anything(SignedCheckpoint)
operations = st.one_of([anything(kind) for kind in get_args(Operation)])


@settings(max_examples=400)
@given(who=st.sampled_from(["req", "ann", "bob", "cat"]), operation=operations)
def test_any_operation_by_anybody_has_an_answer(who: str, operation: Operation) -> None:
    data = LEDGER.signed(who, operation)
    receipts = LEDGER.commit(data).receipts
    if len(data) <= TRANSACTION_BYTES_MAX:
        assert receipts[0].detail in WORDS
    else:
        assert not receipts

"""A node that begins with the state it wrote down goes on as if it had never stopped."""

from dpin.ledger.execute import Executor
from dpin.ledger.keeper import Keeper
from dpin.ledger.statemessages import AskState
from tests.ledger.test_parts import busy


def test_a_state_that_was_written_down_is_there_again() -> None:
    ledger = busy()
    keeper = Keeper(ledger.executor)
    records = list(keeper.pieces())
    again = Executor(ledger.genesis)
    other = Keeper(again)
    assert [other.read(record) for record in records] == [*(len(records) - 1) * [False], True]
    assert again.state == ledger.state
    assert list(again.receipts) == list(ledger.executor.receipts)
    name = ledger.executor.frozen.states[-1].name
    assert other.answer(AskState(name)) == keeper.answer(AskState(name))
    assert next(iter(other.pieces())) == records[0]
    ledger.twins = [again]
    ledger.wait(60)
    assert ledger.joined > 2


def test_a_state_can_be_read_twice() -> None:
    ledger = busy()
    keeper = Keeper(Executor(ledger.genesis))
    records = list(Keeper(ledger.executor).pieces())
    for _ in range(2):
        assert [keeper.read(record) for record in records][-1]

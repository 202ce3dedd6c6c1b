"""What `dpin validator` asks of the ledger, and what it says where the ledger would refuse."""

import msgspec
import pytest

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse
from dpin.base.units import MicroTokens, format_tokens
from dpin.ledger.beacon import Chain, OwnChain
from dpin.ledger.candidacy import (
    BondValidator,
    RegisterValidator,
    RetireValidator,
    WithdrawBond,
)
from dpin.ledger.chains import OwnChains
from dpin.ledger.standing import Validator
from dpin.ledger.wishes import Outcome, Wish
from dpin.node.control import ValidatorRequest
from dpin.node.validating import operations_of, validators_of
from dpin.sim.ledgers import short_table
from tests.support.alone import Alone

TABLE = short_table(bytes(32))


@pytest.fixture
def node() -> Alone:
    """A founder that runs alone."""
    made = Alone()
    made.peer.identity.chains.add(0, TABLE)
    made.wait(1)
    return made


def asked(node: Alone, action: str, amount: str = "") -> list[object]:
    request = msgspec.convert({"action": action, "amount": amount}, ValidatorRequest)
    return [*operations_of(request, node.peer, 7)]


def own(node: Alone) -> Validator:
    return node.peer.state.validators[node.key.node_id]


def test_a_newcomer_bonds_what_is_wanting_and_registers_its_chain_from_now_on(
    node: Alone,
) -> None:
    least = node.peer.params.validator_bond_min
    own(node).bond = MicroTokens(least - 5)
    [bond, register] = asked(node, "register")
    assert bond == BondValidator(MicroTokens(5))
    assert isinstance(register, RegisterValidator)
    assert register.signer == node.key.node_id
    assert register.anchor == OwnChain(Chain(), TABLE).at(register.anchor_round)
    assert register.anchor_round == 7
    own(node).bond, own(node).retired = least, True
    [again] = asked(node, "register")
    assert again == register


def test_who_has_a_seat_and_goes_on_with_it_registers_nothing_anew(node: Alone) -> None:
    with pytest.raises(Misuse, match="has a seat already") as caught:
        asked(node, "register")
    assert "dpin validator bond" in caught.value.fix
    assert asked(node, "register", "2") == [BondValidator(MicroTokens(2_000_000))]
    node.peer.identity.hold(SigningKey(bytes([9]) * 32))  # It lost the key of its seat.
    [register] = asked(node, "register")
    assert isinstance(register, RegisterValidator)


def test_what_it_asks_for_is_what_the_ledger_does(node: Alone) -> None:
    for action, amount in [("bond", "2"), ("retire", ""), ("register", ""), ("retire", "")]:
        first, *more = operations_of(
            msgspec.convert({"action": action, "amount": amount}, ValidatorRequest),
            node.peer,
            7,
        )
        effects = [*node.step(Wish(action, first, tuple(more))), *node.wait(1)]
        outcomes = [effect for effect in effects if isinstance(effect, Outcome)]
        assert [(one.key, one.detail) for one in outcomes] == [(action, "ok")]
    assert own(node).bond == node.peer.params.validator_bond_min + 2_000_000
    assert own(node).retired


def test_a_bond_is_of_tokens_that_are_there(node: Alone) -> None:
    assert asked(node, "bond", "1.5") == [BondValidator(MicroTokens(1_500_000))]
    with pytest.raises(Misuse, match="say how many"):
        asked(node, "bond")
    with pytest.raises(Misuse, match="this node has"):
        asked(node, "bond", "999999")
    own(node).bond = MicroTokens(0)
    least = format_tokens(node.peer.params.validator_bond_min)
    with pytest.raises(Misuse, match=f"wants {least} more"):
        asked(node, "register", "1")


def test_nobody_retires_who_is_not_registered(node: Alone) -> None:
    assert asked(node, "retire") == [RetireValidator()]
    own(node).retired = True
    with pytest.raises(Misuse, match="not registered"):
        asked(node, "retire")


def test_a_bond_is_withdrawn_when_its_time_has_come(node: Alone) -> None:
    with pytest.raises(Misuse, match="is a validator"):
        asked(node, "withdraw")
    own(node).retired = True
    with pytest.raises(Misuse, match="until epoch 3; now is 0"):
        asked(node, "withdraw")
    own(node).last_epoch = -1
    assert asked(node, "withdraw") == [WithdrawBond()]
    own(node).jailed_until = 9
    with pytest.raises(Misuse, match="until epoch 9"):
        asked(node, "withdraw")
    del node.peer.state.validators[node.key.node_id]
    with pytest.raises(Misuse, match="no validator bond"):
        asked(node, "withdraw")


def test_without_a_chain_of_reveals_nobody_registers(node: Alone) -> None:
    request = ValidatorRequest(action="register")
    with pytest.raises(Misuse, match="chain of reveals"):
        operations_of(request, node.peer, Chain().length)
    node.peer.identity.chains = OwnChains()
    with pytest.raises(Misuse, match="chain of reveals"):
        operations_of(request, node.peer, 7)


def test_a_key_is_changed_by_who_is_registered(node: Alone) -> None:
    node.peer.identity.hold(SigningKey(bytes([9]) * 32))
    [register] = asked(node, "rotate-key")
    assert isinstance(register, RegisterValidator)
    assert register.signer == node.peer.identity.newest.node_id != node.key.node_id
    own(node).retired = True
    with pytest.raises(Misuse, match="not registered"):
        asked(node, "rotate-key")


def test_all_validators_are_shown_members_first(node: Alone) -> None:
    rich = node.key.node_id[::-1]
    node.peer.state.validators[type(node.key.node_id)(rich)] = Validator(MicroTokens(10**9))
    view = validators_of(node.peer)
    assert view.epoch == 0
    assert view.epoch_ends_ms > 0
    assert [one.weight for one in view.validators] == [1, 0]
    assert [one.registered for one in view.validators] == [True, False]
    assert view.validators[0].free_from == 3
    assert view.validators[1].bond == 10**9

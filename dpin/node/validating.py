"""A node as a validator: what its commands ask of the ledger, and how all of them stand."""

from typing import Final

from dpin.base.errors import Misuse
from dpin.base.ids import NodeId, Round
from dpin.base.units import MicroTokens, format_tokens, parse_tokens
from dpin.ledger.accounts import Account, State
from dpin.ledger.candidacy import (
    BondValidator,
    RegisterValidator,
    RetireValidator,
    WithdrawBond,
)
from dpin.ledger.params import Params
from dpin.ledger.standing import Seated, Validator
from dpin.ledger.transactions import Operation
from dpin.ledger.views import name_of
from dpin.node.control import ValidatorRequest
from dpin.node.peer import Peer
from dpin.node.status import ValidatorsView, ValidatorView

REGISTER_FIX: Final = "dpin validator register"


def operations_of(request: ValidatorRequest, peer: Peer, round_: int) -> list[Operation]:
    """What goes to the ledger, together or not at all; raises Misuse for what it would refuse."""
    match request.action:
        case "bond":
            return [_bond(peer, _amount(request.amount))]
        case "register":
            return _register(request, peer, Round(round_))
        case "rotate-key":
            check_stands(peer)
            return [_registration(peer, Round(round_))]
        case "retire":
            check_stands(peer)
            return [RetireValidator()]
        case "withdraw":
            return [_withdraw(peer)]


def check_stands(peer: Peer) -> None:
    """Raises Misuse unless this node is registered."""
    if not _own(peer).stands:
        raise Misuse("this node is not registered as a validator", fix=REGISTER_FIX)


def _registration(peer: Peer, round_: Round) -> RegisterValidator:
    register = peer.identity.registration(peer.chain, round_)
    if register is None:
        raise Misuse("this node's chain of reveals is not there", fix="start it again")
    return register


def _own(peer: Peer) -> Validator:
    return peer.state.validators.get(peer.key.node_id, Validator())


def _amount(text: str) -> MicroTokens:
    if not text:
        raise Misuse("say how many tokens to bond", fix="dpin validator bond 100")
    amount = parse_tokens(text)
    if not amount:
        raise Misuse("0 tokens add nothing to the bond", fix="dpin validator bond 100")
    return amount


def _bond(peer: Peer, amount: MicroTokens) -> BondValidator:
    free = peer.state.accounts.get(peer.key.node_id, Account()).free
    if amount > free:
        raise Misuse(
            f"the bond takes {format_tokens(amount)}, this node has {format_tokens(free)} free",
            fix="have tokens sent to this node: dpin wallet",
        )
    return BondValidator(amount)


def _register(request: ValidatorRequest, peer: Peer, round_: Round) -> list[Operation]:
    """With what the bond lacks, or as much more as was asked for."""
    wanting = peer.params.validator_bond_min - _own(peer).bond
    register = _registration(peer, round_)
    if wanting <= 0 and _is_seated(peer, register):
        if request.amount:
            return [_bond(peer, _amount(request.amount))]
        raise Misuse(
            "this node has a seat already, and keeps it while its bond is among the largest",
            fix="see it: dpin validator status; add to the bond: dpin validator bond TOKENS",
        )
    amount = _amount(request.amount) if request.amount else MicroTokens(max(0, wanting))
    if amount < wanting:
        least = format_tokens(MicroTokens(wanting))
        raise Misuse(f"the bond wants {least} more at least", fix=f"{REGISTER_FIX} --bond {least}")
    return [_bond(peer, amount), register] if amount else [register]


def _is_seated(peer: Peer, register: RegisterValidator) -> bool:
    """Whether it signs already, with that key, and means to go on: there is nothing to register."""
    own, members = _own(peer), peer.state.term.committee.members
    seated = any(member.node == peer.key.node_id for member in members)
    return seated and own.stands and own.signer == register.signer


def _withdraw(peer: Peer) -> WithdrawBond:
    validator, state = _own(peer), peer.state
    if peer.key.node_id not in state.validators:
        raise Misuse("this node has no validator bond", fix=REGISTER_FIX)
    if validator.stands:
        raise Misuse("this node is a validator", fix="dpin validator retire, then wait")
    free_from = _free_from(validator, peer.params)
    if state.epoch < free_from:
        raise Misuse(
            f"evidence could still cost the bond until epoch {free_from}; now is {state.epoch}",
            fix="wait, and look: dpin validator status",
        )
    return WithdrawBond()


def _free_from(validator: Validator, params: Params) -> int:
    """The first epoch in which a retired validator may take its bond back."""
    seated = validator.last_epoch >= 0
    answered = validator.last_epoch + params.unbonding_epochs + 1 if seated else 0
    return max(answered, validator.jailed_until)


def validators_of(peer: Peer) -> ValidatorsView:
    """Everybody with a bond."""
    state, params = peer.state, peer.params
    views = [_view(state, params, node) for node in sorted(state.validators)]
    views.sort(key=lambda view: (-view.weight, -view.bond))
    left = state.term.opened_ms + params.epoch_ms - state.time
    return ValidatorsView(
        epoch=state.epoch,
        epoch_ends_ms=max(0, left),
        checkpoints=state.term.counted + len(state.term.noted),
        bond_min=params.validator_bond_min,
        validators=views,
    )


def _view(state: State, params: Params, node: NodeId) -> ValidatorView:
    validator, members = state.validators[node], state.term.committee.members
    nodes = [member.node for member in members]
    author = nodes.index(node) if node in nodes else None
    seated = Seated(Round(0), validator.anchor) if author is None else state.term.seated[author]
    newest = 0 if author is None else sum(x.cosigners >> author & 1 for x in state.term.noted)
    return ValidatorView(
        node_id=node.hex(),
        name=name_of(state, node),
        bond=validator.bond,
        weight=0 if author is None else members[author].weight,
        registered=validator.stands,
        ready=validator.ready_for > state.epoch,
        cosigned=seated.cosigned + newest,
        faults=validator.faults + seated.faults,
        jailed_until=validator.jailed_until,
        free_from=_free_from(validator, params),
    )

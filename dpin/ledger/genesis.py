"""The first fact of a network: who founded it, with what, under which rules."""

from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import Misuse
from dpin.base.ids import ChainId, Digest, NodeId
from dpin.base.units import MicroTokens
from dpin.ledger.params import Params

GENESIS_TAG: Final = "dpin/genesis/v1"
COMMITTEE_MIN: Final = 4  # S3: one validator, or at least four
COMMITTEE_MAX: Final = 31


class Founder(Wire, frozen=True):
    """A validator of the first committee; `anchor` ends its hash chain of reveals."""

    node: NodeId
    weight: int
    anchor: Digest
    grant: MicroTokens


class Genesis(Wire, frozen=True):
    """A network before its first block. Its digest is the network's id."""

    name: str
    created_ms: int
    founders: tuple[Founder, ...]  # ascending by node; index is the author index
    params: Params


def chain_id(genesis: Genesis) -> ChainId:
    """The network's id."""
    return ChainId(digest(GENESIS_TAG, encode(genesis)))


def found(name: str, created_ms: int, members: dict[NodeId, Digest], params: Params) -> Genesis:
    """A genesis with equal weights; raises Misuse for a committee that could not work."""
    if len(members) != 1 and not COMMITTEE_MIN <= len(members) <= COMMITTEE_MAX:
        raise Misuse(
            f"a network has 1 validator or {COMMITTEE_MIN} to {COMMITTEE_MAX}, not {len(members)}",
            fix="two or three validators tolerate no fault: name one, or at least four",
        )
    founders = (Founder(node, 1, members[node], params.founder_grant) for node in sorted(members))
    return Genesis(name, created_ms, tuple(founders), params)


def read(data: bytes) -> Genesis:
    """Decode a genesis and check it as `found` does; raises PeerFault or Misuse."""
    genesis = decode(Genesis, data)
    members = {founder.node: founder.anchor for founder in genesis.founders}
    if genesis != found(genesis.name, genesis.created_ms, members, genesis.params):
        raise Misuse("this genesis was not written by `dpin net create`")
    return genesis

"""Vertices of the DAG: a signed header that links to earlier blocks, and the transactions it names.

Whether a header is valid depends on the header and the committee alone, so all correct nodes decide
alike. Time is not checked (H9): a block's clock only counts in the median of a commit.
"""

from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SIGNATURE_BYTES, SigningKey, digest, verify
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, ChainId, Digest, Round
from dpin.base.merkle import EMPTY_ROOT, leaf_hashes, root
from dpin.ledger.checkpoint import CheckpointSignature
from dpin.ledger.committee import Committee
from dpin.ledger.params import ROUND_MARGIN_MAX, Consensus
from dpin.ledger.transactions import TRANSACTION_BYTES_MAX

BLOCK_TAG: Final = "dpin/block/v1"
BLOCK_VERSION: Final = 1
SIGNATURES_MAX: Final = 4  # over checkpoints, in one header
NUMBER_MAX: Final = 2**63 - 1


class Reference(Wire, frozen=True):
    """Names a block; round and author are repeated so that a link says what it claims."""

    round: Round
    author: int
    digest: Digest


class Header(Wire, frozen=True):
    """What an author signs.

    `ancestors` lists the author's own previous block first, unless `own_gap` is 1, then at most one
    block of each other author, ascending by author.
    """

    version: int
    epoch: int
    round: Round
    author: int
    timestamp_ms: int
    ancestors: tuple[Reference, ...]
    payload_root: Digest  # RFC 6962 over the transactions' bytes
    payload_bytes: int
    transactions: int
    own_gap: int  # 1: the author's last block is too old to be an ancestor
    reveal: Digest  # of the author's hash chain when it leads this round, else zeros
    checkpoint_signatures: tuple[CheckpointSignature, ...]
    evidence: tuple[bytes, ...]


class Block(Wire, frozen=True):
    """A header, its author's signature (BLOCK_TAG), and the encoded transactions it names."""

    header: Header
    signature: bytes
    body: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Vertex:
    """A block with its name and its links by author, computed once."""

    block: Block
    digest: Digest
    links: dict[int, Reference]
    round: Round = field(init=False)  # the round it was made for
    author: int = field(init=False)  # the index of its author

    def __post_init__(self) -> None:
        """What is asked for again and again."""
        object.__setattr__(self, "round", self.block.header.round)
        object.__setattr__(self, "author", self.block.header.author)

    @property
    def reference(self) -> Reference:
        """Its name as others link to it."""
        return Reference(self.round, self.author, self.digest)

    def linked(self, other: "Vertex") -> bool:
        """Whether `other` is among its ancestors."""
        link = self.links.get(other.author)
        return link is not None and link.digest == other.digest


@dataclass(frozen=True, slots=True)
class Rules:
    """All that the validity of a block depends on."""

    chain: ChainId
    committee: Committee
    consensus: Consensus


def header_digest(header: Header) -> Digest:
    """Names a block: the header fixes the body by its root."""
    return digest(BLOCK_TAG, encode(header))


def vertex_of(block: Block) -> Vertex:
    """Name a block and index its links."""
    links = {reference.author: reference for reference in block.header.ancestors}
    return Vertex(block, header_digest(block.header), links)


def payload_root(body: tuple[bytes, ...]) -> Digest:
    """The root over a block's transactions."""
    return root(leaf_hashes(body))


def sign_block(key: SigningKey, chain: ChainId, header: Header, body: tuple[bytes, ...]) -> Vertex:
    """The block that its author sends."""
    name = header_digest(header)
    block = Block(header, key.sign(BLOCK_TAG, chain, name), body)
    return Vertex(block, name, {reference.author: reference for reference in header.ancestors})


def opening_blocks(committee: Committee, time_ms: int, seal: Digest) -> list[Vertex]:
    """What an epoch begins with: one unsigned block of each author in the committee's base round.

    `seal` names what came before: the checkpoint that closed the last epoch, or the chain.
    """
    return [
        vertex_of(Block(_opening_header(committee, author, time_ms, seal), b"", ()))
        for author in range(len(committee))
    ]


def _opening_header(committee: Committee, author: int, time_ms: int, seal: Digest) -> Header:
    return Header(
        version=BLOCK_VERSION,
        epoch=committee.epoch,
        round=committee.base,
        author=author,
        timestamp_ms=time_ms,
        ancestors=(),
        payload_root=EMPTY_ROOT,
        payload_bytes=0,
        transactions=0,
        own_gap=0,
        reveal=seal,
        checkpoint_signatures=(),
        evidence=(),
    )


def read_block(data: bytes) -> Vertex:
    """Decode a block; raises PeerFault. Its validity is not checked yet."""
    return vertex_of(decode(Block, data))


def check_block(vertex: Vertex, rules: Rules) -> None:
    """Raise PeerFault unless header, signature and body are valid."""
    check_header(vertex.block.header, rules)
    check_signature(vertex.block.header, vertex.digest, vertex.block.signature, rules)
    _check_body(vertex.block)


def check_header(header: Header, rules: Rules) -> None:
    """Raise PeerFault unless the header alone is in order."""
    if header.version != BLOCK_VERSION or header.epoch != rules.committee.epoch:
        raise PeerFault("block of another version or epoch")
    if not 0 <= header.author < len(rules.committee):
        raise PeerFault("block of an author that the committee does not have")
    base = rules.committee.base
    if not base < header.round <= NUMBER_MAX or not 0 <= header.timestamp_ms <= NUMBER_MAX:
        raise PeerFault("block with a round or time out of range")
    if header.evidence:
        raise PeerFault("block with evidence, which is sent as a transaction")
    _check_signatures(header.checkpoint_signatures)
    _check_payload(header, rules.consensus)
    _check_links(header, rules.committee)


def _check_signatures(signatures: tuple[CheckpointSignature, ...]) -> None:
    """Their form alone: what they are worth depends on the state, which validity must not."""
    sequences = [signature.sequence for signature in signatures]
    if len(sequences) > SIGNATURES_MAX or sequences != sorted({*sequences}):
        raise PeerFault("block with too many checkpoint signatures, or out of order")
    for signature in signatures:
        sizes = len(signature.checkpoint), len(signature.signature)
        if not 1 <= signature.sequence <= NUMBER_MAX or sizes != (ID_BYTES, SIGNATURE_BYTES):
            raise PeerFault("block with a malformed checkpoint signature")


def _check_payload(header: Header, consensus: Consensus) -> None:
    if len(header.payload_root) != ID_BYTES or len(header.reveal) != ID_BYTES:
        raise PeerFault("block with a root or reveal that is not 32 bytes long")
    if not 0 <= header.payload_bytes <= consensus.block_bytes_max:
        raise PeerFault("block with too many bytes")
    if not 0 <= header.transactions <= consensus.block_transactions_max:
        raise PeerFault("block with too many transactions")


def _check_links(header: Header, committee: Committee) -> None:
    """At most one ancestor an author, none too old, and a quorum of the round before."""
    members = len(committee)
    if header.own_gap not in {0, 1} or not 1 <= len(header.ancestors) <= members:
        raise PeerFault("block with too few or too many ancestors")
    others = list(header.ancestors)
    if header.own_gap == 0 and others.pop(0).author != header.author:
        raise PeerFault("block that does not name its author's previous block first")
    named = [reference.author for reference in others]
    if sorted({*named} - {header.author}) != named:
        raise PeerFault("block with two ancestors of one author, or out of order")
    lowest = max(committee.base, header.round - ROUND_MARGIN_MAX)
    for link in header.ancestors:
        if not 0 <= link.author < members or len(link.digest) != ID_BYTES:
            raise PeerFault("block with a malformed ancestor")
        if not lowest <= link.round < header.round:
            raise PeerFault("block with an ancestor that is too old or too new")
    direct = [link.author for link in header.ancestors if link.round == header.round - 1]
    if committee.weigh(direct) < committee.quorum:
        raise PeerFault("block without a quorum of the round before")


def check_signature(header: Header, name: Digest, signature: bytes, rules: Rules) -> None:
    """Raise PeerFault unless the header's author signed it."""
    signer = rules.committee.signer(header.author)
    if len(signature) != SIGNATURE_BYTES:
        raise PeerFault("block with a malformed signature")
    if not verify(signer, BLOCK_TAG, rules.chain, name, signature):
        raise PeerFault("block that its author did not sign")


def _check_body(block: Block) -> None:
    header, body = block.header, block.body
    if len(body) != header.transactions or sum(map(len, body)) != header.payload_bytes:
        raise PeerFault("block whose body is not the one its header names")
    if any(len(transaction) > TRANSACTION_BYTES_MAX for transaction in body):
        raise PeerFault("block with a transaction that is too large")
    if payload_root(body) != header.payload_root:
        raise PeerFault("block whose body does not have the root its header names")

"""Signed blocks of all members, made by the test: whatever DAG it wants."""

from collections.abc import Sequence

from dpin.base.ids import NO_DIGEST, ChainId, Digest, Round
from dpin.ledger.blocks import Header, Reference, Vertex, opening_blocks, payload_root, sign_block
from dpin.ledger.committee import first_committee
from dpin.ledger.core import Core, first_opening
from dpin.ledger.genesis import Genesis, chain_id
from tests.support.cluster import network


def genesis_blocks(genesis: Genesis, chain: ChainId) -> list[Vertex]:
    """Round 0 of a network, bound to the chain by its reveal."""
    return opening_blocks(first_committee(genesis, chain), genesis.created_ms, Digest(chain))


def core_of(genesis: Genesis) -> Core:
    """A DAG and its order at the beginning of a network."""
    return Core(chain_id(genesis), genesis.params.consensus, first_opening(genesis))


class Forge:
    """The keys of a network's founders."""

    def __init__(self, members: int = 4) -> None:
        self.genesis, self.keys = network(members)
        self.chain = chain_id(self.genesis)
        self.roots = genesis_blocks(self.genesis, self.chain)

    def block(
        self,
        round_: int,
        author: int,
        links: Sequence[Vertex | Reference],
        body: tuple[bytes, ...] = (),
    ) -> Vertex:
        """A block with these ancestors, put in order; without one of its own, it has a gap."""
        named = [link if isinstance(link, Reference) else link.reference for link in links]
        named.sort(key=lambda link: (link.author != author, link.author))
        header = Header(
            version=1,
            epoch=0,
            round=Round(round_),
            author=author,
            timestamp_ms=self.genesis.created_ms + round_,
            ancestors=tuple(named),
            payload_root=payload_root(body),
            payload_bytes=sum(map(len, body)),
            transactions=len(body),
            own_gap=int(named[0].author != author),
            reveal=NO_DIGEST,
            checkpoint_signatures=(),
            evidence=(),
        )
        return sign_block(self.keys[author], self.chain, header, body)

    def rounds(self, count: int) -> list[list[Vertex]]:
        """Rounds 0..count in which everybody links to everybody."""
        made = [self.roots]
        for number in range(1, count + 1):
            authors = range(len(self.keys))
            made.append([self.block(number, author, made[-1]) for author in authors])
        return made

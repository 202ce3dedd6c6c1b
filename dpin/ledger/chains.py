"""All hash chains of one node: each lasts a while, and the next is ready before it ends.

Chain n begins in round n * span, where a span is nine tenths of a chain's length: in the last tenth
of a chain its successor can be registered. So which chain belongs to a round follows from the round
alone, and a node that has only its key finds it again.
"""

from collections.abc import Mapping
from typing import Final

from dpin.base.ids import Digest, Round
from dpin.ledger.beacon import Chain, OwnChain

OVERLAP: Final = 10  # the last of so many parts of a chain is for the change to the next


class OwnChains:
    """The tables that this node holds, by number; `add` as they are made."""

    def __init__(
        self, tables: Mapping[int, bytes] | None = None, chain: Chain | None = None
    ) -> None:
        self.chain = chain or Chain()
        self._tables = dict(tables or {})
        self._span = self.chain.length - self.chain.length // OVERLAP

    def add(self, number: int, table: bytes) -> None:
        """One more chain was made; those long over are needed no more."""
        self._tables[number] = table
        for old in [one for one in self._tables if one < number - 1]:
            del self._tables[old]

    def begins(self, number: int) -> Round:
        """The first round of a chain."""
        return Round(number * self._span)

    def number(self, round_: Round) -> int:
        """Of the chain that is registered in this round."""
        return round_ // self._span

    def lacks(self, round_: Round) -> int | None:
        """The number of the chain that is to be made for this round, if it is not there."""
        number = self.number(round_)
        return None if number in self._tables else number

    def anchor(self, round_: Round) -> Digest | None:
        """What is registered in this round; None while that chain is not there."""
        number = self.number(round_)
        table = self._tables.get(number)
        return None if table is None else self._own(number, table).at(round_)

    def meeting(self, anchor_round: Round, anchor: Digest) -> OwnChain | None:
        """The chain that has this reveal in that round.

        An anchor moves along with each epoch. A chain may also begin in the round of its anchor.
        """
        newest = self.number(anchor_round)
        numbers = [one for one in (newest, newest - 1) if one in self._tables]
        found = [self._own(one, self._tables[one]) for one in numbers]
        found += [OwnChain(self.chain, self._tables[one], anchor_round) for one in numbers]
        return next((own for own in found if own.at(anchor_round) == anchor), None)

    def _own(self, number: int, table: bytes) -> OwnChain:
        return OwnChain(self.chain, table, self.begins(number))

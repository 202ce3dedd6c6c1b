"""Who signed twice: two blocks of one round (M3), or two checkpoints of one number (M5).

All blocks of one epoch that are valid are compared with those accepted, whatever becomes of them:
what is too old to be accepted, or comes when the epoch is over, was signed all the same.

An author puts each of its signatures into a header that it signs, so two headers show the offence
without the logs that they were made over, of which nobody but the author may have one.
"""

from collections.abc import Sequence
from typing import Final

from dpin.base.ids import Round
from dpin.ledger.blocks import Header, Vertex

SPAN: Final = 4_096  # of the numbers that an author signed last are remembered


def contradict(first: Header, second: Header) -> bool:
    """Whether two headers of one author and epoch sign one number of a checkpoint differently.

    An honest author signs each number once, and in one header: then there is nothing to differ.
    """
    said = {one.sequence: one for one in first.checkpoint_signatures}
    return any(said.get(one.sequence, one) != one for one in second.checkpoint_signatures)


class Watch:
    """The first block in which each author signed each checkpoint, and who did it again.

    `twins` are by author: the first two blocks of one round.
    """

    def __init__(self) -> None:
        self.twins: dict[int, tuple[Vertex, Vertex]] = {}
        self.caught: dict[int, tuple[Vertex, Vertex]] = {}  # by author: the first pair that differs
        self._signed: dict[int, dict[int, Vertex]] = {}  # by author and sequence

    def __len__(self) -> int:
        """How many signatures are remembered."""
        return sum(map(len, self._signed.values()))

    def forget(self, limit: Round) -> None:
        """Remember no blocks up to that round."""
        for author, signed in self._signed.items():
            kept = {number: vertex for number, vertex in signed.items() if vertex.round > limit}
            self._signed[author] = kept

    def signature(self, author: int, sequence: int) -> bytes | None:
        """What an author signed that checkpoint with, first; not checked, None: not remembered."""
        vertex = self._signed.get(author, {}).get(sequence)
        said = () if vertex is None else vertex.block.header.checkpoint_signatures
        return next((one.signature for one in said if one.sequence == sequence), None)

    def compare(self, vertex: Vertex, accepted: Sequence[Vertex]) -> None:
        """A valid block, and what was accepted of its author and round."""
        if vertex.author not in self.twins:
            for one in accepted:
                if one.digest != vertex.digest:
                    self.twins[vertex.author] = (one, vertex)
                    return

    def take(self, vertex: Vertex) -> None:
        """An accepted block, which may carry signatures of its author."""
        author, header = vertex.author, vertex.block.header
        if author in self.caught:
            return
        signed = self._signed.setdefault(author, {})
        for one in header.checkpoint_signatures:
            before = signed.setdefault(one.sequence, vertex)
            if contradict(before.block.header, header):
                self.caught[author] = (before, vertex)
                del self._signed[author]
                return
        while len(signed) > SPAN:
            del signed[next(iter(signed))]

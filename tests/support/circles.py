"""Members of a secure aggregation in one process, by mail that can be lost."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from dpin.base.crypto import SigningKey
from dpin.base.ids import ChainId, Digest, JobId, Round
from dpin.compute.masked import masked_head, masked_update, unmasked_sum
from dpin.compute.secagg.circle import Circle, circles
from dpin.compute.secagg.member import Member
from dpin.compute.secagg.settling import Settled, check_head, settle
from dpin.compute.secagg.unmasking import Unmasking
from dpin.compute.secagg.words import MaskedHead

CHAIN: Final = ChainId(b"c" * 32)
JOB: Final = JobId(b"s" * 32)


def key_of(seat: int) -> SigningKey:
    return SigningKey(seat.to_bytes(32, "big"))


def lease_of(seat: int) -> Digest:
    return Digest(bytes([seat // 256, seat % 256]) * 16)


def circle_of(count: int, round_: int = 0) -> Circle:
    roster = {lease_of(seat): key_of(seat).node_id for seat in range(count)}
    return circles(CHAIN, JOB, Round(round_), roster, 0)[0]


def numbers(seat: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seat)
    return torch.randint(-(1 << 24), 1 << 24, (count,), generator=generator)


@dataclass
class Group:
    """A circle whose members all run here; `lost` are pairs (from, to) of seats without mail."""

    count: int
    lost: Collection[tuple[int, int]] = ()
    members: dict[int, Member] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.circle = circle_of(self.count)
        seats = range(self.count)
        self.members = {seat: Member(key_of(seat), self.circle, lease_of(seat)) for seat in seats}
        self.seat_of = {lease_of(seat): seat for seat in seats}
        self.post()
        self.post()  # once more: that the first has been heard

    def post(self) -> None:
        """Everybody writes to all its neighbours."""
        for seat, member in self.members.items():
            for lease in self.circle.neighbours(member.lease):
                other = self.seat_of[lease]
                if (seat, other) not in self.lost:
                    self.members[other].take(member.shares_to(lease))

    def update(self, seat: int, count: int) -> bytes:
        """A seat's masked update."""
        head, seeds = self.members[seat].masks(10)
        return masked_update(numbers(seat, count), head, seeds)

    def heads(self, files: Mapping[int, bytes], count: int) -> dict[Digest, MaskedHead]:
        """The heads of updates, checked."""
        found = {lease_of(seat): masked_head(data, count) for seat, data in files.items()}
        for lease, head in found.items():
            check_head(self.circle, lease, head)
        return found

    def unmasking(self, settled: Settled, tellers: Collection[int]) -> Unmasking:
        """What these members' shares give."""
        unmasking = Unmasking(settled)
        for seat in tellers:
            unmasking.take(key_of(seat).node_id, self.members[seat].reveal(settled))
        return unmasking

    def total(self, files: Mapping[int, bytes], tellers: Collection[int], count: int) -> Tensor:
        """The sum of the updates that stay, unmasked."""
        settled = settle(self.circle, self.heads(files, count))
        unmasking = self.unmasking(settled, tellers)
        kept = [files[self.seat_of[lease]] for lease in sorted(settled.heads)]
        return unmasked_sum(kept, unmasking.seeds(), count)

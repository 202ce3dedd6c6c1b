"""What masks cost: `python -m benchmarks.secagg [--parameters 10000000] [--clients 10] [--gone 2]`.

One client's share of a round (keys, shares to all neighbours, masks over its words), and what
whoever unmasks does (heads, shares, secrets, sum, masks off), in CPU seconds of one thread. The sum
is compared with the plain one, bit for bit; the peer is the plain sum of the same words.
"""

import argparse
import sys
from time import process_time

import torch

from dpin.compute.masked import unmasked_sum
from dpin.compute.secagg.member import Member
from dpin.compute.secagg.settling import settle
from tests.support.circles import Group, key_of, lease_of, numbers

LIMITS_AT = 10_000_000
CLIENT_LIMIT = 3.0
UNMASK_LIMIT = 6.0


def client_seconds(group: Group, count: int) -> tuple[float, dict[int, bytes], list[int]]:
    """CPU seconds of the dearest client, all masked updates, and who made them."""
    most, files = 0.0, {}
    for seat in group.members:
        began = process_time()
        fresh = Member(key_of(seat), group.circle, lease_of(seat))
        for other in group.circle.neighbours(lease_of(seat)):
            fresh.shares_to(other)
        files[seat] = group.update(seat, count)
        most = max(most, process_time() - began)
    return most, files, list(files)


def unmask_seconds(
    group: Group, files: dict[int, bytes], here: list[int], count: int
) -> tuple[float, torch.Tensor]:
    """CPU seconds until the masks are off, and the sum."""
    began = process_time()
    heads = group.heads({seat: files[seat] for seat in here}, count)
    seeds = group.unmasking(settle(group.circle, heads), here).seeds()
    total = unmasked_sum([files[seat] for seat in here], seeds, count)
    return process_time() - began, total


def plain_seconds(here: list[int], count: int) -> tuple[float, torch.Tensor]:
    """The same without masks."""
    began = process_time()
    want = torch.zeros(count, dtype=torch.int64)
    for seat in here:
        want += numbers(seat, count)
    return process_time() - began, want


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=LIMITS_AT)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--gone", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="a hundredth of the parameters")
    given = parser.parse_args()
    torch.set_num_threads(1)
    count, group = given.parameters // (100 if given.short else 1), Group(given.clients)
    masking, files, seats = client_seconds(group, count)
    here = seats[: given.clients - given.gone]
    unmasking, total = unmask_seconds(group, files, here, count)
    plain, want = plain_seconds(here, count)
    assert torch.equal(total, want), "the sum is not exact"
    sys.stdout.write(
        f"{count} parameters, {given.clients} clients, {given.gone} gone; sums exact\n"
        f"a client                          {masking:8.2f} s  at most {CLIENT_LIMIT:g}\n"
        f"unmask                            {unmasking:8.2f} s  at most {UNMASK_LIMIT:g}\n"
        f"plain sum, making its numbers too {plain:8.2f} s\n"
    )
    assert count > LIMITS_AT or (masking <= CLIENT_LIMIT and unmasking <= UNMASK_LIMIT)


if __name__ == "__main__":
    main()

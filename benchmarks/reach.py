"""How nodes connect, by how each stands in the internet: real hosts in network namespaces.

`python -m benchmarks.reach` prints the table of `docs/reach.md`; it needs Linux, root and nft.
Every pair meets by way of one public peer that both know, as nodes of one network do.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

from dpin.net.reach import Way
from tests.support.boxes import Box, box, meet
from tests.support.namespaces import Internet, Kind, internet, missing

AT_ONCE: Final = 4
RELAY_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Meeting:
    """What became of one pair, and of a message over it."""

    way: str
    seconds: float
    delivered: bool


def meeting(world: Internet, relay: Box, pair: tuple[Kind, Kind], seed: int) -> Meeting:
    """Two fresh machines; the first dials the second."""
    with box(world, pair[0], seed) as one, box(world, pair[1], seed + 1) as other:
        began = monotonic()
        way = meet(one, other, relay)
        seconds = monotonic() - began
        return Meeting(way, seconds, one.says(other, b"good day") if way != "not" else False)


def table(kinds: list[Kind]) -> dict[tuple[Kind, Kind], Meeting]:
    """Every pair, some at a time."""
    pairs = [(one, other) for one in kinds for other in kinds]
    seeds = range(10, 10 + 2 * len(pairs), 2)
    with (
        internet() as world,
        box(world, Kind.PUBLIC, RELAY_SEED) as relay,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        done = pool.map(partial(meeting, world, relay), pairs, seeds)
        return dict(zip(pairs, done, strict=True))


def printed(kinds: list[Kind], found: dict[tuple[Kind, Kind], Meeting]) -> str:
    """The table as Markdown: who dials down, who is dialled across."""
    lines = [f"| dials, dialled | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for one in kinds:
        cells = (found[one, other] for other in kinds)
        words = (f"{cell.way}, {cell.seconds:.1f} s" for cell in cells)
        lines.append(f"| {one} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table; its own check: every pair is connected and a message came over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(repr(str(k)) for k in Kind)}")
    parser.add_argument("--short", action="store_true", help="two kinds only")
    options = parser.parse_args()
    kinds = [Kind(kind) for kind in options.kinds] or list(Kind)
    if options.short:
        kinds = [Kind.PUBLIC, Kind.RESTRICTED]
    if reason := missing():
        sys.exit(f"cannot be tried here: {reason}")
    found = table(kinds)
    sys.stdout.write(printed(kinds, found) + "\n")
    counts = {str(way): sum(meeting.way == way for meeting in found.values()) for way in Way}
    sys.stdout.write(f"{counts}\n")
    if not all(meeting.delivered for meeting in found.values()):
        sys.exit("a pair could not talk")


if __name__ == "__main__":
    main()

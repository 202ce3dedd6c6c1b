"""How much of a round is training on a home line: `python -m benchmarks.uplink [--short]`.

A model of 124 million parameters, four seats, 100 Mbit/s up and down, steps of half a second (a
home GPU at 16,384 tokens a step; --step-ms). How often seats merge, and in what encoding, is what
the node's own `auto` chooses for that line. Then one round, all of it but the steps real: the
update is encoded, its bytes go sealed over a socket that is paced to the line, once to each of the
others, while theirs come in over another one; the updates are decoded, screened and merged, and the
state is hashed. Steps are a replayed trace: seeded, within a tenth of their mean. Utilisation is
the share of the steps. Encoder and merge run on one thread of this machine, whatever else it does.
"""

import argparse
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.averaging_wire import Peer, receive, send
from benchmarks.local import load, show
from dpin.base.blob import CHUNK_BYTES
from dpin.base.chance import Chance
from dpin.compute.aggregation.screen import read_offered, round_mean, screened
from dpin.compute.outer import write
from dpin.compute.pacing import work_us
from dpin.compute.safety import RobustSpec
from dpin.compute.task import EncodingSpec
from dpin.compute.tensors import tensors_root
from dpin.compute.tuning import CANDIDATES, Measured, choose
from dpin.compute.updates import encode_update
from dpin.net.bulkframe import Opener, Sealer

PARAMETERS: Final = 124_000_000
SEATS: Final = 4
LINE: Final = 12_500_000  # bytes a second: 100 Mbit/s
GOAL: Final = 0.95
FORMER_STEPS: Final = 43  # that auto chose while it reckoned with the exchange alone
KEYS: Final = (bytes(32), b"\1" * 32)


class Spent(NamedTuple):
    """Seconds of the parts of a round."""

    encode: float
    exchange: float
    merge: float
    processor: float  # of encode and merge

    @property
    def total(self) -> float:
        """All that is not training."""
        return self.encode + self.exchange + self.merge


def clock_ms() -> int:
    """As a worker has it."""
    return time.monotonic_ns() // 1_000_000


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pair() -> tuple[Peer, Peer]:
    """A sealed socket, both ends."""
    one, other = socket.socketpair()
    there, back = KEYS
    return Peer(one, Sealer(there), Opener(back)), Peer(other, Sealer(back), Opener(there))


def sent_over_line(data: bytes, copies: int, rate: int) -> None:
    """So many copies, one after the other, at the pace of the line; all of them are received."""
    near, far = pair()
    whole = np.frombuffer(data, np.uint8)
    found = np.empty_like(whole)

    def take() -> None:
        for _ in range(copies):
            receive(far, found)
            assert found[-1] == whole[-1], "other bytes came"

    taker = threading.Thread(target=take)
    taker.start()
    began, count = time.perf_counter(), 0
    for _ in range(copies):
        for start in range(0, len(whole), CHUNK_BYTES):
            part = whole[start : start + CHUNK_BYTES]
            send(near, part)
            count += len(part)
            time.sleep(max(0.0, began + count / rate - time.perf_counter()))
    taker.join()
    near.wire.close()
    far.wire.close()
    assert np.array_equal(found, whole), "other bytes came"


def exchanged(data: bytes, rate: int) -> None:
    """Both directions of a seat's line at once: to all others, and from the other seats."""
    ways = [
        threading.Thread(target=sent_over_line, args=(data, copies, rate))
        for copies in (SEATS, SEATS - 1)
    ]
    for way in ways:
        way.start()
    for way in ways:
        way.join()


def movement(count: int) -> Tensor:
    """How parameters may have moved: (count,) int64, a few of them much more than most."""
    drawn = torch.empty(count).normal_(generator=torch.Generator().manual_seed(1))
    return drawn.pow_(3).mul_(1 << 14).round_().to(torch.int64)


def one_round(encoding: EncodingSpec, count: int, rate: int) -> tuple[Spent, int]:
    """Everything of a round but its steps; and the bytes of an update."""
    made: list[bytes] = []
    held = [movement(count), torch.zeros(count, dtype=torch.int64)]  # and what was left over

    def encoded() -> None:
        moved, error = held
        made.append(encode_update(write(encoding, moved, error).update))

    began = time.thread_time()
    encode = timed(encoded)
    processor = time.thread_time() - began
    held.clear()
    data = made[0]
    exchange = timed(lambda: exchanged(data, rate))
    state = torch.zeros(count, dtype=torch.int64)

    def merge() -> None:
        parts = [(str(at), data, 1, 0) for at in range(SEATS)]
        offered, refused = read_offered(parts, encoding, count)
        assert not refused, refused
        kept = screened(offered).kept or offered[:1]  # all are the same, and count as copies
        state.add_(round_mean(RobustSpec(), [*kept, *offered[1:]], None, count))
        tensors_root({"parameters/all": state})

    began = time.thread_time()
    merged = timed(merge)
    return Spent(encode, exchange, merged, processor + time.thread_time() - began), len(data)


def trace(steps: int, step_us: int) -> float:
    """Seconds of so many steps: each within a tenth of the mean, drawn from a seed."""
    dice = Chance(b"steps")
    return sum(step_us * (900 + dice.below(201)) // 1000 for _ in range(steps)) / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=PARAMETERS)
    parser.add_argument("--step-ms", type=int, default=500)
    parser.add_argument("--short", action="store_true", help="a million parameters, for tests")
    given = parser.parse_args()
    count = 1_000_000 if given.short else given.parameters
    torch.set_num_threads(1)
    measured = on_this_machine(count, given.step_ms * 1000)
    choice = choose(measured)
    spent, size = one_round(choice.encoding, count, LINE)
    assert abs(size - choice.update_bytes) < CHUNK_BYTES, "the tuner reckons with another size"
    shares = [utilisation(steps, measured, spent) for steps in (FORMER_STEPS, choice.steps)]
    verdict = "met" if shares[1] >= GOAL else "missed"
    show(
        f"A round of {count:,} parameters at 100 Mbit/s",
        [
            ("load before", load(), ""),
            ("chosen by auto", choice.explained(measured), ""),
            ("steps, replayed", f"{trace(choice.steps, measured.step_us):.1f} s", ""),
            ("encode, with error feedback", f"{spent.encode:.2f} s", ""),
            ("exchange", f"{spent.exchange:.2f} s for {SEATS} x {size:,} bytes up", ""),
            ("decode, screen, merge, hash", f"{spent.merge:.2f} s", ""),
            ("processor time of encode and merge", f"{spent.processor:.2f} s", ""),
            (f"utilisation with {FORMER_STEPS} steps a round", f"{100 * shares[0]:.1f} %", ""),
            ("utilisation", f"{100 * shares[1]:.1f} %", f"{100 * GOAL:.0f} %: {verdict}"),
            ("the same by processor time", unhindered(measured, spent), ""),
        ],
    )


def on_this_machine(count: int, step_us: int) -> Measured:
    """What the node's tuner would know of such a job here."""
    encodings = (CANDIDATES[0], CANDIDATES[-1])
    dense, sparse = (work_us(count, SEATS, one, clock_ms) for one in encodings)
    return Measured(count, SEATS, step_us, LINE, LINE, dense, sparse)


def unhindered(measured: Measured, spent: Spent) -> str:
    """What auto chooses, and comes to, where encode and merge take no longer than they compute."""
    work = round(spent.processor * 1e6)
    steps = choose(replace(measured, dense_us=work, sparse_us=work)).steps
    alone = spent._replace(encode=spent.processor, merge=0.0)
    return f"{100 * utilisation(steps, measured, alone):.1f} % with {steps} steps"


def utilisation(steps: int, measured: Measured, spent: Spent) -> float:
    """The share of the steps in a round of so many."""
    training = trace(steps, measured.step_us)
    return training / (training + spent.total)


if __name__ == "__main__":
    main()

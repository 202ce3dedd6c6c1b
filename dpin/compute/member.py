"""A process of rank 1 or up in a provider's group: `python -m dpin.compute.member`, under torchrun.

    torchrun --nproc-per-node N -m dpin.compute.member --store HOST:PORT

It comes to the store of rank 0, builds what it is told to build, and does its parts of every step
until rank 0 stops it or is gone. All that it knows of the provider comes from there.
"""

import argparse
import os
import sys
from typing import Protocol

import torch

from dpin.base.codec import decode
from dpin.base.errors import PeerFault
from dpin.compute.board import (
    CLASS_KEY,
    ENGINE_KEY,
    EPOCH_KEY,
    GO,
    Board,
    BoardGone,
    epoch_key,
    goes_key,
    here_key,
    joined_key,
    key_of,
    meets_key,
    size_key,
)
from dpin.compute.course import Course
from dpin.compute.crew import (
    Gather,
    Load,
    Look,
    Message,
    Rejoin,
    SetUp,
    Step,
    Stop,
    Work,
    batch_of,
    frozen_of,
    share_state,
    shared_gradient,
    way_of,
)
from dpin.compute.engine import ALL_REDUCE, FSDP2, Engine
from dpin.compute.precision import precision_of
from dpin.compute.probe import fingerprint, fingerprint_text, found_devices, settle
from dpin.compute.ranks import AllReduce, RankLost, Ranks, Server, Standing
from dpin.compute.train import Tools, Trainer


class Worker(Protocol):
    """What a process does with the messages of an epoch, the last ones aside."""

    def do(self, message: Work) -> None:
        """One of them."""
        ...


class Member:
    """A process that holds the whole model."""

    def __init__(self, engine: Engine, ranks: Ranks) -> None:
        self._engine = engine
        self._ranks = ranks
        self._trainer: Trainer | None = None
        self._way: AllReduce | Server | None = None

    def do(self, message: Work) -> None:
        """See Worker."""
        match message:
            case SetUp():
                self._set_up(message)
            case Load():
                self._load(message)
            case Step():
                self._step(message)
            case Gather() | Look():
                raise PeerFault("rank 0 asks for what it has itself")

    def _set_up(self, words: SetUp) -> None:
        frozen = frozen_of(words, self._ranks)
        course = Course(words.inner, words.total_steps)
        tools = Tools(self._engine)
        self._trainer = Trainer(words.spec, course, str(self._ranks.device), frozen, tools)
        self._way = way_of(self._engine, self._ranks, self._trainer.vectors.gradient)

    def _load(self, words: Load) -> None:
        assert self._trainer is not None, "a state follows a model"
        share_state(self._engine, self._ranks, self._trainer)
        self._trainer.vectors.steps = words.steps

    def _step(self, words: Step) -> None:
        assert self._trainer is not None, "a step follows a model"
        assert self._way is not None, "a step follows a model"
        batch = batch_of(words, self._ranks)
        if self._engine.topology != ALL_REDUCE:
            share_state(self._engine, self._ranks, self._trainer)
        shared_gradient(self._ranks, self._way, self._trainer, batch)
        if words.applies and self._engine.topology == ALL_REDUCE:
            self._trainer.apply(words.cursor)


def stands(board: Board, epoch: int, wanted: int) -> Standing | None:
    """The place of this process in an epoch; None where it came too late, or one is lost."""
    rank = board.count(joined_key(epoch), 1)
    if rank > wanted:
        return None
    board.put(here_key(epoch, rank), b"")
    world = int(board.wait_for(size_key(epoch)))
    if rank >= world:
        return None
    board.put(meets_key(epoch, rank), b"")
    return Standing(epoch, rank, world) if board.wait_for(goes_key(epoch)) == GO else None


def serve(board: Board, worker: Worker, epoch: int) -> bool:
    """Do what is told in one epoch; whether it was to stop."""
    number = 0
    while True:
        message: Message = decode(Message, board.wait_for(key_of(epoch, number)))
        number += 1
        if isinstance(message, Rejoin | Stop):
            return isinstance(message, Stop)
        worker.do(message)


def worker_of(engine: Engine, ranks: Ranks) -> Worker:
    """By the topology that the provider has chosen."""
    if engine.topology == FSDP2:
        from dpin.compute.shareholder import Shareholder

        return Shareholder(engine, ranks)
    return Member(engine, ranks)


def took_part(board: Board, engine: Engine, standing: Standing, device: torch.device) -> bool:
    """One epoch, to its end or until a rank is lost; whether it was to stop."""
    ranks: Ranks | None = None
    try:
        ranks = Ranks(board, standing, device)
        return serve(board, worker_of(engine, ranks), standing.epoch)
    except RankLost as lost:
        sys.stderr.write(f"rank {standing.rank}: {lost}\n")
        return False
    finally:
        if ranks is not None:
            ranks.leave()


def work(board: Board, first_device: int) -> None:
    """Take part in every epoch until told to stop; raises PeerFault for another numeric class."""
    engine = decode(Engine, board.wait_for(ENGINE_KEY))
    settle()
    device = found_devices()[0][0]
    precision = precision_of(engine, device.kind)
    if fingerprint(fingerprint_text(device, precision)) != board.wait_for(CLASS_KEY):
        raise PeerFault("this process is of another numeric class than rank 0")
    where = torch.device(device.kind)
    if device.kind == "cuda":
        where = torch.device("cuda", first_device + int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    epoch = int(board.wait_for(EPOCH_KEY))
    while True:
        standing = stands(board, epoch, engine.world - 1)
        if standing is not None and took_part(board, engine, standing, where):
            return
        epoch += 1
        board.wait_for(epoch_key(epoch))


def main() -> None:
    """Come to the store of rank 0 and work."""
    parser = argparse.ArgumentParser(prog="dpin.compute.member")
    parser.add_argument("--store", required=True, help="HOST:PORT of rank 0's store")
    parser.add_argument("--first-device", type=int, default=0, help="the GPU of the first process")
    options = parser.parse_args()
    host, _, port = options.store.rpartition(":")
    try:
        work(Board(host, int(port), own=False), options.first_device)
    except BoardGone:
        sys.stderr.write("rank 0 is gone\n")


if __name__ == "__main__":
    main()

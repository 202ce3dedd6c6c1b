"""The steps of a trainer, divided among the processes of a group.

Rank 0 is the worker that the node talks to: it holds the state, and all others hold copies. It
tells them what to do through a TCPStore, a numbered message at a time; tensors go through the
group. Where a process is lost, rank 0 does the step again alone, since parameters change only when
a whole gradient is there, and goes on alone until others have come to the next epoch, where they
take its state. Every one of these ways makes the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from dpin.base.codec import Wire, encode
from dpin.base.ids import Digest
from dpin.compute.board import (
    CLASS_KEY,
    ENGINE_KEY,
    EPOCH_KEY,
    GO,
    MEETING,
    Board,
    epoch_key,
    goes_key,
    here_key,
    joined_key,
    key_of,
    meets_key,
    size_key,
)
from dpin.compute.engine import ALL_REDUCE, Engine
from dpin.compute.ranks import AllReduce, RankLost, Ranks, Server, Standing
from dpin.compute.task import Architecture, InnerSpec
from dpin.compute.vectors import Vectors

GATHER_MS: Final = 5_000  # those that come at about the same time make one group


class SetUp(Wire, frozen=True, tag=1):
    """Build this model; `frozen` bytes of weights follow."""

    spec: Architecture
    inner: InnerSpec
    total_steps: int
    frozen: int


class Load(Wire, frozen=True, tag=2):
    """The parameters follow; with all-reduce the moments, after so many steps, as well."""

    steps: int


class Step(Wire, frozen=True, tag=3):
    """A batch of (rows, width) follows; `applies`: its gradient is a step at `cursor`."""

    rows: int
    width: int
    cursor: int
    applies: bool


class Rejoin(Wire, frozen=True, tag=4):
    """The assembly is over; the next one is called."""


class Stop(Wire, frozen=True, tag=5):
    """No more work."""


class Gather(Wire, frozen=True, tag=6):
    """Rank 0 wants the whole state, where everybody has a part of it."""


class Look(Wire, frozen=True, tag=7):
    """A batch of (rows, width) follows, whose loss is wanted, where everybody has a part."""

    rows: int
    width: int


Work = SetUp | Load | Step | Gather | Look
Message = Work | Rejoin | Stop


class Replica(Protocol):
    """What a group divides: a trainer of one process."""

    vectors: Vectors

    def described(self) -> tuple[SetUp, bytes]:
        """All that another process needs to build the same, and the frozen weights."""
        ...

    def parts(self, batch: Tensor) -> list[Tensor]:
        """The parts in which a batch goes through the model."""
        ...

    def add_gradient(self, part: Tensor, parts: int) -> float:
        """Add a part's share of the mean loss's gradient; the share of the loss."""
        ...


class Members(Protocol):
    """The processes of ranks 1 and up on this machine."""

    def start(self, port: int) -> None:
        """Have them come to the board at this port."""
        ...

    def stop(self) -> None:
        """End them."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a crew needs of its process."""

    members: Members
    clock_ms: Callable[[], int]
    say: Callable[[str], None]


def frozen_of(words: SetUp, ranks: Ranks) -> bytes:
    """The weights that are not trained, as rank 0 tells them."""
    data = torch.empty(words.frozen, dtype=torch.uint8, device=ranks.device)
    if words.frozen:
        ranks.tell_all(data)
    return bytes(data.cpu().numpy())


def batch_of(words: Step | Look, ranks: Ranks) -> Tensor:
    """The examples that rank 0 tells."""
    batch = torch.empty(words.rows, words.width, dtype=torch.int64, device=ranks.device)
    ranks.tell_all(batch)
    return batch


def shared_gradient(
    ranks: Ranks, way: AllReduce | Server, replica: Replica, batch: Tensor
) -> float:
    """What every rank does in a step: the sum of all parts in their order, and the mean loss."""
    parts, standing = replica.parts(batch), ranks.standing
    waves = -(-len(parts) // standing.world)
    losses = torch.zeros(waves, dtype=torch.float64)
    way.begin()
    for wave in range(waves):
        at = wave * standing.world + standing.rank
        replica.vectors.gradient.zero_()
        if at < len(parts):
            losses[wave] = replica.add_gradient(parts[at], len(parts))
        way.add(replica.vectors.gradient, min(standing.world, len(parts) - wave * standing.world))
    way.end(replica.vectors.gradient)
    rows = [row.tolist() for row in ranks.gathered(losses)]
    mean = 0.0
    for at in range(len(parts)):
        mean += rows[at % standing.world][at // standing.world]
    return mean


def whole_gradient(replica: Replica, batch: Tensor) -> float:
    """What one process does in a step: the same sum, and the mean loss."""
    parts = replica.parts(batch)
    replica.vectors.gradient.zero_()
    mean = 0.0
    for part in parts:
        mean += replica.add_gradient(part, len(parts))
    return mean


def way_of(engine: Engine, ranks: Ranks, gradient: Tensor) -> AllReduce | Server:
    """The topology that the provider has chosen."""
    return (AllReduce if engine.topology == ALL_REDUCE else Server)(ranks, gradient)


def share_state(engine: Engine, ranks: Ranks, replica: Replica) -> None:
    """Everybody takes rank 0's state."""
    ranks.tell_all(replica.vectors.flat)
    if engine.topology == ALL_REDUCE:
        for vector in (replica.vectors.first, replica.vectors.second):
            ranks.tell_all(vector)


class Assembly:
    """Rank 0's side of one epoch of the group."""

    def __init__(self, engine: Engine, board: Board, ranks: Ranks) -> None:
        self._engine = engine
        self._board = board
        self._told = 0  # messages
        self._kept: list[str] = []  # the keys of those that somebody may still read
        self._way: AllReduce | Server | None = None
        self.ranks = ranks
        self.replica: Replica | None = None  # whose model the others have built
        self.loaded = False  # whether they hold its state

    def set_up(self, replica: Replica) -> None:
        """Have the others build this model."""
        self.describe(*replica.described())
        self._way = way_of(self._engine, self.ranks, replica.vectors.gradient)
        self.replica, self.loaded = replica, False

    def describe(self, words: SetUp, frozen: bytes) -> None:
        """Say which model it is."""
        self.tell(words)
        if frozen:
            data = torch.frombuffer(bytearray(frozen), dtype=torch.uint8)
            self.ranks.tell_all(data.to(self.ranks.device))

    def load(self, replica: Replica) -> None:
        """Give the others the state, unless they get it with every step."""
        if self._engine.topology == ALL_REDUCE:
            self.tell(Load(replica.vectors.steps))
            share_state(self._engine, self.ranks, replica)
        self.loaded = True

    def step(self, replica: Replica, batch: Tensor, words: Step) -> float:
        """One sum; see shared_gradient."""
        assert self._way is not None, "a step follows a model"
        self.tell(words)
        self.ranks.tell_all(batch.to(replica.vectors.flat.device))
        if self._engine.topology != ALL_REDUCE:
            share_state(self._engine, self.ranks, replica)
        mean = shared_gradient(self.ranks, self._way, replica, batch)
        self.heard_by_all()
        return mean

    def heard_by_all(self) -> None:
        """Everybody took part in what was told last, so everybody has read it."""
        for key in self._kept:
            self._board.forget(key)
        self._kept.clear()

    def end(self, word: Rejoin | Stop) -> None:
        """Nothing more is done in this epoch, whoever has read how much of it."""
        self.tell(word)
        self.ranks.leave()

    def tell(self, message: Message) -> None:
        """Have the others read this as the next message."""
        key = key_of(self.ranks.standing.epoch, self._told)
        self._board.put(key, encode(message))
        self._told += 1
        self._kept.append(key)


class Crew:
    """Rank 0's side of a provider's group; a session has one, whatever job it holds.

    It never waits for others to come: until they are there, and after one is lost, rank 0 goes on.
    """

    def __init__(self, engine: Engine, numbers: Digest, surroundings: Surroundings) -> None:
        """`numbers` is the numeric class that all of the group must be of."""
        self._engine = engine
        self._numbers = numbers
        self._around = surroundings
        self._board: Board | None = None
        self._epoch = 0
        self._first_seen_ms: int | None = None  # when somebody had come in this epoch
        self._assembly: Assembly | None = None

    def changed(self) -> None:
        """The state of a replica was set: the others have to hear of it; newcomers may join."""
        if self._assembly is None:
            return
        self._assembly.loaded = False
        here = self._assembly.ranks.standing.world
        if here < self._engine.world and self.joined >= here:
            self.abandon("others want to join")

    @property
    def joined(self) -> int:
        """How many processes have come to the epoch as it is, rank 0 aside."""
        return self._board.count(joined_key(self._epoch), 0) if self._board is not None else 0

    def gradient(self, replica: Replica, batch: Tensor, cursor: int, *, applies: bool) -> float:
        """Fill the replica's gradient with that of the mean loss; answers with the loss.

        With `applies` the others take a step of the optimizer with it, as the caller must.
        """
        assembly = self._assembly or self._assembled(replica.vectors.flat.device)
        if assembly is None:
            return whole_gradient(replica, batch)
        try:
            if assembly.replica is not replica:
                assembly.set_up(replica)
            if not assembly.loaded:
                assembly.load(replica)
            words = Step(batch.shape[0], batch.shape[1], cursor, applies)
            return assembly.step(replica, batch, words)
        except RankLost as lost:
            self.abandon(str(lost))
        except BaseException:
            self.abandon("rank 0 has failed")
            raise
        return whole_gradient(replica, batch)

    def whole(self, device: torch.device) -> Assembly:
        """The group with all of its processes, waiting for them; raises RankLost."""
        if self._assembly is not None:
            return self._assembly
        board = self._board or self._opened()
        wanted = self._engine.world - 1
        for rank in range(1, wanted + 1):
            if not board.comes(here_key(self._epoch, rank)):
                raise RankLost(f"rank {rank} of {wanted} has not come")
        return self._met(board, wanted, device)

    def close(self) -> None:
        """End the group and its processes."""
        if self._assembly is not None:
            self._assembly.end(Stop())
            self._assembly = None
        if self._board is not None:
            self._around.members.stop()
            self._board = None

    def abandon(self, reason: str) -> None:
        """End the epoch, and call everybody to the next."""
        self._around.say(f"the group of epoch {self._epoch} is over: {reason}")
        if self._assembly is not None:
            self._assembly.end(Rejoin())
        self._assembly = None
        if self._board is not None:
            self._begin(self._board)

    def renew(self, reason: str) -> None:
        """The same where the others may wait for this process: those of this machine begin anew."""
        self.abandon(reason)
        if self._board is not None:
            self._around.members.stop()
            self._around.members.start(self._board.port)

    def _begin(self, board: Board) -> None:
        """Call everybody to the next epoch."""
        self._epoch += 1
        self._first_seen_ms = None
        board.put(EPOCH_KEY, str(self._epoch).encode())
        board.put(epoch_key(self._epoch), b"")

    def _assembled(self, device: torch.device) -> Assembly | None:
        """The group, where enough have come; None while this process goes on alone."""
        board = self._board or self._opened()
        others = self._ready()
        if not others:
            return None
        try:
            return self._met(board, others, device)
        except RankLost as lost:
            self.abandon(str(lost))
            return None

    def _met(self, board: Board, others: int, device: torch.device) -> Assembly:
        """A group with so many others; raises RankLost."""
        board.put(size_key(self._epoch), str(1 + others).encode())
        if gone := self._gone(board, others):
            raise RankLost(f"rank {gone} has come and is gone again")
        self._around.say(f"a group of {1 + others}, epoch {self._epoch}")
        ranks = Ranks(board, Standing(self._epoch, 0, 1 + others), device)
        self._assembly = Assembly(self._engine, board, ranks)
        return self._assembly

    def _gone(self, board: Board, others: int) -> int:
        """Who has come and does not answer any more; 0: nobody. All are told to go on, or not.

        To meet takes everybody: who is lost would be waited for as long as one that computes.
        """
        ranks = range(1, 1 + others)
        meets = (rank for rank in ranks if not board.comes(meets_key(self._epoch, rank), MEETING))
        gone = next(meets, 0)
        board.put(goes_key(self._epoch), b"" if gone else GO)
        return gone

    def _opened(self) -> Board:
        host, port = self._engine.endpoint
        board = Board(host, port, own=True)
        board.put(ENGINE_KEY, encode(self._engine))
        board.put(CLASS_KEY, self._numbers)
        self._board = board
        self._begin(board)
        self._around.members.start(board.port)
        return board

    def _ready(self) -> int:
        """How many others make a group now: all, or those that have come after a while."""
        wanted = self._engine.world - 1
        found, now = min(wanted, self.joined), self._around.clock_ms()
        if not found:
            return 0
        if self._first_seen_ms is None:
            self._first_seen_ms = now
        return found if found == wanted or now - self._first_seen_ms > GATHER_MS else 0

"""A process of rank 1 or up in a group that shares one model among its processes (see shards)."""

import sys

from dpin.compute.course import Course
from dpin.compute.crew import Gather, Load, Look, SetUp, Step, Work, batch_of, frozen_of
from dpin.compute.engine import Engine
from dpin.compute.ranks import Ranks
from dpin.compute.shards import Shards
from dpin.compute.train import parts_of


class Shareholder:
    """A process that holds a part of the model (see shards)."""

    def __init__(self, engine: Engine, ranks: Ranks) -> None:
        self._engine = engine
        self._ranks = ranks
        self._accumulation = 1
        self._shards: Shards | None = None

    def do(self, message: Work) -> None:
        """See Worker."""
        if isinstance(message, SetUp):
            self._set_up(message)
            return
        shards = self._shards
        assert shards is not None, "all else follows a model"
        match message:
            case Load():
                shards.load(None, None, message.steps)
            case Gather():
                shards.gathered()
            case Look():
                shards.loss(batch_of(message, self._ranks))
            case Step():
                shards.backward(parts_of(batch_of(message, self._ranks), self._accumulation))
                if message.applies:
                    shards.apply(message.cursor)
                else:
                    shards.accumulate()

    def _set_up(self, words: SetUp) -> None:
        frozen = frozen_of(words, self._ranks)
        course = Course(words.inner, words.total_steps)
        self._accumulation = words.inner.accumulation
        self._shards = None  # its memory is needed
        self._shards = Shards(words.spec, course, frozen, self._ranks, self._engine)
        sys.stderr.write(f"a part of {self._shards.bytes_held} bytes\n")
        sys.stderr.flush()

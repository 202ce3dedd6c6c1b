"""What a worker says while it works."""

from dpin.base.codec import Wire
from dpin.base.ids import Digest, Round


class Progress(Wire, frozen=True, tag=4):
    """While a unit trains, a few times a second. `loss` in micro-nats per byte."""

    lease: Digest
    round: Round
    step: int
    steps: int
    loss_micronats: int
    tokens_per_second: int


class Preparing(Wire, frozen=True, tag=17):
    """What a job's preparation does now, in the words of people."""

    text: str

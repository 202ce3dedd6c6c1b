"""Training alone, beside which a job is compared: what is asked and answered."""

from dpin.base.codec import Wire


class Measure(Wire, frozen=True, tag=11):
    """Train alone in one process for comparison; reports Measured.

    With `joint` each step takes the joint batch of all seats, else the inner batch of seat 0.
    """

    steps: int
    joint: bool


class Measured(Wire, frozen=True, tag=13):
    """Held-out loss after training alone."""

    joint: bool
    loss_micronats: int
    milliseconds: int

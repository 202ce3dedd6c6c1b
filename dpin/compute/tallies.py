"""What an evaluation counts: integers, so that the parts of many providers add up exactly."""

import math
from collections.abc import Iterable
from typing import Final

from dpin.base.codec import Wire, decode
from dpin.base.errors import PeerFault
from dpin.base.ids import JobId
from dpin.base.units import MILLION, format_millionths

TALLY_TAG: Final = "dpin/tally/v1"
TALLY_BYTES_MAX: Final = 256
COUNT_MAX: Final = 1 << 40  # of a part
LOSS_MAX: Final = 1 << 40  # micro-nats of one target: what is more counts as this


class Tally(Wire, frozen=True):
    """Targets are what a model has to tell: tokens, or the classes of examples."""

    samples: int = 0
    targets: int = 0
    correct: int = 0  # targets that the model gave the highest score
    loss_micronats: int = 0  # the sum over targets, each rounded half to even

    def plus(self, other: "Tally") -> "Tally":
        """Both counted together."""
        return Tally(
            self.samples + other.samples,
            self.targets + other.targets,
            self.correct + other.correct,
            self.loss_micronats + other.loss_micronats,
        )


class PartTally(Wire, frozen=True):
    """The update of an evaluation's unit: what one part of the data came to."""

    job: JobId
    part: int
    tally: Tally


class Total(Wire, frozen=True, tag=12):
    """Add up the parts in these files and write the result into `folder`; reports Totalled.

    `text_bytes` are those of the text that was evaluated; 0: it was none, or not all of it counts.
    """

    parts: tuple[str, ...]
    folder: str
    provenance: str
    text_bytes: int


class Totalled(Wire, frozen=True, tag=15):
    """The result is written."""

    folder: str
    files: tuple[str, ...]
    parts: int
    tally: Tally


def read_tally(data: bytes) -> Tally:
    """What a window's state file holds; raises PeerFault for counts that cannot be."""
    return _checked(decode(Tally, data, TALLY_BYTES_MAX))


def read_part(data: bytes) -> PartTally:
    """What an update holds; raises PeerFault for counts that cannot be."""
    part = decode(PartTally, data, TALLY_BYTES_MAX)
    _checked(part.tally)
    if part.part < 0:
        raise PeerFault(f"a tally of part {part.part}")
    return part


def _checked(tally: Tally) -> Tally:
    if not (0 <= tally.correct <= tally.targets <= COUNT_MAX and 0 <= tally.samples <= COUNT_MAX):
        raise PeerFault("a tally of counts that cannot be")
    if not 0 <= tally.loss_micronats <= LOSS_MAX * tally.targets:
        raise PeerFault("a tally of a loss that cannot be")
    return tally


def total_of(parts: Iterable[PartTally]) -> tuple[Tally, int]:
    """The sum, each part once, and how many parts there are."""
    by_part = {part.part: part.tally for part in parts}
    total = Tally()
    for part in sorted(by_part):
        total = total.plus(by_part[part])
    return total, len(by_part)


def loss_of(tally: Tally) -> float | None:
    """Mean loss in nats a target."""
    return tally.loss_micronats / MILLION / tally.targets if tally.targets else None


def perplexity_of(tally: Tally) -> float | None:
    """E to the mean loss; None where that is no number."""
    loss = loss_of(tally)
    try:
        return None if loss is None else math.exp(loss)
    except OverflowError:
        return None


def bits_per_byte_of(tally: Tally, text_bytes: int) -> float | None:
    """How many bits a byte of the text costs; None where nothing says how long the text is."""
    return tally.loss_micronats / MILLION / math.log(2) / text_bytes if text_bytes else None


def accuracy_of(tally: Tally) -> float | None:
    """The share of targets told rightly."""
    return tally.correct / tally.targets if tally.targets else None


def summary(tally: Tally, text_bytes: int) -> dict[str, float | None]:
    """What it came to, by the names of the result's file."""
    return {
        "eval_loss": loss_of(tally),
        "perplexity": perplexity_of(tally),
        "bits_per_byte": bits_per_byte_of(tally, text_bytes),
        "eval_accuracy": accuracy_of(tally),
        "eval_samples": tally.samples,
    }


def sentence(tally: Tally, text_bytes: int) -> str:
    """What it came to, in one line."""
    found = summary(tally, text_bytes)
    names = (("loss", "eval_loss"), ("perplexity", "perplexity"), ("bits a byte", "bits_per_byte"))
    words = [f"{name} {found[key]:.4f}" for name, key in names if found[key] is not None]
    share = format_millionths(MILLION * tally.correct // max(1, tally.targets), 3)
    return ", ".join([*words, f"{share} of {tally.targets} told rightly"])

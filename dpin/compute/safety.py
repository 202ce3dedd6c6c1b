"""What a job says about liars among its participants, and about what they may see."""

from dpin.base.codec import Wire


class RobustSpec(Wire, frozen=True):
    """How a round's updates are merged where some of their makers lie; see compute.aggregation.

    `rule`: "mean" | "krum" | "trimmed" | "median" | "rfa" | "fltrust"; all after the clip to the
    round's median norm. `liars`: how many are reckoned with, 0 for one in four. `trusted_steps`:
    inner steps of the update that fltrust measures by. `witnesses`: how many nodes without a part
    in the job score its updates as well.
    """

    rule: str = "mean"
    liars: int = 0
    trusted_steps: int = 0
    witnesses: int = 0


class PrivacySpec(Wire, frozen=True):
    """Who may learn what of a participant's update; see docs/protocol/privacy.md.

    `mode`: "none" | "sealed" | "dp" | "secagg" | "secagg+dp". `reader` is the public half of the
    key for which the files of a sealed job are sealed. `group`: members whose sum is found
    together, 0 for all. `clip` (norm, units of 2^-24) and `noise_ppm` (deviation of the sum's noise
    over the clip) are those of dp, as is the budget: epsilon in thousandths, delta = 10^-digits.
    """

    mode: str = "none"
    group: int = 0
    clip: int = 0
    noise_ppm: int = 0
    epsilon_milli: int = 0
    delta_digits: int = 5
    reader: bytes = b""

    @property
    def sealed(self) -> bool:
        """Whether data and first model are sealed: only seats and their verifiers open them."""
        return self.mode == "sealed"

    @property
    def masked(self) -> bool:
        """Whether single updates are hidden under masks."""
        return self.mode in {"secagg", "secagg+dp"}

    @property
    def noised(self) -> bool:
        """Whether updates are clipped and noised."""
        return self.mode in {"dp", "secagg+dp"}

    @property
    def replayable(self) -> bool:
        """Whether a unit can be checked by doing it again: not if its update is hidden or noisy."""
        return not self.masked and not self.noised


def least_noised(seats: int) -> int:
    """How many of a round's updates carry all of the noise that was promised."""
    return max(1, seats - seats // 3)

"""Who sees what of a job, by its privacy: the table, and the budget behind it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dpin.base.errors import Misuse, unreadable
from dpin.base.units import MILLION
from dpin.compute.budget import check_budget, spent
from dpin.compute.safety import PrivacySpec
from dpin.market.evaluating import EVALUATION
from dpin.node.jobfile import TrainJob, read_job

OPEN: Final = "providers of an open job see the shards that they train on"
OWNED: Final = "stay with their owners; others learn what updates and measured losses tell"
SEALED: Final = "sealed: opened in the memory of who holds a seat or checks a unit, nowhere else"
PLAIN: Final = "every update"
PLAIN_AND_LOSS: Final = f"{PLAIN}, and the training loss that its provider tells"
NOBODY: Final = "nobody is seated"
NOISY: Final = "every update, with 1 / n of the noise in it"
HIDDEN: Final = "no update; sums of a group after the round"
REPLAY: Final = "units are done again by two verifiers; bonds are at stake"
SCORED: Final = "none by replay: units are paid as scored, without reputation (S5)"

# By mode: what providers, requester, seated verifiers and outsiders see, and what is verified.
SIGHTS: Final = {
    "none": (PLAIN, PLAIN_AND_LOSS, "states of the units that they check", "nothing", REPLAY),
    "sealed": (
        PLAIN,
        PLAIN_AND_LOSS,
        "the data, the first model, and states of the units that they check",
        "sealed files: their length, and nothing else",
        REPLAY,
    ),
    "dp": (NOISY, NOISY, NOBODY, "a model with all of the noise", SCORED),
    "secagg": (HIDDEN, HIDDEN, NOBODY, "nothing", SCORED),
    "secagg+dp": (
        f"{HIDDEN}, with all of the noise",
        f"{HIDDEN}, with all of the noise",
        NOBODY,
        "a model with all of the noise",
        SCORED,
    ),
}
WHO: Final = ("other providers", "the requester", "verifiers", "others", "verification")


def read_privacy(file: Path, sets: Sequence[str]) -> dict[str, object]:
    """What a job file's privacy means; raises Misuse where its budget does not last."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as problem:
        raise unreadable(file, problem, fix="name a job file") from None
    job = read_job(text, file.name, sets)
    if not isinstance(job, TrainJob) or job.outer == EVALUATION:
        raise Misuse(f"{file}: only training jobs have a privacy of updates", fix="type: train")
    privacy, seats = job.privacy, job.seats
    owned = job.hub is not None and job.hub.private is not None
    found: dict[str, object] = {"mode": privacy.mode}
    found |= dict(zip(WHO, SIGHTS[privacy.mode], strict=True))
    if owned or job.module is not None:  # Others lack the data, or do not run such code.
        found |= {"verifiers": NOBODY, "verification": SCORED}
    found["robust rules"] = _robust(privacy, job.robust.rule)
    if privacy.masked:
        found["collusion"] = f"{seats // 2 + 1} of {seats} members together unmask the others"
    if privacy.noised:
        found |= _budget(privacy, job.rounds, seats)
    found["data"] = OWNED if owned else SEALED if privacy.sealed else OPEN
    return found


def _robust(privacy: PrivacySpec, rule: str) -> str:
    if not privacy.masked:
        return f"{rule}, over single updates"
    size = f"groups of about {privacy.group}" if privacy.group else "one group: it has no effect"
    return f"{rule}, over the sums of {size}; no copy can be seen, and the clip is on one's honour"


def _budget(privacy: PrivacySpec, rounds: int, seats: int) -> dict[str, object]:
    check_budget(privacy, rounds)
    used, limit = spent(privacy, rounds), privacy.epsilon_milli / 1000
    least = max(1, seats - seats // 3)
    return {
        "noise": f"discrete Gaussian, {privacy.noise_ppm / MILLION:g} times the clip, added in "
        f"equal parts by the clients; a round of fewer than {least} updates takes nothing",
        "budget": f"epsilon {used:.2f} of {limit:g} after {rounds} rounds, delta 1e-"
        f"{privacy.delta_digits}; every client in every round, no amplification claimed",
    }


def sights_text(sights: dict[str, object]) -> str:
    """The table for people."""
    return "\n".join(f"{name:<16} {text}" for name, text in sights.items())

"""What providers ask for a unit, where a job offers less than that."""

import re
from collections.abc import Collection
from typing import Final

import msgspec

from dpin.base.errors import Misuse
from dpin.base.units import MicroTokens, format_tokens, parse_tokens
from dpin.ledger.params import Params
from dpin.ledger.transactions import Propose
from dpin.market.messages import Decline, Reason
from dpin.market.offers import cost_max

_ASKED: Final = re.compile(r".*, asked ([0-9,.]{1,30})")  # as `refusal` writes it


def too_cheap(
    params: Params, propose: Propose, declines: Collection[Decline], known: int
) -> tuple[str, str] | None:
    """One sentence and its fix where providers ask more than the job offers; None where none does.

    The fix pays as many of them as the job has seats, the cheapest first.
    """
    asked = sorted(price for no in declines if (price := _asked(no)) is not None)
    asked = [price for price in asked if price > propose.price_cap]
    if not asked:
        return None
    who = f"{len(asked)} of {max(known, len(asked))} providers known"
    if len(asked) >= known:
        who = f"all {len(asked)} providers known" if len(asked) > 1 else "the only provider known"
    verb = "asks" if len(asked) == 1 else "ask"
    price = asked[min(len(asked), propose.seats) - 1]
    needed = cost_max(params, msgspec.structs.replace(propose, price_cap=price))
    return (
        f"{who} {verb} at least {format_tokens(asked[0])} a unit; "
        f"your limit allows {format_tokens(propose.price_cap)}",
        f"limits.cost: {format_tokens(needed)} or more",
    )


def _asked(decline: Decline) -> MicroTokens | None:
    """The price in a refusal; None where there is none that can be read: others wrote it."""
    found = _ASKED.fullmatch(decline.detail) if decline.code == Reason.PRICE else None
    try:
        return parse_tokens(found[1]) if found else None
    except Misuse:
        return None

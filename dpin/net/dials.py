"""Dials under way, and when to try a peer again: ever more rarely, never for ever."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.chance import Chance
from dpin.base.ids import NodeId
from dpin.base.units import Instant, Micros, after, seconds
from dpin.net.address import by_ease, node_in

DIALS_MAX: Final = 8
DIAL_EXPIRES: Final = seconds(30)
BACK_OFF_FIRST: Final = seconds(1)
BACK_OFF_MAX: Final = seconds(120)
BACK_OFF_MAX_VALIDATOR: Final = seconds(10)
ATTEMPTS_MAX: Final = 2048


@dataclass(slots=True)
class _Attempt:
    failures: int
    not_before: Instant
    turn: int = 0  # which of the node's addresses is next


@dataclass(frozen=True, slots=True)
class _Dialling:
    address: str
    alone: bool  # no other address is tried at the same time
    until: Instant


class Dials:
    """The dials of one node: a few at once, each peer in its time."""

    def __init__(self, chance: Chance, validators: frozenset[NodeId]) -> None:
        self._chance = chance
        self._validators = validators
        self._dialling: dict[NodeId, _Dialling] = {}
        self._attempts: dict[NodeId, _Attempt] = {}

    def may_begin(self, node: NodeId, now: Instant) -> bool:
        """Whether to dial a peer now."""
        attempt = self._attempts.get(node)
        return node not in self._dialling and (attempt is None or attempt.not_before <= now)

    def begin(self, node: NodeId, addresses: Sequence[str], now: Instant) -> tuple[str, ...]:
        """Dial a peer: at the addresses returned, each being the first of them in turn."""
        attempt = self._attempts.get(node)
        eased = by_ease(addresses)
        turn = attempt.turn % len(eased) if attempt else 0
        turned = (*eased[turn:], *eased[:turn])
        alone = len(turned) == 1
        self._dialling[node] = _Dialling(turned[0], alone, after(now, DIAL_EXPIRES))
        return turned

    def answered(self, node: NodeId) -> str | None:
        """A peer is here: the address at which it was being dialled, empty for one of several."""
        dialling = self._dialling.pop(node, None)
        self._attempts.pop(node, None)
        if dialling is None:
            return None
        return dialling.address if dialling.alone else ""

    def failed(self, address: str, now: Instant) -> None:
        """A dial came to nothing."""
        node = node_in(address)
        dialling = self._dialling.get(node) if node is not None else None
        if node is not None and dialling is not None and dialling.address == address:
            del self._dialling[node]
            self.back_off(node, now, 1)

    def expire(self, now: Instant) -> None:
        """Dials of which nothing was heard came to nothing."""
        for node in [n for n, dialling in self._dialling.items() if dialling.until <= now]:
            del self._dialling[node]
            self.back_off(node, now, 1)

    def back_off(self, node: NodeId, now: Instant, failures: int) -> None:
        """Do not try a peer again at once; after a failure (1), later than the last time."""
        attempt = self._attempts.get(node)
        if attempt is None:
            if len(self._attempts) >= ATTEMPTS_MAX:
                del self._attempts[min(self._attempts, key=lambda n: self._attempts[n].not_before)]
            attempt = self._attempts[node] = _Attempt(0, now)
        attempt.failures = attempt.failures + 1 if failures else 0
        attempt.turn += failures
        most = BACK_OFF_MAX_VALIDATOR if node in self._validators else BACK_OFF_MAX
        wait = min(most, BACK_OFF_FIRST << min(attempt.failures, 10)) if failures else 0
        jitter = self._chance.below(max(1, wait // 2))
        attempt.not_before = after(now, Micros(wait // 2 + jitter))

    @property
    def full(self) -> bool:
        """Whether as many are under way as may be."""
        return len(self._dialling) >= DIALS_MAX

    @property
    def idle(self) -> bool:
        """Whether none is under way."""
        return not self._dialling

    def moments(self, wanted: Iterable[NodeId]) -> list[Instant]:
        """When something changes by the clock alone, given whom we miss."""
        found = [dialling.until for dialling in self._dialling.values()]
        if not self.full:
            waiting = (self._attempts.get(node) for node in wanted)
            found += [attempt.not_before for attempt in waiting if attempt is not None]
        return found

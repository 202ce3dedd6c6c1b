"""Who we know and where they answer, so kept that nobody can fill the table with itself.

Addresses are hearsay until a dial of ours proves them. Strangers are kept few for each group of
addresses (`prefix.py`) and each IP, and make room first; who answered a dial of ours is kept. Whom
to dial is drawn by lot, groups without a connection first: an attacker with many addresses in few
groups gets few of the connections that this node opens. After Heilman et al., "Eclipse attacks on
Bitcoin's peer-to-peer network" (USENIX Security 2015), section 7.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dpin.base.crypto import digest
from dpin.base.ids import NodeId
from dpin.base.units import Instant
from dpin.net.prefix import group_of, ip_in, is_near

KNOWN_MAX: Final = 1024
ADDRESSES_PER_PEER_MAX: Final = 4
ADDRESS_BYTES_MAX: Final = 256
STRANGERS_PER_GROUP_MAX: Final = 32
STRANGERS_PER_IP_MAX: Final = 4
PROVED_PER_GROUP_MAX: Final = 64
NEAR_MAX: Final = 512  # of each kind: on this machine and in private networks, which are one group
NEAR: Final = "near"
NEVER_SEEN: Final = Instant(0)
LOT_TAG: Final = "dpin/lot/v1"


def group_in(address: str) -> str:
    """The group that an address is counted in; all private networks are one."""
    ip = ip_in(address)
    return NEAR if is_near(ip) else group_of(ip)


@dataclass(frozen=True, slots=True)
class Word:
    """Where a node says that it answers; `raw` is what it signed, until when, in ms since 1970."""

    node: NodeId
    addresses: tuple[str, ...]
    until: int
    raw: bytes


@dataclass(slots=True)
class Known:
    """One peer. `addresses` are the best first."""

    group: str
    ip: str
    lot: bytes  # drawn when it was first heard of
    addresses: list[str] = field(default_factory=list)
    seen_at: Instant = NEVER_SEEN  # connected, whoever dialled
    proved_at: Instant = NEVER_SEEN  # answered a dial of ours
    word: Word | None = None


class Peers:
    """Knowledge about peers; all of it bounded, none of it asked for by a peer."""

    def __init__(self, salt: bytes = b"") -> None:
        self._salt = salt
        self._known: dict[NodeId, Known] = {}

    def learn(self, node: NodeId, address: str) -> bool:
        """Note that `node` is said to answer at `address`; False where there is no room for it.

        Where the node has said itself where it answers, hearsay comes last.
        """
        if len(address) > ADDRESS_BYTES_MAX or not self._admitted(node, address):
            return False
        known = self._known[node]
        if address not in known.addresses:
            at = len(known.addresses) if known.word is not None else 0
            known.addresses.insert(at, address)
            del known.addresses[ADDRESSES_PER_PEER_MAX:]
        return True

    def take_word(self, word: Word) -> bool:
        """Note where a node says it answers; False where that is old, or there is no room."""
        known = self._known.get(word.node)
        last = known.word if known is not None else None
        if last is not None and last.until >= word.until:
            return False
        if not word.addresses or not self._admitted(word.node, word.addresses[0]):
            return False
        known = self._known[word.node]
        proven = known.addresses[:1] if known.proved_at > NEVER_SEEN else []
        still = [address for address in proven if address in word.addresses]
        known.addresses = list(dict.fromkeys([*still, *word.addresses]))
        known.word = word
        return True

    def _admitted(self, node: NodeId, address: str) -> bool:
        if node in self._known:
            return True
        group, ip = group_in(address), ip_in(address)
        if not self._room_for(group, ip):
            return False
        self._known[node] = Known(group, ip, digest(LOT_TAG, self._salt + node))
        return True

    def _room_for(self, group: str, ip: str) -> bool:
        """Make room for a stranger: at the cost of one of its own group where that is full."""
        strangers = [n for n, k in self._known.items() if k.proved_at == NEVER_SEEN]
        at_ip = sum(self._known[n].ip == ip for n in strangers)
        if group != NEAR and ip and at_ip >= STRANGERS_PER_IP_MAX:
            return False
        same = [n for n in strangers if self._known[n].group == group]
        if len(same) >= (NEAR_MAX if group == NEAR else STRANGERS_PER_GROUP_MAX):
            del self._known[same[0]]
        elif len(self._known) >= KNOWN_MAX:
            if not strangers:
                return False
            sizes = Counter(self._known[n].group for n in strangers)
            del self._known[max(strangers, key=lambda n: sizes[self._known[n].group])]
        return True

    def proved(self, node: NodeId, now: Instant, address: str | None = None) -> None:
        """Note that `node` is connected, at `address` where we dialled it ("": one of several)."""
        if address and node not in self._known:
            if len(self._known) >= KNOWN_MAX and all(k.proved_at for k in self._known.values()):
                del self._known[min(self._known, key=self._age)]
            self.learn(node, address)
        known = self._known.get(node)
        if known is None:
            return
        known.seen_at = now
        if address is None:
            return
        known.proved_at = now
        if address in known.addresses:
            known.addresses.remove(address)
            known.addresses.insert(0, address)
        self._keep_few_proved(node, known.group)

    def _keep_few_proved(self, newest: NodeId, group: str) -> None:
        same = [n for n, k in self._known.items() if k.proved_at and k.group == group]
        if len(same) > (NEAR_MAX if group == NEAR else PROVED_PER_GROUP_MAX):
            del self._known[min((n for n in same if n != newest), key=self._age)]

    def _age(self, node: NodeId) -> tuple[Instant, NodeId]:
        return self._known[node].seen_at, node

    def addresses(self, node: NodeId) -> Sequence[str]:
        """Where `node` may answer, best first."""
        known = self._known.get(node)
        return tuple(known.addresses) if known else ()

    def of(self, node: NodeId) -> Known | None:
        """All that is known of one peer."""
        return self._known.get(node)

    def nodes(self) -> list[NodeId]:
        """Everybody known, those seen last first, then by id."""
        return sorted(self._known, key=lambda node: (-self._known[node].seen_at, node))

    def in_turn(self, outbound: Iterable[NodeId]) -> list[NodeId]:
        """Everybody, in the order to dial them, given those to whom our own connections go.

        Groups with the fewest of our connections first; there, who has answered us before; by lot.
        """
        taken = Counter(self._known[n].group for n in outbound if n in self._known)
        return sorted(
            self._known,
            key=lambda node: (
                taken[self._known[node].group],
                self._known[node].proved_at == NEVER_SEEN,
                self._known[node].lot,
            ),
        )

    def strangers(self) -> list[NodeId]:
        """Those who never answered a dial of ours, by lot."""
        found = [n for n, k in self._known.items() if k.proved_at == NEVER_SEEN]
        return sorted(found, key=lambda node: self._known[node].lot)

"""A lookup of Kad-DHT: whom to ask next, from those known at the start on, and when it is enough.

Kademlia's (Maymounkov and Mazieres 2002): ask the nearest, then the nearer ones that those name,
until the nearest that answer have all been asked. Over disjoint paths (S/Kademlia, Baumgart and
Mies 2007): who is named stays on the path of who named it, so that one liar has one path at most.
"""

from bisect import insort
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final

from dpin.base.ids import NodeId
from dpin.net.kadwire import CONTACTS_MAX, Contact
from dpin.net.peers import ADDRESSES_PER_PEER_MAX
from dpin.net.prefix import ip_in, is_near
from dpin.net.records import Key, place

PATHS: Final = 3  # one question under way on each: Kademlia's alpha
NEAREST: Final = 20  # of a path; when they have all answered, it has ended: libp2p's k
FIRST_MAX: Final = PATHS * NEAREST  # known at the start
KNOWN_MAX: Final = 64  # on a path and not asked yet
ASKED_MAX: Final = 64
DIALS_MAX: Final = 24
DIALS_PER_IP_MAX: Final = 4  # at public addresses
MISSES_MAX: Final = 3  # of those that one peer named; the others that it named are not tried then
OWN_MISSES_MAX: Final = 8  # the same of those that this node reached before


@dataclass(slots=True, order=True)
class _Candidate:
    distance: int
    node: NodeId
    addresses: tuple[str, ...] = field(compare=False)
    namer: NodeId | None = field(compare=False)  # None: it was known at the start
    dialled: bool = field(default=False, compare=False)


@dataclass(slots=True)
class _Path:
    waiting: list[_Candidate] = field(default_factory=list)  # the nearest first
    answered: list[tuple[int, NodeId]] = field(default_factory=list)  # the nearest first
    asking: _Candidate | None = None
    knew: bool = False

    def next(self, wanted: int) -> _Candidate | None:
        """Whom to ask: nobody where as many as are wanted have answered from nearer by."""
        if self.asking is not None or self.knew or not self.waiting:
            return None
        nearest = self.waiting[0]
        enough = self.answered[wanted - 1 : wanted]
        return nearest if not enough or nearest.distance < enough[0][0] else None

    @property
    def empty(self) -> bool:
        """Whether nothing ever came of it."""
        return not (self.waiting or self.answered or self.asking or self.knew)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a lookup is for; by default, to find what is kept under the key."""

    key: Key
    dials: int = DIALS_MAX  # how many may be dialled; without any it ends at the connected peers
    wanted: int = NEAREST  # answers of a path without one nearer by: then it has ended


class Lookup:
    """One lookup, from those known at the start on, nearest first; no I/O, and bounded."""

    def __init__(self, aim: Aim, me: NodeId, known: Iterable[Contact]) -> None:
        """`known` are connected peers, and others by the addresses where they answered once."""
        self._aim = aim
        self._at = int.from_bytes(aim.key)
        self._paths = [_Path() for _ in range(PATHS)]
        self._misses: Counter[NodeId | None] = Counter()
        self._at_ip: Counter[str] = Counter()
        self.asked, self.dials = 0, 0
        first = {contact.node: contact for contact in known if contact.node != me}
        ranked = nsmallest(FIRST_MAX, first, key=self._distance)
        self._met = {me, *ranked}  # asked, or waiting for it
        for rank, node in enumerate(ranked):
            candidate = self._candidate(node, first[node].addresses, None)
            self._paths[rank % PATHS].waiting.append(candidate)

    def next(self, here: Collection[NodeId]) -> Contact | None:
        """Whom to ask now, besides those that are being asked; None: nobody, or not yet.

        Who is not `here` has to be dialled, at the addresses of the contact.
        """
        for path in self._paths:
            while self.asked < ASKED_MAX and (candidate := path.next(self._aim.wanted)) is not None:
                del path.waiting[0]
                addresses = () if candidate.node in here else self._to_dial(candidate)
                if candidate.node in here or addresses:
                    self.asked += 1
                    path.asking = candidate
                    return Contact(candidate.node, addresses)
        return None

    def answered(self, node: NodeId, closer: Iterable[Contact]) -> None:
        """A peer has answered, and named these."""
        path, candidate = self._ended(node)
        if candidate.dialled:
            self._misses[candidate.namer] -= 1
        insort(path.answered, (candidate.distance, node))
        paths = [path, *(other for other in self._paths if other is not path and other.empty)]
        named = {contact.node: contact for contact in closer if contact.node not in self._met}
        ranked = sorted(named, key=self._distance)
        for rank, other in enumerate(ranked[:CONTACTS_MAX]):
            self._wait(paths[rank % len(paths)], named[other], node)

    def knew(self, node: NodeId) -> None:
        """A peer has answered with what is looked for: its path has ended."""
        path, _ = self._ended(node)
        path.knew = True

    @property
    def enough(self) -> bool:
        """Whether most paths have ended like that: one alone may be a liar's."""
        return 2 * sum(path.knew for path in self._paths) > PATHS

    def nearest(self, most: int) -> list[NodeId]:
        """Those that have answered from nearest by."""
        answers = (answer for path in self._paths for answer in path.answered)
        return [node for _, node in nsmallest(most, answers)]

    def failed(self, node: NodeId) -> None:
        """A peer was not reached, or did not answer; somebody else may know it better."""
        self._ended(node)
        self._met.discard(node)

    def _wait(self, path: _Path, contact: Contact, namer: NodeId) -> None:
        addresses = contact.addresses[:ADDRESSES_PER_PEER_MAX]
        insort(path.waiting, self._candidate(contact.node, addresses, namer))
        self._met.add(contact.node)
        for gone in path.waiting[KNOWN_MAX:]:
            self._met.discard(gone.node)
        del path.waiting[KNOWN_MAX:]

    def _ended(self, node: NodeId) -> tuple[_Path, _Candidate]:
        """The path on which a peer was being asked, which goes on now, and what is known of it."""
        for path in self._paths:
            candidate = path.asking
            if candidate is not None and candidate.node == node:
                path.asking = None
                return path, candidate
        raise AssertionError("who ends was asked")

    def _to_dial(self, candidate: _Candidate) -> tuple[str, ...]:
        """Where to dial a peer: not too many, nor at one place, nor by the word of one."""
        namer = candidate.namer
        misses_max = OWN_MISSES_MAX if namer is None else MISSES_MAX
        if self.dials >= self._aim.dials or self._misses[namer] >= misses_max:
            return ()
        ips = Counter[str]()
        for address in candidate.addresses:
            ips[ip_in(address)] += not is_near(ip_in(address))
        full = {ip for ip in ips if ips[ip] + self._at_ip[ip] > DIALS_PER_IP_MAX}
        addresses = tuple(a for a in candidate.addresses if ip_in(a) not in full)
        if addresses:
            self.dials += 1
            self._misses[namer] += 1  # Until it has answered.
            self._at_ip.update(ip_in(a) for a in addresses if not is_near(ip_in(a)))
            candidate.dialled = True
        return addresses

    def _candidate(
        self, node: NodeId, addresses: tuple[str, ...], namer: NodeId | None
    ) -> _Candidate:
        return _Candidate(self._distance(node), node, addresses, namer)

    def _distance(self, node: NodeId) -> int:
        return place(node) ^ self._at

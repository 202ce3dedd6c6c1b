"""Greets every peer, answers what peers ask of a node, and has some of them dial back.

See dpin.net.ask for the questions and docs/protocol/network.md for the rules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import structlog
import trio

from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import ChainId, NodeId, short
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.net.ask import (
    PORTS_MAX,
    PROTOCOL,
    Answer,
    AskDialBack,
    AskStatus,
    Greeted,
    Greeting,
    Question,
    Status,
    greeting,
    read_answer,
    read_question,
    write,
)
from dpin.net.dialback import DialBacks, fresh_nonce
from dpin.net.network import ASK, DIAL_BACK, Network
from dpin.net.reachability import RELAYED, Verdict, ports_of
from dpin.node.seen import Seen

GREET_SECONDS: Final = 10.0  # for an answer
GREET_EVERY_SECONDS: Final = 60.0
DIAL_BACK_SECONDS: Final = 45.0  # four ports, ten seconds each, and the way there
DIAL_BACK_EVERY_SECONDS: Final = 300.0  # and each minute while nobody has answered
ASKED_AT_ONCE: Final = 3  # peers, by different networks where there are such

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Around:
    """What an inquirer is tied to."""

    chain: ChainId
    version: str
    host: Network
    seen: Seen
    now: Callable[[], Instant]
    status: Callable[[], Status]
    leave: Callable[[NodeId, str], None]  # a peer that does not belong here


class Inquirer:
    """Questions and answers between nodes."""

    def __init__(self, around: Around, nursery: trio.Nursery) -> None:
        self._around = around
        self._host = around.host
        self._seen = around.seen
        self._nursery = nursery
        self._dial_backs = DialBacks(around.now)
        self._met = trio.Event()

    def serve(self) -> None:
        """Answer from now on."""
        self._host.serve(self._answer, ASK)
        self._host.serve(self._came, DIAL_BACK)

    def look_after(self) -> None:
        """Greet peers again and again, and have them dial back now and then."""
        self._nursery.start_soon(self._greet_again)
        self._nursery.start_soon(self._look_from_outside)

    def met(self, peer: NodeId) -> None:
        """A peer is connected: greet it."""
        self._nursery.start_soon(self.greet, peer)

    # --- asking ---

    async def greet(self, peer: NodeId) -> bool:
        """Exchange greetings; False where no answer came."""
        around, asked = self._around, self._around.now()
        question = greeting(around.chain, around.version, asked // MICROS_PER_MILLI)
        try:
            answer = await self.ask(peer, question, GREET_SECONDS)
        except Unavailable as error:
            log.debug("greeting-unanswered", peer=short(peer), reason=str(error))
            reason = self._seen.acquaintances.turned_away(around.chain, peer)
            if reason:  # It was the first to read a greeting, and hung up on it.
                around.leave(peer, reason)
            return False
        if isinstance(answer, Greeted):
            now = around.now()
            reason = self._seen.acquaintances.greeted(around.chain, peer, answer, asked, now)
            self._seen.tally.round_trips.add(now - asked)
            self._met.set()
            if reason:
                around.leave(peer, reason)
        return True

    async def ask(self, peer: NodeId, question: Question, seconds: float) -> Answer:
        """One answer; raises Unavailable, also for one that cannot be read."""
        try:
            return read_answer(await self._host.request(peer, write(question), seconds, ASK))
        except PeerFault as fault:
            raise Unavailable(f"the peer answered nonsense: {fault}") from None

    async def check(self, peers: Sequence[NodeId]) -> None:
        """Greet these at once; whoever does not answer loses its connection."""

        async def check_one(peer: NodeId) -> None:
            if not await self.greet(peer):
                self._host.disconnect(peer)

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(check_one, peer)

    async def _greet_again(self) -> None:
        while True:
            await trio.sleep(GREET_EVERY_SECONDS)
            for peer in self._host.peers():
                await self.greet(peer)

    async def _look_from_outside(self) -> None:
        """Have peers dial back: when the first is met, and then now and then."""
        await self._met.wait()
        while True:
            await self.look_from_outside()
            known = self._finding() != Verdict.UNKNOWN
            await trio.sleep(DIAL_BACK_EVERY_SECONDS if known else GREET_EVERY_SECONDS)

    def _finding(self) -> Verdict:
        return self._seen.reachability.finding(self._host.addresses, self._around.now()).verdict

    async def look_from_outside(self) -> None:
        """Ask some peers to dial this node."""
        direct = [address for address in self._host.addresses if RELAYED not in address]
        ports = ports_of(direct)[:PORTS_MAX]
        if ports:
            async with trio.open_nursery() as nursery:
                for peer in _askable(self._host, self._seen)[:ASKED_AT_ONCE]:
                    nursery.start_soon(self._ask_dial_back, peer, ports)

    async def _ask_dial_back(self, peer: NodeId, ports: tuple[int, ...]) -> None:
        nonce, reachability = fresh_nonce(), self._seen.reachability
        reachability.asked(peer, nonce, ports)
        answer: Answer | None = None
        try:
            answer = await self.ask(peer, AskDialBack(nonce, ports), DIAL_BACK_SECONDS)
            tried = reachability.answered(peer, answer, self._around.now())
        except (Unavailable, PeerFault) as error:
            reachability.forget(peer)
            log.debug("dial-back-unanswered", peer=short(peer), reason=str(error))
            return
        if tried is not None:
            self._host.prove(reachability.proof(self._host.addresses, self._around.now()))
            log.info("dialled-back", peer=short(peer), outcome=tried.outcome, at=tried.seen_at)

    # --- answering ---

    async def _answer(self, peer: NodeId, data: bytes) -> bytes:
        question = read_question(data)
        match question:
            case Greeting():
                around = self._around
                self._seen.acquaintances.told(around.chain, peer, question, around.now())
                return write(self._greeted(peer))
            case AskStatus():
                return write(self._around.status())
            case AskDialBack():
                seen_at = self._host.observer.seen_at(peer)
                return write(await self._dial_backs.answer(peer, seen_at, question))
            case _:
                assert_never(question)

    def _greeted(self, peer: NodeId) -> Greeted:
        around = self._around
        said = greeting(around.chain, around.version, around.now() // MICROS_PER_MILLI)
        seen_at = self._host.observer.seen_at(peer)
        return Greeted(PROTOCOL, said.chain, said.version, said.clock_ms, seen_at)

    async def _came(self, _peer: NodeId, nonce: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._seen.reachability.came(nonce):
            raise PeerFault("a nonce that nobody was given")
        return nonce


def _askable(host: Network, seen: Seen) -> list[NodeId]:
    """Peers that were greeted and are not being asked, those of another place first."""
    known, waiting = seen.acquaintances.known, seen.reachability.asking
    here = [peer for peer in host.peers() if peer in known and peer not in waiting]
    places: set[str] = set()
    first: list[NodeId] = []
    for peer in here:
        place = host.observer.seen_at(peer)
        if place not in places:
            places.add(place)
            first.append(peer)
    return [*first, *(peer for peer in here if peer not in first)]

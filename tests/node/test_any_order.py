"""Whole nodes through jobs while events come in any order: no rule of the market breaks, all ends.

What is lost, late, doubled, forged, forgotten in a crash or told by a clock that jumped is chosen
by hypothesis; what is left of it once the town is quiet must be nothing.
"""

from collections import Counter
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from dpin.base.codec import Wire, encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, BlobId, Digest, JobId, NodeId, Round
from dpin.base.leaf import Leaf
from dpin.base.machine import PeerDown, PeerUp, Received, Tick
from dpin.base.units import after, seconds
from dpin.compute.work import Exited, Reported
from dpin.ledger.accounts import LeaseState, UnitKey, UnitState
from dpin.ledger.money import MAX_SUPPLY, supply
from dpin.ledger.params import DEVELOPMENT
from dpin.market.messages import AskCheckpoint, AskReveal, CheckpointOffer, Decline, Heartbeat, Text
from dpin.market.ownjob import Stage
from dpin.market.requester import Abandon, Requester, Start
from dpin.net.envelope import Service, wrap
from dpin.sim.jobs import training
from dpin.storage.wanted import Fetched, Kept, Oversized, StoreEvent
from dpin.verify.jobkeys import AskJobKey, JobKeyMail
from dpin.verify.messages import AskOpening, NoOpening, Opening
from tests.support.accounting import earnings
from tests.support.ledgers import bonds, is_quiet
from tests.support.town import BEAT, NAMES, Letter, Town
from tests.support.weighing import weighed

STRANGER: Final = SigningKey(digest("test/key", b"stranger")).node_id
JOBS_MAX: Final = 3
REPEATS: Final = 20
PATIENCE: Final = 1_500  # beats from the last trouble to the end of all jobs
LINGER: Final = seconds(75)  # who has worked under masks stays for others
NOTHING: Final = Leaf(
    JobId(bytes(32)), NO_DIGEST, Round(0), 0, 0, NO_DIGEST, NO_DIGEST, NO_DIGEST, 0
)

who = st.sampled_from(NAMES)
pick = st.integers(0, 1 << 20)
privacies = st.sampled_from(["none", "none", "none", "sealed", "secagg"])
spans = st.sampled_from([1, 1, 2, 3, 5, 8, 20])
jumps = st.sampled_from([-3_600, -60, -3, 3, 12, 60, 3_600])
rounds = st.sampled_from([-(1 << 62), -1, 0, 1, 2, 7, 1 << 40, 1 << 62])
words = st.binary(max_size=9)


class Townsfolk(RuleBasedStateMachine):
    """A town, the jobs that were ordered in it, and what is known of their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.town = Town()
        self.ordered: list[str] = []
        self.ends: dict[str, tuple[object, ...]] = {}
        self.liars = {STRANGER}
        self.town.play(seconds(3))

    @rule(span=spans)
    def play(self, span: int) -> None:
        for _ in range(span):
            self.town.beat()

    @precondition(lambda self: len(self.ordered) < JOBS_MAX)
    @rule(seats=st.integers(1, 2), rounds=st.integers(1, 3), privacy=privacies)
    def order(self, seats: int, rounds: int, privacy: str) -> None:
        local_id = f"j-{len(self.ordered)}"
        order = training(3 if privacy == "secagg" else seats, privacy)
        self.ordered.append(local_id)
        order = msgspec.structs.replace(order, rounds=rounds, name=local_id)
        self.town.feed("buyer", Start(local_id, order))

    @property
    def _buyer(self) -> Requester:
        return self.town.homes["buyer"].body.requester

    # --- what holds at every moment ---

    @invariant()
    def money_is_where_the_terms_of_units_say(self) -> None:
        state = self.town.ledger.state
        assert supply(state) == MAX_SUPPLY
        assert bonds(state) == sum(one.locked for one in state.accounts.values())
        moved, escrow = earnings(state, DEVELOPMENT), Counter[NodeId]()
        for job in state.jobs.values():
            escrow[job.requester] += job.escrow
        for node, account in state.accounts.items():
            expected = DEVELOPMENT.founder_grant + moved[node]
            assert account.free + account.stake + escrow[node] == expected

    @invariant()
    def nobody_honest_is_convicted_or_blamed(self) -> None:
        units = self.town.ledger.state.units.values()
        assert not [unit for unit in units if unit.state == UnitState.SLASHED]
        assert not [blame for blame in self.town.blames if blame.peer not in self.liars]

    @invariant()
    def a_seat_has_one_holder(self) -> None:
        leases = self.town.ledger.state.leases.values()
        held = [
            (lease.job, lease.seat)
            for lease in leases
            if lease.state != LeaseState.ENDED and not lease.stopped
        ]
        assert len(held) == len({*held})

    @invariant()
    def what_was_ordered_is_known_and_ends_once(self) -> None:
        assert [*self._buyer.jobs] == self.ordered
        for local_id, own in self._buyer.jobs.items():
            if own.stage.ended:
                end = (own.stage, own.reason, own.output_files, (own.finished or 0) // 1_000)
                assert self.ends.setdefault(local_id, end) == end

    # --- and in the end ---

    @override
    def teardown(self) -> None:
        for _ in range(PATIENCE):
            self.town.beat()
            if self._over():
                break
        self.what_was_ordered_is_known_and_ends_once()
        assert {*self.ends} == {*self.ordered}
        self.town.play(seconds(4))
        self.town.now = after(self.town.now, LINGER)
        self.town.play(seconds(4))
        self.money_is_where_the_terms_of_units_say()
        self.nobody_honest_is_convicted_or_blamed()
        self.what_was_ordered_is_known_and_ends_once()
        self._see_that_nothing_is_left()

    def _over(self) -> bool:
        state = self.town.ledger.state
        quiet = all(is_quiet(state, job) for job in state.jobs.values())
        return quiet and all(own.stage.ended for own in self._buyer.jobs.values())

    def _see_that_nothing_is_left(self) -> None:
        assert self._over()
        assert not bonds(self.town.ledger.state)
        assert not self.town.pool
        assert not self.town.bag
        for home in self.town.homes.values():
            body = home.body
            held = (
                home.hired,
                body.provider.engagements,
                body.provider.witnesses.held,
                body.provider.chronicle.followed,
                body.verifier.checking,
                body.defender.held,
                body.wishes.pledges,
            )
            assert not any(held), held


class Mail(Townsfolk):
    """In any order, and more than once."""

    def _letter(self, number: int, *, early: bool = True) -> Letter | None:
        found = self.town.at_hand(early=early)
        return found[number % len(found)] if found else None

    @rule(number=pick, early=st.booleans())
    def deliver(self, *, number: int, early: bool) -> None:
        letter = self._letter(number, early=early)
        if letter is not None:
            self.town.deliver(letter)

    @rule(number=pick, times=st.sampled_from([1, 1, 3]))
    def repeat(self, number: int, times: int) -> None:
        letter = self._letter(number)
        if letter is not None and not isinstance(letter.event, Reported | Exited):
            for _ in range(times):
                self.town.feed(letter.to, letter.event)

    @rule(backwards=st.booleans(), twice=st.booleans())
    def commit(self, *, backwards: bool, twice: bool) -> None:
        """All that waits, in any order, and perhaps twice."""
        turn = -1 if backwards else 1
        self.town.commit(lambda pool: pool[::turn] * (2 if twice else 1), seconds(0.001))

    @rule(name=who, most=st.sampled_from([1, 2, 100]))
    def learn(self, name: str, most: int) -> None:
        self.town.learn(name, most)

    @rule(name=who)
    def tick(self, name: str) -> None:
        self.town.feed(name, Tick())


class Strangers(Mail):
    """Somebody without a part in anything says anything, and blobs come that nobody wants."""

    def _some(self, number: int) -> tuple[JobId, Digest, BlobId]:
        """A job, a lease and a blob that there may be."""
        state = self.town.ledger.state
        jobs = [*state.jobs, JobId(bytes(32)), JobId(b"")]
        leases = [*state.leases, Digest(bytes(32))]
        blobs = [unit.commit.update for unit in state.units.values() if unit.commit]
        blobs += [job.propose.manifest for job in state.jobs.values()]
        blobs += [blob for node in self.town.ids for blob in self.town.depot.shelf(node).blobs]
        blobs.append(BlobId(bytes(32)))
        return jobs[number % len(jobs)], leases[number % len(leases)], blobs[number % len(blobs)]

    def _words(self, number: int, round_: int, said: bytes) -> list[tuple[Service, Wire]]:
        job, lease, blob = self._some(number)
        at, text, final = Round(round_), said.decode("latin-1"), bool(number % 2)
        opening = Opening(lease, at, final, NOTHING, (), blob, blob)
        verify = [AskOpening(lease, at, final), NoOpening(lease, at, final, text), opening]
        market = [
            Decline(job, text, text * 9),
            Heartbeat(lease, at, "run", round_, round_, round_, round_),
            Text(lease, round_, said),
            AskCheckpoint(job),
            CheckpointOffer(job, at, blob),
            AskReveal(job, at),
            AskJobKey(job),
            JobKeyMail(job, said),
        ]
        about_units = [(Service.VERIFY, one) for one in verify]
        return [*about_units, *((Service.MARKET, one) for one in market)]

    def _say(self, sender: NodeId, to: str, payload: bytes) -> None:
        if sender != self.town.ledger.id(to):
            self.liars.add(sender)
            self.town.feed(to, Received(sender, payload))

    @rule(to=who, number=pick, kind=pick, round_=rounds, said=words)
    def intrude(self, to: str, number: int, kind: int, round_: int, said: bytes) -> None:
        self._claim(STRANGER, to, number, kind, round_, said)

    def _claim(self, sender: NodeId, to: str, *drawn: int | bytes) -> None:
        number, kind, round_, said = drawn
        assert isinstance(number, int)
        found = self._words(number, int(round_), bytes(said))
        service, body = found[int(kind) % len(found)]
        self._say(sender, to, wrap(self.town.homes[to].body.chain, service, encode(body)))

    @rule(to=who, number=pick, data=st.binary(max_size=60), service=st.sampled_from(Service))
    def babble(self, to: str, number: int, data: bytes, service: Service) -> None:
        """Another's letter with some bytes changed, or none of anybody's."""
        self._say(STRANGER, to, self._garbled(to, number, data, service))

    def _garbled(self, to: str, number: int, data: bytes, service: Service) -> bytes:
        letters = [one.event.payload for one in self.town.bag if isinstance(one.event, Received)]
        if not letters or number % 2 or not data:
            return wrap(self.town.homes[to].body.chain, service, data)
        payload = letters[number % len(letters)]
        place = number % len(payload)
        return payload[:place] + data + payload[place + len(data) :]

    @rule(to=who, number=pick, kind=st.integers(0, 2))
    def unasked(self, to: str, number: int, kind: int) -> None:
        """News of blobs and files that nobody asked for."""
        blob = BlobId(digest("test/blob", number.to_bytes(4)))
        events: list[StoreEvent] = [
            Fetched(blob, "/nowhere", b"\x00", 1),
            Oversized(blob, 1),
            Kept("/nowhere", blob, 1),
        ]
        self.town.feed(to, events[kind])


class Troubles(Strangers):
    """What the network, processes and clocks do."""

    @precondition(lambda self: self.ordered)
    @rule(number=pick)
    def abandon(self, number: int) -> None:
        self.town.feed("buyer", Abandon(self.ordered[number % len(self.ordered)]))

    @rule(number=pick)
    def lose(self, number: int) -> None:
        letter = self._letter(number)
        if letter is not None and isinstance(letter.event, Received):
            self.town.bag.remove(letter)

    @rule(number=pick, span=spans)
    def delay(self, number: int, span: int) -> None:
        letter = self._letter(number)
        if letter is not None:
            letter.ripe = after(self.town.now, seconds(span))

    @rule(keep=st.integers(0, 7))
    def hold_back(self, keep: int) -> None:
        """A commit with some of what waits."""
        self.town.now = after(self.town.now, BEAT)
        self.town.commit(lambda pool: [one for at, one in enumerate(pool) if keep >> at % 3 & 1])

    @rule(ticks=st.sampled_from([1, 5, 20, 60]))
    def stall(self, ticks: int) -> None:
        """The ledger's time passes, and nobody does anything."""
        for _ in range(ticks // 2):
            self.town.now = after(self.town.now, BEAT)
            self.town.commit(lambda _: [])

    @rule(name=who, by=jumps)
    def jump(self, name: str, by: int) -> None:
        self.town.homes[name].skew += seconds(by)

    @rule(name=who, number=pick)
    def kill(self, name: str, number: int) -> None:
        workers = sorted(self.town.homes[name].hired)
        if workers:
            self.town.kill(name, workers[number % len(workers)])

    @rule(name=who)
    def cut(self, name: str) -> None:
        self.town.cut.add(name)
        self._tell(name, PeerDown)

    @rule(name=who)
    def heal(self, name: str) -> None:
        self.town.cut.discard(name)
        self._tell(name, PeerUp)

    def _tell(self, name: str, kind: type[PeerUp | PeerDown]) -> None:
        for other in NAMES:
            if other != name:
                self.town.feed(other, kind(self.town.ledger.id(name)))
                self.town.feed(name, kind(self.town.ledger.id(other)))

    @override
    def teardown(self) -> None:
        for name in sorted(self.town.cut):
            self.heal(name)
        super().teardown()


class Disorder(Troubles):
    """And crashes: what was acknowledged is there afterwards. And who takes part may lie."""

    @rule(name=who)
    def crash(self, name: str) -> None:
        before = self._to_be_shown(name)
        self.town.crash(name)
        assert self._to_be_shown(name) >= before

    def _to_be_shown(self, name: str) -> set[UnitKey]:
        """The units of a node that its verifiers may still ask about."""
        state = self.town.ledger.state
        held = self.town.homes[name].body.defender.held
        units = (state.units.get((one.leaves[0].lease, one.leaves[0].round)) for one in held)
        return {(unit.lease, unit.round) for unit in units if unit is not None and unit.commit}

    @rule(drawn=st.tuples(who, who, pick, pick, rounds, words))
    def lie(self, drawn: tuple[str, str, int, int, int, bytes]) -> None:
        sender, to, number, kind, round_, said = drawn
        self._claim(self.town.ledger.id(sender), to, number, kind, round_, said)


class Nuisance(Strangers):
    """Where nothing is lost, strangers and disorder keep nobody from being paid."""

    @override
    def teardown(self) -> None:
        super().teardown()
        assert {end[0] for end in self.ends.values()} <= {Stage.DONE}, self.ends
        units = self.town.ledger.state.units.values()
        assert {unit.state for unit in units} <= {UnitState.PAID}


def weight(town: Town) -> Counter[tuple[str, ...]]:
    """What all nodes remember, by place; the ledger's own aside."""
    found = Counter[tuple[str, ...]]()
    for name, home in town.homes.items():
        body = home.body
        ledger = frozenset({id(body.state), id(body.executor), id(body.replica)})
        for path, size in weighed(body, without=ledger).items():
            found[name, *path] += size
    return found


@pytest.mark.parametrize("privacy", ["none", "sealed", "secagg"])
def test_what_is_said_many_times_is_remembered_once(privacy: str) -> None:
    town = Town()
    town.play(seconds(3))
    town.feed("buyer", Start("j-1", training(3, privacy)))
    for _ in range(6):
        town.play(seconds(2.4))
        letters = [one for one in town.bag if not isinstance(one.event, Reported | Exited)]
        for letter in letters:
            town.feed(letter.to, letter.event)
        before = weight(town)
        for letter in letters:
            for _ in range(REPEATS):
                town.feed(letter.to, letter.event)
        town.bag = town.bag[: len(letters) + 1]
        grown = {path: size - before[path] for path, size in weight(town).items()}
        assert not {path: size for path, size in grown.items() if size >= REPEATS // 4}


BOUNDED: Final = settings(
    max_examples=8,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestDisorder = Disorder.TestCase
TestDisorder.settings = BOUNDED
TestNuisance = Nuisance.TestCase
TestNuisance.settings = BOUNDED

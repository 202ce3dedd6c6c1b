"""A provider under check: who may see what, and when."""

from collections.abc import Iterable

import msgspec

from dpin.base.codec import decode
from dpin.base.ids import NO_BLOB, BlobId, Round
from dpin.base.leaf import leaf_path
from dpin.base.machine import Send
from dpin.ledger.accounts import UnitState
from dpin.ledger.transactions import OpenLeaf
from dpin.ledger.wishes import Follow, Wish
from dpin.storage.wanted import Allow, Discard, Keep, Kept, Missing, Purpose
from dpin.verify.defender import WAITING_MAX, Asked, Defender, Effect, Produced
from dpin.verify.messages import AskOpening, NoOpening, Opening, VerifyMessage
from tests.support.checking import BASE, LAST, STATE, CheckedUnit
from tests.support.jobs import generating, market, only, produced
from tests.support.ledgers import key_of, seal_all, unit_of, work


class Defended(CheckedUnit):
    """The unit, and its provider's defender, which follows the ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.defender = Defender(self.ledger.id("maker"))
        self.produced = produced(self.done)
        self.defender.step(self.produced)
        self.follow()

    def follow(self) -> list[Effect]:
        return list(self.defender.step(Follow(self.ledger.state)))

    def ask(self, who: str, *, final: bool) -> list[Effect]:
        message = AskOpening(self.unit.lease, self.unit.round, final)
        return list(self.defender.step(Asked(self.ledger.id(who), message)))

    def kept(self, path: str, blob: BlobId) -> list[Effect]:
        return list(self.defender.step(Kept(path, blob, 1_000)))

    @property
    def start(self) -> str:
        """The file of the state in which the checked window starts."""
        return self.produced.states[self.unit.window - 1]

    def open_all(self) -> None:
        for seat in self.unit.seats:
            self.seal(seat.verifier)
        self.open_leaves()
        self.follow()


def answers(effects: Iterable[Effect]) -> list[VerifyMessage]:
    return [decode(VerifyMessage, send.payload) for send in only(Send, effects)]


def test_a_seated_verifier_is_shown_the_start_of_its_window_and_nothing_else() -> None:
    scene = Defended()
    [keep] = only(Keep, scene.ask("one", final=False))
    assert (keep.path, keep.readers) == (scene.start, frozenset({scene.ledger.id("one")}))
    effects = scene.kept(scene.start, STATE)
    [shown] = answers(effects)
    window, leaves = scene.unit.window - 1, scene.done.leaves
    assert isinstance(shown, Opening)
    assert (shown.leaf, shown.path) == (leaves[window], leaf_path(leaves, window))
    assert (shown.state, shown.base, shown.final) == (STATE, NO_BLOB, False)
    both = frozenset({scene.ledger.id("one"), scene.ledger.id("two")})
    assert only(Allow, effects) == [Allow(STATE, both)]
    [send] = only(Send, effects)
    assert send.peer == scene.ledger.id("one")


def test_a_state_that_is_kept_already_is_shown_at_once() -> None:
    scene = Defended()
    scene.ask("one", final=False)
    scene.kept(scene.start, STATE)
    effects = scene.ask("two", final=False)
    assert not only(Keep, effects)
    assert [type(answer) for answer in answers(effects)] == [Opening]


def test_nobody_without_a_seat_is_shown_anything() -> None:
    scene = Defended()
    for who in ("buyer", "maker"):
        [answer] = answers(scene.ask(who, final=False))
        assert isinstance(answer, NoOpening)
        assert answer.reason == "no such unit, or no seat in it"


def test_a_unit_that_nobody_knows_is_not_shown() -> None:
    scene = Defended()
    message = AskOpening(scene.unit.lease, Round(9), final=False)
    effects = scene.defender.step(Asked(scene.ledger.id("one"), message))
    assert [type(answer) for answer in answers(effects)] == [NoOpening]
    before_any_ledger = Defender(scene.ledger.id("maker"))
    effects = before_any_ledger.step(Asked(scene.ledger.id("one"), message))
    assert [type(answer) for answer in answers(effects)] == [NoOpening]


def test_the_end_is_not_shown_before_the_leaves_are_open() -> None:
    scene = Defended()
    states = [UnitState.SEATED, UnitState.SEALED]
    for state in states:
        assert scene.unit.state == state
        effects = scene.ask("one", final=True)
        [answer] = answers(effects)
        assert isinstance(answer, NoOpening)
        assert answer.reason == "the leaves are not open yet"
        assert not only(Keep, effects)
        assert not only(Allow, effects)
        if state == UnitState.SEATED:
            for seat in scene.unit.seats:
                scene.seal(seat.verifier)
            scene.follow()


def test_once_the_leaves_are_open_the_end_and_its_base_are_shown() -> None:
    scene = Defended()
    scene.open_all()
    keeps = only(Keep, scene.ask("two", final=True))
    assert [keep.path for keep in keeps] == [scene.produced.states[-1], scene.produced.base]
    assert not answers(scene.kept(scene.produced.states[-1], LAST))
    [shown] = answers(scene.kept(scene.produced.base, BASE))
    assert isinstance(shown, Opening)
    assert (shown.leaf, shown.state, shown.base) == (scene.done.leaves[-1], LAST, BASE)


def test_the_leaves_are_opened_when_all_verifiers_have_sealed() -> None:
    scene = Defended()
    assert not only(Wish, scene.follow())
    for seat in scene.unit.seats:
        scene.seal(seat.verifier)
    [wish] = only(Wish, scene.follow())
    assert isinstance(wish.operation, OpenLeaf)
    assert scene.ledger.do("maker", wish.operation) == "ok"
    assert scene.unit.state == UnitState.OPENED
    assert not only(Wish, scene.follow())


def test_a_settled_unit_leaves_no_files_and_no_answers() -> None:
    scene = Defended()
    scene.open_all()
    for seat in list(scene.unit.seats):
        scene.reveal(seat.verifier)
    assert scene.unit.state == UnitState.PAID
    assert only(Discard, scene.follow()) == [Discard(scene.produced.states)]
    assert not only(Discard, scene.follow())
    assert [type(answer) for answer in answers(scene.ask("one", final=True))] == [NoOpening]


def test_questions_about_files_that_were_never_kept_end_with_their_unit() -> None:
    scene = Defended()
    scene.open_all()
    assert only(Keep, scene.ask("one", final=True))  # The disk refuses: it is never kept.
    for seat in list(scene.unit.seats):
        scene.reveal(seat.verifier)
    assert len(scene.defender._waiting) == 1
    scene.follow()
    assert scene.defender._waiting == []


def test_a_unit_whose_work_is_lost_is_not_opened() -> None:
    scene = CheckedUnit()
    defender = Defender(scene.ledger.id("maker"))
    for seat in scene.unit.seats:
        scene.seal(seat.verifier)
    assert not defender.step(Follow(scene.ledger.state))


def test_units_of_others_are_left_alone() -> None:
    scene = CheckedUnit()
    other = Defender(scene.ledger.id("one"))
    other.step(produced(scene.done))
    for seat in scene.unit.seats:
        scene.seal(seat.verifier)
    assert not only(Wish, other.step(Follow(scene.ledger.state)))


def test_the_same_question_waits_once_and_is_answered_once() -> None:
    scene = Defended()
    for _ in range(WAITING_MAX + 1):
        assert not answers(scene.ask("one", final=False))
    assert len(answers(scene.kept(scene.start, STATE))) == 1


def test_questions_beyond_the_limit_are_declined_and_the_others_kept() -> None:
    scene = Defended()
    ledger, unit = scene.ledger, scene.unit
    for number in range(WAITING_MAX + 1):
        leaves = tuple(
            msgspec.structs.replace(leaf, round=Round(number)) for leaf in scene.done.leaves
        )
        states = tuple(f"/{number}/{leaf.window}" for leaf in leaves)
        ledger.state.units[unit.lease, Round(number)] = unit
        scene.defender.step(Produced(leaves, states, "/base"))
    effects: list[Effect] = []
    for number in range(WAITING_MAX + 1):
        message = AskOpening(unit.lease, Round(number), final=False)
        effects += scene.defender.step(Asked(ledger.id("one"), message))
    [answer] = answers(effects)
    assert isinstance(answer, NoOpening)
    assert (answer.round, answer.reason) == (WAITING_MAX, "too many questions at once")
    assert len(only(Keep, effects)) == WAITING_MAX


def test_a_generation_has_no_states_to_show() -> None:
    ledger = market()
    job = generating(ledger, "buyer", "maker")
    done = work(ledger, key_of(ledger, job, "maker"))
    assert ledger.do("maker", done.commit()) == "ok"
    ledger.wait(1)
    unit = unit_of(ledger, job, "maker")
    defender = Defender(ledger.id("maker"))
    defender.step(Produced(done.leaves, (), ""))
    defender.step(Follow(ledger.state))
    asked = Asked(unit.seats[0].verifier, AskOpening(unit.lease, unit.round, final=False))
    assert [type(answer) for answer in answers(defender.step(asked))] == [NoOpening]
    seal_all(ledger, unit, [done.leaves[0].parameters])
    assert len(only(Wish, defender.step(Follow(ledger.state)))) == 1


def test_a_file_that_cannot_be_kept_changes_nothing() -> None:
    scene = Defended()
    assert not scene.defender.step(Missing(BlobId(b""), "no space left"))
    assert Purpose.CHECK in {keep.purpose for keep in only(Keep, scene.ask("one", final=False))}

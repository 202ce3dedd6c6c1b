"""A requester whose rounds have gone on without it: a provider's state, which the ledger names."""

from dpin.base.codec import decode
from dpin.base.ids import BlobId, Digest, Round
from dpin.base.machine import PeerUp, Send
from dpin.compute.task import Evaluate, Exported, Failed, Opened
from dpin.ledger.accounts import JobState, Phase
from dpin.market.messages import AskCheckpoint, CheckpointOffer, MarketMessage, StateTaken
from dpin.market.needs import of_own
from dpin.market.ownjob import Stage
from dpin.market.rejoining import GONE
from dpin.market.requester import Effect, ToRequester
from dpin.market.seeking import Word, word_on
from dpin.market.story import Note
from dpin.storage.wanted import Fetch, Missing
from tests.support.buyers import Run, commands
from tests.support.jobs import file_id, here, only, path_of
from tests.support.ledgers import OTHER, START

HELD = file_id("state before round 2")
WAIT = GONE // 1_000_000


class Away(Run):
    """Two of three rounds were closed while it was away, whose updates nobody has any more."""

    def __init__(self) -> None:
        super().__init__(0)
        self.close()
        self.close()
        self.restart()
        self.step(PeerUp(self.ledger.id("maker")), 20)
        self.load(20)
        self.report(Opened(Round(0), START), 20)

    def look(self, moment: float, *, gone: bool = True) -> list[Effect]:
        """The next look at the ledger; before it, what was asked for is not found."""
        effects = self.follow(moment)
        for fetch in only(Fetch, effects):
            if gone and fetch.blob != HELD:
                effects += self.step(Missing(fetch.blob, "nobody has it"), moment)
        return effects

    def wait(self, *, gone: bool = True) -> list[Effect]:
        """As long as an update that is missing is waited for."""
        effects: list[Effect] = []
        for second in range(WAIT + 2):
            effects += self.look(20 + second, gone=gone)
        return effects

    def offer(self, round_: int, moment: float = 40, blob: BlobId = HELD) -> list[Effect]:
        message = CheckpointOffer(self.job, Round(round_), blob)
        return self.step(ToRequester(self.ledger.id("maker"), message), moment)

    def lend(self, state: Digest = START) -> list[Effect]:
        """The offered state is here, and loaded."""
        assert self.begun(self.step(here(HELD), 41)) == (2, path_of(HELD))
        return self.report(Opened(Round(2), state), 42)

    def holding(self) -> Round | None:
        assert self.own.merging is not None
        return self.own.merging.holding


def asks(effects: list[Effect]) -> int:
    """How often somebody was asked for a state."""
    said: list[MarketMessage] = [decode(MarketMessage, it.payload) for it in only(Send, effects)]
    return sum(isinstance(it, AskCheckpoint) for it in said)


def test_where_updates_are_not_to_be_had_a_providers_state_is_asked_for_and_gone_on_with() -> None:
    away = Away()
    assert asks(away.look(20 + WAIT - 1)) == 0
    assert asks(away.wait()) > 0
    assert HELD in [fetch.blob for fetch in only(Fetch, away.offer(2))]
    assert HELD in of_own(away.own, away.ledger.state)
    away.ledger.state.jobs[away.job].rounds[2].state_hash = START
    effects = away.lend()
    assert away.holding() == 2
    assert Evaluate() in commands(effects)
    text = next(it.text for it in only(Note, effects) if it.text.startswith("goes on"))
    assert text == (
        "goes on after round 2, with the state of node, which the ledger names: "
        "updates of round 1 are not to be had any more"
    )
    assert away.own.merging is not None
    assert away.own.merging.states == {1: START}
    assert away.own.rounds[Round(0)].update_bytes == 0  # Nothing is invented.


def test_updates_that_are_just_coming_in_are_waited_for() -> None:
    away = Away()
    assert asks(away.wait(gone=False)) == 0


def test_with_nobody_connected_nothing_counts_as_gone() -> None:
    run = Run(0)
    run.close()
    run.restart()
    run.load(20)
    run.report(Opened(Round(0), START), 20)
    for second in range(2 * WAIT):
        effects = run.follow(20 + second)
        for fetch in only(Fetch, effects):
            run.step(Missing(fetch.blob, "nobody has it"), 20 + second)
        assert asks(effects) == 0


def test_a_providers_state_counts_once_the_ledger_names_it() -> None:
    away = Away()
    away.wait()
    away.offer(2)
    away.lend()
    assert away.holding() is None
    assert commands(away.follow(43)) == []
    away.ledger.state.jobs[away.job].rounds[2].state_hash = START
    away.follow(44)
    assert away.holding() == 2


def test_another_state_than_the_ledger_names_is_refused_and_the_own_loaded_again() -> None:
    away = Away()
    away.wait()
    away.offer(2)
    away.ledger.state.jobs[away.job].rounds[2].state_hash = START
    away.lend(OTHER)
    assert away.holding() is None
    assert away.own.opened != path_of(HELD)
    assert away.own.seeking is not None
    assert away.own.seeking.refused == {away.ledger.id("maker")}
    away.report(Opened(Round(0), START), 45)
    assert away.holding() == 0


def test_a_providers_state_that_cannot_be_read_is_refused() -> None:
    away = Away()
    away.wait()
    away.offer(2)
    away.step(here(HELD), 41)
    away.report(Failed("OpenJob", "corrupt checkpoint"), 42)
    assert not away.own.stage.ended
    assert away.own.opened != path_of(HELD)


def test_a_state_that_nobody_has_makes_room_for_another_offer() -> None:
    away = Away()
    away.wait()
    away.offer(2, blob=file_id("trap"))
    away.step(Missing(file_id("trap"), "nobody has it"), 41)
    assert HELD in [fetch.blob for fetch in only(Fetch, away.offer(2, 42))]


def test_states_that_lead_nowhere_or_that_nothing_proves_are_not_fetched() -> None:
    away = Away()
    away.wait()
    away.offer(0)  # It is held here.
    away.ledger.state.jobs[away.job].rounds[1].phase = Phase.EXCHANGE
    away.ledger.state.jobs[away.job].rounds[1].state_hash = None
    away.offer(1)
    assert away.own.seeking is not None
    assert away.own.seeking.found is None
    away.offer(2)
    assert away.own.seeking.found == (2, HELD)


def test_what_the_ledger_says_of_a_state() -> None:
    run = Run(0)
    run.close()
    job = run.ledger.state.jobs[run.job]
    assert word_on(job, Round(0), START) is Word.SAME
    assert word_on(job, Round(0), OTHER) is Word.OTHER
    assert word_on(job, Round(1), START) is Word.NOT_YET
    assert word_on(job, Round(2), START) is Word.NOT_YET
    job.state = JobState.SETTLING
    assert word_on(job, Round(2), START) is Word.NEVER


def test_a_provider_that_still_keeps_a_state_is_told_once_the_result_is_there() -> None:
    run = Run(2)
    run.close()
    run.merge(2)
    message = CheckpointOffer(run.job, Round(2), HELD)
    offered = ToRequester(run.ledger.id("maker"), message)
    assert only(Send, run.step(offered, 20)) == []
    run.report(Exported("/out", ("/out/model.safetensors",)), 21)
    run.follow(21)
    assert (run.own.stage, run.own.reason) == (Stage.DONE, "")
    [send] = only(Send, run.step(offered, 22))
    said: MarketMessage = decode(MarketMessage, send.payload)
    assert (send.peer, said) == (run.ledger.id("maker"), StateTaken(run.job))

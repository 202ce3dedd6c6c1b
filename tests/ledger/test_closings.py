"""No end of an epoch is lost, and a log takes along the newest alone."""

import msgspec

from dpin.base.codec import decode, encode
from dpin.ledger.closings import CARRIED, Closings
from dpin.ledger.handover import Handover
from tests.support.witnessed import sample

LEDGER = sample()[0]
FIRST = Handover(LEDGER.closings[0], LEDGER.committees[1])


def ended(epoch: int) -> Handover:
    """As an epoch might have ended."""
    certificate = FIRST.certificate
    checkpoint = msgspec.structs.replace(certificate.checkpoint, epoch=epoch)
    return Handover(msgspec.structs.replace(certificate, checkpoint=checkpoint), FIRST.record)


def through(epochs: int, closings: Closings) -> int:
    """Live through epochs; returns how many bytes logs would have begun with, in all."""
    carried = 0
    for epoch in range(epochs):
        closings.add(ended(epoch))
        carried += sum(map(len, closings.carried(epoch + 1)))
    return carried


def test_a_log_begins_with_the_newest_and_all_can_be_asked_for() -> None:
    closings, epochs = Closings(), 5 * CARRIED
    carried = through(epochs, closings)
    assert carried <= epochs * CARRIED * len(encode(ended(epochs)))
    newest = [decode(Handover, data).epoch for data in closings.carried(epochs)]
    assert newest == list(range(epochs - CARRIED, epochs))
    assert list(closings) == list(range(epochs))
    assert closings[0] == ended(0)
    assert epochs not in closings


def test_each_is_preserved_once_over_all_starts() -> None:
    closings = Closings()
    preserved: list[bytes] = []
    for epoch in range(3):
        closings.add(ended(epoch))
        preserved += closings.take_new()
    assert [decode(Handover, data).epoch for data in preserved] == [0, 1, 2]
    again = Closings(preserved)
    again.add(ended(2))  # The log has it, too.
    assert again.take_new() == ()
    again.add(ended(3))
    assert again.take_new() == (encode(ended(3)),)


def test_what_a_crash_kept_from_being_preserved_is_preserved_later() -> None:
    """The log is durable and the place beside it is not, or has lost its end."""
    before = Closings()
    through(CARRIED + 4, before)
    kept = before.take_new()
    again = Closings(kept[: -CARRIED // 2])
    for data in before.carried(CARRIED + 4):
        again.add(decode(Handover, data))
    assert [*kept[: -CARRIED // 2], *again.take_new()] == list(kept)
    assert list(again) == list(before)

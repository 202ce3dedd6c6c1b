"""What a requester or provider may be told in one message, and what it remembers of strangers."""

import pytest

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, Digest, JobId, Round
from dpin.compute.secagg.words import Reveal
from dpin.market.messages import (
    DETAIL_CHARS_MAX,
    SHORT_BYTES_MAX,
    CheckpointOffer,
    Decline,
    Heartbeat,
    MarketMessage,
    Reason,
    RevealMail,
    Text,
    declined,
    read_message,
)
from dpin.market.viewing import Viewing
from tests.support.jobs import at, file_id, here, manifest_blob, market, proposed, train_manifest

JOB = JobId(bytes(32))
LEASE = Digest(bytes(32))
LONG = "x" * SHORT_BYTES_MAX


@pytest.mark.parametrize(
    "message",
    [
        Decline(JOB, Reason.BUSY, LONG),
        Decline(JOB, LONG, "busy"),
        Decline(JobId(LONG.encode()), Reason.BUSY, "busy"),
        Heartbeat(LEASE, Round(0), LONG, 0, 0, 0, 0),
        CheckpointOffer(JOB, Round(0), BlobId(LONG.encode())),
        RevealMail(Reveal(JOB, Round(0), LEASE, LEASE, LEASE, ((LEASE, 0, bytes(1 << 17)),))),
    ],
)
def test_a_message_that_would_be_kept_of_many_peers_is_short(message: MarketMessage) -> None:
    with pytest.raises(PeerFault, match="at most"):
        read_message(encode(message))


def test_a_short_message_and_a_long_text_are_read() -> None:
    for message in (Decline(JOB, Reason.BUSY, "busy"), Text(LEASE, 0, bytes(1 << 16))):
        assert read_message(encode(message)) == message


def test_a_refusal_with_much_to_say_is_cut_so_that_it_is_read() -> None:
    message = declined(JOB, Reason.FAULTY, "\N{PILE OF POO}" * SHORT_BYTES_MAX)
    assert len(message.detail) == DETAIL_CHARS_MAX
    assert read_message(encode(message)) == message


def test_a_manifest_that_comes_after_the_end_of_its_job_is_not_remembered() -> None:
    ledger = market()
    job = ledger.state.jobs[proposed(ledger, "buyer")]
    viewing = Viewing(())
    for _ in range(2):
        list(viewing.look(job, at(0)))
        viewing.forget(job.id)
        viewing.arrived(here(manifest_blob(train_manifest()), b"garbage"))
        assert not viewing.seen(job)
    list(viewing.look(job, at(0)))
    viewing.arrived(here(file_id("something else")))
    assert not viewing.seen(job)

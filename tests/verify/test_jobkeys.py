"""Who gets the key of a sealed job, and what of it others can use: nothing."""

import pytest
from msgspec.structs import replace

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import JobId, NodeId
from dpin.base.machine import Send
from dpin.base.sealed import RANDOM_BYTES, sealed_bytes
from dpin.base.units import Instant
from dpin.compute.safety import PrivacySpec
from dpin.ledger.accounts import Job
from dpin.verify.jobfiles import JobFiles
from dpin.verify.jobkeys import AskJobKey, JobKeyMail, JobKeys, entitled
from tests.support.jobs import files_of, market, train_manifest, training_with
from tests.support.ledgers import Ledger

NOW = Instant(5_000_000)
SEED = bytes(range(32))
READER = SigningKey(SEED).node_id
SEALED = replace(train_manifest(), privacy=PrivacySpec("sealed", reader=READER))


def sealed_training() -> tuple[Ledger, Job]:
    ledger = market()
    return ledger, ledger.state.jobs[training_with(ledger, "buyer", "maker", manifest=SEALED)]


def keys_of(ledger: Ledger, name: str) -> JobKeys:
    return JobKeys(ledger.keys[name])


def mails(sent: list[Send]) -> list[tuple[NodeId, JobKeyMail]]:
    return [(send.peer, decode(JobKeyMail, send.payload)) for send in sent]


def test_who_has_a_lease_asks_is_answered_and_his_files_are_ready() -> None:
    ledger, job = sealed_training()
    buyer, maker = keys_of(ledger, "buyer"), keys_of(ledger, "maker")
    buyer.hold(job.id, SEED)
    files = JobFiles(job, maker)
    for event in files_of(SEALED):
        files.arrived(event)
    assert not files.ready  # All files are here, and none can be read.
    asked = [effect for effect in maker.follow(ledger.state, NOW) if isinstance(effect, Send)]
    assert [(send.peer, decode(AskJobKey, send.payload)) for send in asked] == [
        (ledger.id("buyer"), AskJobKey(job.id))
    ]
    assert not list(maker.follow(ledger.state, NOW))  # Not again at once.
    [(peer, mail)] = mails(list(buyer.asked(ledger.id("maker"), AskJobKey(job.id), ledger.state)))
    assert peer == ledger.id("maker")
    assert SEED not in encode(mail)
    maker.told(mail)
    assert files.missing(ledger.state) == []
    assert bool(files.ready)
    assert files.key == SEED


def test_who_has_no_seat_is_told_nothing_and_asks_nobody() -> None:
    ledger, job = sealed_training()
    buyer, other = keys_of(ledger, "buyer"), keys_of(ledger, "two")
    buyer.hold(job.id, SEED)
    assert not entitled(ledger.state, job.id, ledger.id("two"))
    assert not list(buyer.asked(ledger.id("two"), AskJobKey(job.id), ledger.state))
    assert not list(buyer.asked(ledger.id("maker"), AskJobKey(JobId(bytes(32))), ledger.state))
    assert other.of(job.id, READER) is None
    assert not list(other.follow(ledger.state, NOW))


def test_a_key_that_was_sealed_for_another_or_opens_nothing_is_a_fault() -> None:
    ledger, job = sealed_training()
    maker = keys_of(ledger, "maker")
    assert maker.of(job.id, READER) is None
    me, other = ledger.id("maker"), ledger.id("two")
    for reader, seed in ((other, SEED), (me, bytes(32)), (me, b"short")):
        sealed = sealed_bytes([reader], bytes(RANDOM_BYTES), seed)
        with pytest.raises(PeerFault):
            maker.told(JobKeyMail(job.id, sealed))
    with pytest.raises(PeerFault):
        maker.told(JobKeyMail(job.id, b"nonsense"))
    maker.told(JobKeyMail(JobId(bytes(32)), b"nonsense"))  # Of a job that it does not ask about.
    assert maker.of(job.id, READER) is None


def test_the_key_of_an_own_job_is_the_same_after_a_restart_and_differs_by_job_and_node() -> None:
    one, two = SigningKey(bytes(32)), SigningKey(SEED)
    assert JobKeys(one).made_for("j-1") == JobKeys(one).made_for("j-1")
    made = {JobKeys(key).made_for(job) for key in (one, two) for job in ("j-1", "j-2")}
    assert len(made) == 4

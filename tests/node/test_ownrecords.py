"""A log that another version wrote: what is refused, what is left alone, and in which words."""

from pathlib import Path

import pytest

from dpin.base.codec import encode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.machine import Roll
from dpin.ledger.annals import Record
from dpin.node.home import home_in
from dpin.node.logs import understood
from dpin.node.ownrecords import Owner
from tests.support.alone import Alone


def with_record(record: bytes) -> Alone:
    """A node that starts again and finds this at the end of its log."""
    node = Alone()
    node.wait(1)
    node.records.append(record)
    node.restart()
    return node


@pytest.mark.parametrize("owner", [Owner.OWN_JOB, Owner.PRODUCED])
def test_a_job_that_an_earlier_version_began_keeps_no_node_from_starting(owner: Owner) -> None:
    node = with_record(bytes([owner]) + encode(["a", "job", "of", "before"]))
    [told] = node.peer.unread
    assert told.startswith("a job of another version of dpin is not gone on with")
    assert node.peer.requester.jobs == {}
    assert node.wait(30)
    assert node.peer.state.height > 0


def test_what_is_left_alone_stays_in_the_log_for_the_version_that_wrote_it() -> None:
    record = bytes([Owner.OWN_JOB]) + encode(["before"])
    rolled = with_record(record).peer._logged(Roll([]))
    assert isinstance(rolled, Roll)
    assert record in list(rolled.records)


@pytest.mark.parametrize(
    "record",
    [b"\x09later", bytes([Owner.LEDGER]) + encode(Record(9, b"")), bytes([Owner.LEDGER]) + b"\xc1"],
)
def test_a_log_that_a_later_version_wrote_is_refused_with_a_sentence(
    record: bytes, tmp_path: Path
) -> None:
    home = home_in(tmp_path, tmp_path / "config.toml")
    with pytest.raises(Misuse, match="is of another version of dpin") as refused:
        understood(home, lambda: with_record(record))
    assert "start the version that wrote it" in refused.value.fix
    with pytest.raises(PeerFault):
        with_record(record)

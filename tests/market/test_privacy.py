"""Private datasets: declared by their owners, asked for by jobs, read before a bid."""

from dataclasses import replace

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.errors import Misuse
from dpin.base.ids import BlobId
from dpin.base.machine import Send
from dpin.compute.hubspec import DataFormat, PrivatePlace, PrivateSpec
from dpin.compute.modulespec import ModuleSpec, TensorShape
from dpin.compute.task import OpenJob
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import Job
from dpin.ledger.wishes import Follow
from dpin.market.loading import Loading
from dpin.market.messages import BidMessage, Decline, MarketMessage, Reason
from dpin.market.privacy import misfit, parse_datasets, place_for
from dpin.market.provider import Effect, Probe, Provider
from dpin.storage.wanted import Fetch
from dpin.verify.naming import disk_bytes
from tests.support.jobs import PROBED, at, here, manifest_blob, market, only, sized, train_manifest
from tests.support.ledgers import Ledger, propose
from tests.support.market import CHOICE

NOTES = parse_datasets(["ward-notes table text+label /srv/notes.csv"])
WANTED = PrivateSpec("ward-notes", DataFormat("table", labels=("no", "yes")))
MANIFEST = sized(msgspec.structs.replace(train_manifest(), shards=(), private=WANTED))


@pytest.mark.parametrize("line", ["", "notes table text", "No table - /x", "notes pictures - /x"])
def test_a_line_that_declares_nothing_is_refused(line: str) -> None:
    with pytest.raises(Misuse, match="NAME FORMAT COLUMNS PATH"):
        parse_datasets([line])


def test_a_dataset_fits_by_name_format_and_columns() -> None:
    place = place_for(NOTES, WANTED)
    assert place == PrivatePlace("/srv/notes.csv", (".csv", ".parquet", ".jsonl"), 1 << 32)
    other = (
        PrivateSpec("ward-note", WANTED.format),
        PrivateSpec("ward-notes", DataFormat("text")),
        PrivateSpec("ward-notes", DataFormat("table", text="body")),
        PrivateSpec("ward-notes", DataFormat("table", label="class", labels=("a",))),
    )
    assert [place_for(NOTES, wanted) for wanted in (*other, None)] == [None] * 5


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (PrivateSpec("ward", WANTED.format), "has no dataset 'ward'"),
        (PrivateSpec("ward-notes", DataFormat("text")), "as table, not as text"),
        (
            PrivateSpec("ward-notes", DataFormat("table", text="body")),
            "without the columns asked: body",
        ),
        (
            PrivateSpec("ward-notes", DataFormat("table", text="a", label="b", labels=("c",))),
            "without the columns asked: a, b",
        ),
    ],
)
def test_a_requester_reads_what_does_not_fit_and_no_column_that_it_has_not_named(
    wanted: PrivateSpec, said: str
) -> None:
    told = misfit(NOTES, wanted)
    assert said in told
    assert "label" not in told


def shop(*lines: str) -> tuple[Ledger, Provider, Job]:
    """Maker, who declares these datasets, and a job on private data."""
    ledger = market()
    job = propose(
        ledger,
        "buyer",
        manifest=manifest_blob(MANIFEST),
        verifiers=0,
        disk_bytes=disk_bytes(MANIFEST),
    )
    choice = replace(CHOICE, datasets=parse_datasets(lines))
    chain = ledger.executor.chain
    provider = Provider(ledger.keys["maker"], chain, ledger.genesis.params, choice)
    provider.step(Probe(PROBED), at(0))
    return ledger, provider, ledger.state.jobs[job]


def said(effects: list[Effect]) -> list[MarketMessage]:
    return [decode(MarketMessage, send.payload) for send in only(Send, effects)]


def answer(*lines: str) -> list[MarketMessage]:
    ledger, provider, job = shop(*lines)
    first = provider.step(Follow(ledger.state), at(0))
    assert [fetch.blob for fetch in only(Fetch, first)] == [job.propose.manifest]
    assert said(first) == []
    assert only(Fetch, provider.step(Follow(ledger.state), at(1))) == []
    return said(provider.step(here(job.propose.manifest, encode(MANIFEST)), at(3)))


def test_an_owner_reads_the_manifest_and_bids() -> None:
    [bid] = answer("ward-notes table text+label /srv/notes.csv")
    assert isinstance(bid, BidMessage)


def test_who_has_no_such_dataset_says_so() -> None:
    [no] = answer("ward-notes table text /srv/notes.csv")
    assert isinstance(no, Decline)
    assert no.code == Reason.DATASET
    assert "declares 'ward-notes' without the columns asked: label" in no.detail
    assert "/srv" not in no.detail


def test_the_worker_of_an_owner_is_told_where_its_data_lie() -> None:
    ledger, _, job = shop()
    loading = Loading(job, ledger.id("maker"), WorkerId("lease"), NOTES)
    loading.hired = True
    for event in (
        here(job.propose.manifest, encode(MANIFEST)),
        here(MANIFEST.holdout),
        here(MANIFEST.initial),
    ):
        loading.fetched(event)
    [order] = only(Order, loading.prepare(ledger.state, at(0)))
    assert isinstance(order.command, OpenJob)
    assert order.command.private == place_for(NOTES, WANTED)
    assert order.command.shards == ()


def about_code(*, custom_code: bool, sandbox: str = "") -> MarketMessage:
    """What a provider says of a job with its requester's own module."""
    ledger = market()
    model = ModuleSpec("build", 16, (TensorShape("a", (2,)),))
    manifest = sized(msgspec.structs.replace(MANIFEST, private=None, model=model))
    job = propose(ledger, "buyer", manifest=manifest_blob(manifest), verifiers=0)
    choice = replace(CHOICE, custom_code=custom_code)
    provider = Provider(ledger.keys["maker"], ledger.executor.chain, ledger.genesis.params, choice)
    provider.step(Probe(msgspec.structs.replace(PROBED, sandbox=sandbox)), at(0))
    provider.step(Follow(ledger.state), at(0))
    about = ledger.state.jobs[job]
    [message] = said(provider.step(here(about.propose.manifest, encode(manifest)), at(3)))
    return message


def test_code_of_a_requester_is_run_where_the_operator_and_the_machine_allow_it() -> None:
    assert isinstance(about_code(custom_code=True), BidMessage)
    for no in (about_code(custom_code=False), about_code(custom_code=True, sandbox="no Landlock")):
        assert isinstance(no, Decline)
        assert no.code == Reason.CODE


def test_a_provider_that_was_seated_unasked_runs_no_code_of_others() -> None:
    ledger = market()
    model = ModuleSpec("build", 16, (TensorShape("a", (2,)),), BlobId(b"c" * 32))
    manifest = sized(msgspec.structs.replace(MANIFEST, private=None, model=model))
    about = ledger.state.jobs[
        propose(
            ledger,
            "buyer",
            manifest=manifest_blob(manifest),
            verifiers=0,
            disk_bytes=disk_bytes(manifest),
        )
    ]
    loading = Loading(about, ledger.id("maker"), WorkerId("lease"))
    loading.hired = True
    loading.fetched(here(about.propose.manifest, encode(manifest)))
    assert only(Order, loading.prepare(ledger.state, at(0))) == []
    assert "no code of others" in loading.files.fault

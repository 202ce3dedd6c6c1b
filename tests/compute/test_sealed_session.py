"""A real session on a sealed job: its files are ciphertext, its key opens them in memory."""

import pytest
from msgspec.structs import replace

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.leaf import leaf_digest
from dpin.base.sealed import is_sealed
from dpin.compute.probe import settle
from dpin.compute.safety import PrivacySpec
from dpin.compute.session import Session
from dpin.compute.task import (
    CheckUpdate,
    CheckWindow,
    Failed,
    Opened,
    OpenJob,
    Prepared,
    Trained,
    TrainManifest,
    UpdateChecked,
    WindowChecked,
)
from tests.compute.test_session import order
from tests.support.training import CORPUS, Desk, MemoryFiles, open_job, prepare

KEY = bytes(range(32))
SEALED = PrivacySpec("sealed", reader=SigningKey(KEY).node_id)


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


def sealed_job(prepared: Prepared, key: bytes, privacy: PrivacySpec = SEALED) -> OpenJob:
    opening = open_job(prepared, "work")
    manifest = replace(decode(TrainManifest, opening.manifest), privacy=privacy)
    return replace(opening, manifest=encode(manifest), key=key)


def desk_with(files: MemoryFiles) -> tuple[Desk, Session]:
    desk = Desk(files)
    desk.files.held["corpus.txt"] = CORPUS
    return desk, Session(desk.door())


def test_a_sealed_job_is_prepared_trained_and_checked_and_its_files_say_nothing() -> None:
    desk, session = desk_with(MemoryFiles())
    session.run(replace(prepare("made"), key=KEY))
    prepared = desk.reports[-1]
    assert isinstance(prepared, Prepared)
    for path in (*prepared.shards, prepared.holdout, prepared.initial):
        data = desk.files.held[path]
        assert is_sealed(data)
        assert CORPUS[:40] not in data
        assert b"__metadata__" not in data
    session.run(sealed_job(prepared, KEY))
    opened = desk.reports[-1]
    assert isinstance(opened, Opened), opened
    assert opened.state_hash == prepared.state_hash
    session.run(replace(order(0, 0, 0), fresh_optimizer=True))
    unit = desk.reports[-1]
    assert isinstance(unit, Trained), unit
    checker, checks = desk_with(desk.files)
    checks.run(sealed_job(prepared, KEY))
    checks.run(CheckWindow(unit.leaves[0], 0, unit.states[0]))
    window = checker.reports[-1]
    assert isinstance(window, WindowChecked), window
    assert window.opened_ok
    assert window.found == leaf_digest(unit.leaves[1])
    checks.run(CheckUpdate(unit.leaves[0], unit.leaves[-1], unit.base, unit.states[-1]))
    update = checker.reports[-1]
    assert isinstance(update, UpdateChecked), update
    assert update.states_ok


def test_without_the_key_or_with_another_one_nothing_is_opened() -> None:
    desk, session = desk_with(MemoryFiles())
    session.run(replace(prepare("made"), key=KEY))
    prepared = desk.reports[-1]
    assert isinstance(prepared, Prepared)
    for key in (b"", bytes(32)):
        session.run(sealed_job(prepared, key))
        refused = desk.reports[-1]
        assert isinstance(refused, Failed)
        assert "not the key" in refused.reason
    session.run(sealed_job(prepared, KEY, PrivacySpec("sealed")))
    assert isinstance(desk.reports[-1], Failed)
    session.run(sealed_job(prepared, KEY, PrivacySpec(reader=SEALED.reader)))
    assert isinstance(desk.reports[-1], Failed)


def test_a_job_that_is_prepared_again_has_the_files_it_had() -> None:
    made = []
    for _ in range(2):
        desk, session = desk_with(MemoryFiles())
        session.run(replace(prepare("made"), key=KEY))
        made.append({path: data for path, data in desk.files.held.items() if "made" in path})
    assert made[0] == made[1] != {}

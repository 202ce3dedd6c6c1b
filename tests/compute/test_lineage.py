"""A model's lineage: whole, forged, cut, re-parented; and one tensor of it alone."""

import json
from collections import Counter
from itertools import pairwise

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import save

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import NotFound, NotVerified, PeerFault
from dpin.base.ids import BlobId, ChainId, Digest, JobId, NodeId
from dpin.cli.descent import compared
from dpin.compute.checkpoint import encode_model, float_root
from dpin.compute.lineage import (
    Lineage,
    Origin,
    Taken,
    check_model,
    in_model,
    lineage_text,
    linked,
    read_lineage,
    signed,
    tensor_leaf,
    tensor_leaves,
)
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.state import initial_state
from dpin.compute.tensors import as_float
from dpin.node.descents import descent_of
from dpin.node.descentviews import DescentRound, DescentView, SaidView, TakenView
from tests.support.jobs import market
from tests.support.ledgers import propose
from tests.support.training import TINY

KEY = SigningKey(b"k" * 32)
CHAIN = ChainId(b"c" * 32)
ORIGIN = Origin(
    JobId(b"j" * 32),
    KEY.node_id,
    BlobId(b"m" * 32),
    Digest(b"s" * 32),
    Digest(b"f" * 32),
    (BlobId(b"d" * 32),),
    RobustSpec("krum"),
    PrivacySpec("secagg"),
)
PARAMETERS = as_float(initial_state(TINY, b"seed").parameters)
MODEL = encode_model(TINY, PARAMETERS)


def taken(seed: int) -> Taken:
    return Taken(NodeId(bytes([seed]) * 32), Digest(b"l" * 32), BlobId(b"u" * 32), 8)


def whole(rounds: int = 3) -> Lineage:
    parts = [(Digest(bytes([at]) * 32), (taken(at),)) for at in range(1, rounds + 1)]
    entries = linked(ORIGIN, Digest(b"0" * 32), parts)
    return signed(KEY, CHAIN, ORIGIN, entries, float_root(TINY, PARAMETERS))


def test_a_lineage_is_read_as_it_was_written_and_fits_its_model() -> None:
    lineage = read_lineage(lineage_text(whole()))
    assert lineage == whole()
    leaves = check_model(lineage, MODEL)
    assert leaves.root == float_root(TINY, PARAMETERS)


def changed(text: str, **fields: object) -> str:
    return json.dumps(json.loads(text) | fields)


def entries_of(text: str) -> list[str]:
    found = json.loads(text)["entries"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"entries": entries_of(lineage_text(whole()))[:-1]}, "forged or cut short"),
        ({"entries": entries_of(lineage_text(whole()))[1:]}, "entries are missing"),
        ({"entries": entries_of(lineage_text(whole()))[::-1]}, "entries are missing"),
        ({"entries": []}, "empty"),
        ({"model_root": "00" * 32}, "forged"),
        ({"chain": "00" * 32}, "forged"),
        ({"signature": "00" * 64}, "forged"),
        ({"origin": encode(replace(ORIGIN, robust=RobustSpec("mean"))).hex()}, "another job"),
        ({"entries": ["zz"]}, "cannot be read"),
        ({"entries": 7}, "cannot be read"),
    ],
)
def test_what_is_forged_or_cut_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(PeerFault, match=why):
        read_lineage(changed(lineage_text(whole()), **fields))


def test_an_entry_with_another_parent_is_refused_though_it_is_signed() -> None:
    good = whole()
    middle = replace(good.entries[1], parent=Digest(b"p" * 32))
    entries = (good.entries[0], middle, *good.entries[2:])
    forged = signed(KEY, CHAIN, ORIGIN, entries, good.model_root)
    with pytest.raises(PeerFault, match="entry 1 does not follow"):
        read_lineage(lineage_text(forged))


def test_an_update_that_was_put_in_later_breaks_the_chain() -> None:
    text = lineage_text(whole())
    entries = entries_of(text)
    entries[1] = encode(replace(whole().entries[1], taken=(taken(1), taken(9)))).hex()
    with pytest.raises(PeerFault, match="entry 2 does not follow"):
        read_lineage(changed(text, entries=entries))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"entries": [1]}', "[" * 100_000])
def test_what_is_no_lineage_says_so(text: str) -> None:
    with pytest.raises(PeerFault, match="cannot be read"):
        read_lineage(text)


@pytest.mark.parametrize(
    "data",
    [
        MODEL[:-4],
        MODEL + b"\0\0\0\0",
        MODEL[:20],
        b"",
        MODEL.replace(b'"F32"', b'"I32"'),
        MODEL.replace(b'"data_offsets":[0,', b'"data_offsets":[4,'),
    ],
)
def test_a_model_file_that_is_cut_or_overlaps_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        check_model(whole(), data)


def test_another_model_is_not_the_one_that_was_signed() -> None:
    with pytest.raises(PeerFault, match="not the one that was signed"):
        check_model(whole(), encode_model(TINY, PARAMETERS + 1))


def test_one_tensor_is_shown_without_the_others() -> None:
    weights = {"a": torch.ones(2, 3), "b": torch.zeros(5), "c": torch.full((1,), 2.0)}
    leaves = tensor_leaves(save(weights))
    index, path = leaves.proof("b")
    leaf = tensor_leaf("b", [5], bytes(20))
    assert in_model(leaves.root, leaf, (index, 3), path)
    assert not in_model(leaves.root, tensor_leaf("b", [5], b"\1" + bytes(19)), (index, 3), path)
    with pytest.raises(PeerFault):
        leaves.proof("d")


def ledger_of(lineage: Lineage) -> DescentView:
    """What the ledger says of a job whose requester has told the truth."""
    rounds = [
        DescentRound(
            round=before.round,
            state_hash=before.state_hash.hex(),
            taken=[
                TakenView(
                    provider=one.provider.hex(),
                    lease=one.lease.hex(),
                    update=one.update.hex(),
                    steps=one.steps,
                )
                for one in after.taken
            ],
        )
        for before, after in pairwise(lineage.entries)
    ]
    return DescentView(
        job=ORIGIN.job.hex(),
        requester=ORIGIN.requester.hex(),
        manifest=ORIGIN.manifest.hex(),
        fingerprint=ORIGIN.fingerprint.hex(),
        state_hash=lineage.entries[0].state_hash.hex(),
        rounds=rounds,
    )


def test_what_the_ledger_says_of_every_round_is_compared() -> None:
    lineage = whole()
    ledger = ledger_of(lineage)
    assert "all 3 rounds, the states before 3" in compared(lineage, ledger)
    unknown = replace(ledger.rounds[1], state_hash=None)
    held = replace(ledger, rounds=[ledger.rounds[0], unknown, ledger.rounds[2]])
    assert "the states before 2" in compared(lineage, held)


def heard(ledger: DescentView, *states: Digest | None) -> DescentView:
    """What these say, each with a seat of its own, of the state after the last round."""
    said = [
        SaidView(
            provider=f"{seat:064x}",
            lease=f"{seat:064x}",
            state_hash=None if state is None else state.hex(),
        )
        for seat, state in enumerate(states)
    ]
    words = Counter(one.state_hash for one in said if one.state_hash is not None)
    agreed = [state for state, count in words.items() if 2 * count > len(said)]
    return replace(ledger, said=said, ended_in=next(iter(agreed), None))


def test_the_last_state_is_what_seats_say_or_it_is_told_that_they_do_not() -> None:
    lineage = whole()
    ledger, last, lie = ledger_of(lineage), lineage.entries[-1].state_hash, Digest(bytes(32))
    for view, told in (
        (heard(ledger, last, last, last), "the last state: 3 of 3 seats say it"),
        (heard(ledger, last, None, last), "the last state: 2 of 3 seats say it"),
        (heard(ledger, last, lie, last), "the last state: 2 of 3 seats say it, 1 say another"),
        (
            heard(ledger, last, lie),
            "the last state: 1 of 2 seats say it, 1 say another: "
            "too few to agree, its requester has signed it",
        ),
        (ledger, "the last state: by its requester's signature alone, no seat says it"),
        (
            replace(heard(ledger, None), said_open=True),
            "the last state: by its requester's signature alone, no seat says it, or not yet",
        ),
    ):
        assert compared(lineage, view).splitlines()[1] == told
    with pytest.raises(NotVerified, match="the state that it ended in"):
        compared(lineage, heard(ledger, lie, last, lie))


def test_a_lineage_that_the_ledger_contradicts_is_not_proven() -> None:
    lineage = whole()
    ledger = ledger_of(lineage)
    first, *rest = ledger.rounds
    [one] = first.taken
    lies = (
        (replace(ledger, requester="00" * 32), "its origin"),
        (replace(ledger, manifest="00" * 32), "its origin"),
        (replace(ledger, rounds=rest), "the number of its rounds"),
        (replace(ledger, state_hash="00" * 32), "it began with"),
        (replace(ledger, rounds=[replace(first, taken=[]), *rest]), "what round 0 took"),
        (
            replace(ledger, rounds=[replace(first, taken=[replace(one, steps=9)]), *rest]),
            "what round 0 took",
        ),
        (
            replace(ledger, rounds=[first, replace(rest[0], state_hash="00" * 32), rest[1]]),
            "the state that round 1 began with",
        ),
    )
    for lie, why in lies:
        with pytest.raises(NotVerified, match=why):
            compared(lineage, lie)


def test_the_ledger_tells_of_a_job_by_its_whole_id() -> None:
    ledger = market()
    job = ledger.state.jobs[propose(ledger, "buyer")]
    found = descent_of(ledger.state, job.id.hex())
    assert (found.requester, found.rounds) == (job.requester.hex(), [])
    for wrong in (job.id.hex()[:-1], "00" * 32, "z" * 64, ""):
        with pytest.raises(NotFound):
            descent_of(ledger.state, wrong)


def test_tensors_that_lie_on_each_other_are_no_model() -> None:
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    header += b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
    with pytest.raises(PeerFault, match="overlaps"):
        tensor_leaves(len(header).to_bytes(8, "little") + header + bytes(12))

"""A proof as a file: read as it was written, and worth nothing once any of it is altered."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.units import MicroTokens
from dpin.ledger.book import Kind
from dpin.ledger.mempool import identify
from dpin.ledger.prover import Known
from dpin.ledger.transactions import Transfer
from dpin.light.client import Trust
from dpin.light.fields import BadFile
from dpin.light.files import read_proof, read_trust, write_proof, write_trust
from dpin.light.verify import Shown, verify
from tests.support.witnessed import Witnessed

Json = dict[str, "Json"] | list["Json"] | str | int | float | None


@cache
def known_and_proven() -> tuple[Trust, str]:
    """A trust of epoch 0, and a proof of everything from it across two ends of epochs."""
    ledger = Witnessed("ann", "bob", "cat", "dan")
    for _ in range(4):
        ledger.commit(ledger.signed("bob", Transfer(ledger.id("cat"), MicroTokens(1), b"")))
    ledger.checkpoint()
    trust = ledger.prover.trust(1)
    ledger.close(2)
    sent = ledger.signed("ann", Transfer(ledger.id("bob"), MicroTokens(5), b""))
    ledger.commit(sent)
    ledger.checkpoint()
    part = (Kind.ACCOUNT, ledger.id("bob"), 0)
    proof = ledger.prover.proof(Known(0, trust.size), identify(sent)[0], part)
    return trust, write_proof(proof)


def judge(text: str) -> Shown:
    return verify(read_proof(text), known_and_proven()[0])


def test_a_proof_is_read_as_it_was_written() -> None:
    _, text = known_and_proven()
    proof = read_proof(text)
    assert write_proof(proof) == text
    assert proof.genesis
    assert proof.continuation is not None
    assert proof.receipt is not None
    assert proof.part is not None
    assert judge(text).crossed == len(proof.crossings) == 2
    bare = replace(proof, genesis=b"", continuation=None, receipt=None, part=None)
    assert read_proof(write_proof(bare)) == bare


def test_a_trusted_checkpoint_is_read_as_it_was_written() -> None:
    trust, text = known_and_proven()
    moved = judge(text).trust
    for one in (trust, moved):
        assert read_trust(write_trust(one)) == one


def places(value: Json, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where something stands that can be altered."""
    yield at
    inner: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    for name, held in inner:
        yield from places(held, (*at, name))


def altered(value: Json) -> list[Json]:
    """Other values of the same kind, and of other kinds."""
    others: list[Json] = [[], {}, True, 0.5, "", 0, None]
    if isinstance(value, str):
        others += [value[1:], f"{value}0", value.upper(), value[:-1], value[::-1]]
        others += [_turned(value, at) for at in (0, -1) if value]
    if isinstance(value, int):
        others += [value + 1, -value - 1, str(value), 1 << 63]
    if isinstance(value, list):
        others += [[*value, value[-1]] if value else [""], value[1:], value[::-1]]
    if isinstance(value, dict):
        others += [{**value, "more": 1}, *({**value, name: None} for name in value)]
    return others


def _turned(text: str, at: int) -> str:
    letters = list(text)
    letters[at] = "1" if letters[at] == "0" else "0"
    return "".join(letters)


def held_at(whole: Json, at: tuple[str | int, ...]) -> Json:
    for name in at:
        whole = whole[name]  # type: ignore[index]
    return whole


def put(whole: Json, at: tuple[str | int, ...], value: Json) -> str:
    """The text with another value in that place."""
    changed: Json = json.loads(json.dumps(whole))
    if not at:
        return json.dumps(value)
    held_at(changed, at[:-1])[at[-1]] = value  # type: ignore[index]
    return json.dumps(changed)


# A proof that leaves these out shows less, and shows that.
LEFT_OUT: Final = {"genesis": "", "receipt": None, "part": None, "continuation": None}


def stands(text: str) -> bool:
    """Whether this is still a proof, and then, that it is the same or shows less."""
    trust, original = known_and_proven()
    try:
        found = read_proof(text)
        shown = verify(found, trust)
    except ValueError:
        return False
    whole, left = json.loads(original), json.loads(write_proof(found))
    fewer: dict[str, object] = {
        name: empty for name, empty in LEFT_OUT.items() if left[name] == empty
    }
    if not shown.continues:  # It is from another size than is trusted, and not looked at.
        fewer["continuation"] = left["continuation"]
    assert left == {**whole, **fewer}
    return True


def test_no_value_of_a_proof_can_be_altered() -> None:
    _, text = known_and_proven()
    whole: Json = json.loads(text)
    tried = [put(whole, at, other) for at in places(whole) for other in altered(held_at(whole, at))]
    standing = sum(map(stands, tried))
    assert len(tried) > 1_800
    assert standing < 40  # the same in other words, or less of it


@given(st.data())
def test_no_letter_of_a_proof_can_be_altered(data: st.DataObject) -> None:
    _, text = known_and_proven()
    at = data.draw(st.integers(0, len(text) - 1))
    stands(text[:at] + data.draw(st.characters(codec="utf-8")) + text[at + 1 :])


@given(st.text())
def test_any_text_is_refused_with_one_sentence(text: str) -> None:
    for read in (read_proof, read_trust):
        with pytest.raises(BadFile) as problem:
            read(text)
        assert "\n" not in str(problem.value)


Anything: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
)


@given(st.data())
def test_any_value_in_any_place_is_refused_or_the_same(data: st.DataObject) -> None:
    _, text = known_and_proven()
    whole: Json = json.loads(text)
    at = data.draw(st.sampled_from(list(places(whole))))
    stands(put(whole, at, data.draw(Anything)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"format": 1' + "0" * 5_000 + "}", "not JSON"),
        ('{"format": "dpin-proof/2"}', "dpin-proof/2"),
        ('{"format": "dpin-proof/1", "format": "dpin-proof/1"}', "twice"),
        ('{"format": NaN}', "NaN"),
        ("[]", "not an object"),
        ('{"format": "dpin-proof/1"}', "chain"),
    ],
)
def test_what_is_no_proof_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadFile, match=why):
        read_proof(text)

"""Published vectors: what others say is a valid signature, and what a digest is."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest

from dpin.base.crypto import verify_bytes

VECTORS: Final = Path(__file__).parents[1] / "vectors"

# libsodium clears no cofactor, refuses points of small order and encodings that are not the
# shortest. What is left differs between libraries only in a part of small order that cancels out.
HARMLESS: Final = {"low_order_component_A", "low_order_component_R"}


class Wycheproof(msgspec.Struct):
    """One signature, and whether RFC 8032 accepts it."""

    id: int
    comment: str
    flags: list[str]
    message: str
    signature: str
    result: str


class Group(msgspec.Struct):
    """Signatures of one key."""

    key: str
    tests: list[Wycheproof]


class Case(msgspec.Struct):
    """One signature on which libraries differ, and why they do."""

    number: int
    key: str
    signature: str
    message: str
    flags: list[str]


def read(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((VECTORS / name).read_text())
    return found


GROUPS: Final = msgspec.convert(read("ed25519/wycheproof.json")["groups"], list[Group])
CASES: Final = msgspec.convert(read("ed25519/cctv.json")["cases"], list[Case])
HASHES: Final = msgspec.convert(read("sha256/short.json")["cases"], list[dict[str, str]])
SIGNED: Final = [(group.key, test) for group in GROUPS for test in group.tests]


def accepted(key: str, message: bytes, signature: str) -> bool:
    return verify_bytes(bytes.fromhex(key), message, bytes.fromhex(signature))


@pytest.mark.parametrize(("key", "test"), SIGNED, ids=[str(test.id) for _, test in SIGNED])
def test_signatures_are_judged_as_wycheproof_says(key: str, test: Wycheproof) -> None:
    found = accepted(key, bytes.fromhex(test.message), test.signature)
    assert found == (test.result == "valid"), test.comment


def test_wycheproof_has_both_kinds() -> None:
    results = [test.result for _, test in SIGNED]
    assert (len(results), results.count("valid"), results.count("invalid")) == (151, 88, 63)


@pytest.mark.parametrize("case", CASES, ids=[str(case.number) for case in CASES])
def test_where_libraries_differ_the_rule_of_the_network_is_fixed(case: Case) -> None:
    found = accepted(case.key, case.message.encode(), case.signature)
    assert found == ({*case.flags} <= HARMLESS), case.flags


def test_the_disputed_cases_are_judged_both_ways() -> None:
    judged = [accepted(case.key, case.message.encode(), case.signature) for case in CASES]
    assert (len(judged), sum(judged)) == (66, 3)


@pytest.mark.parametrize("case", HASHES, ids=[str(len(case["message"]) // 2) for case in HASHES])
def test_sha256_is_that_of_nist(case: dict[str, str]) -> None:
    assert sha256(bytes.fromhex(case["message"])).hexdigest() == case["digest"]

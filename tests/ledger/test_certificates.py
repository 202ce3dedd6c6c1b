"""A certificate is what a quorum of one committee signed about one log, and nothing else is."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base import merkle
from dpin.base.codec import decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, Digest
from dpin.ledger.certificates import (
    AuthorSignature,
    Certificate,
    check,
    chosen,
    is_signed,
    sign_checkpoint,
)
from tests.support.certified import CHAIN, History, committee_of


def certified(
    size: int = 21, weights: tuple[int, ...] = (1, 1, 1, 1)
) -> tuple[History, Certificate]:
    """A log with a checkpoint as its last leaf, and its certificate."""
    history = History(weights)
    history.grow(size - 1)
    return history, history.certify()


@given(st.integers(1, 70), st.lists(st.integers(1, 9), min_size=4, max_size=9))
def test_a_certificate_by_a_quorum_is_right_on_every_log(size: int, weights: list[int]) -> None:
    history, certificate = certified(size, tuple(weights))
    check(certificate, CHAIN, history.committee)
    assert decode(Certificate, encode(certificate)) == certificate


@given(st.dictionaries(st.integers(0, 8), st.just(b"")), st.lists(st.integers(1, 9), min_size=9))
def test_just_enough_are_chosen_heaviest_first(held: dict[int, bytes], weights: list[int]) -> None:
    committee = committee_of(tuple(weights[:9]))
    authors = [one.author for one in chosen(held, committee)]
    if committee.weigh(held) < committee.quorum:
        assert not authors
        return
    assert authors == sorted(set(authors))
    assert committee.weigh(authors) >= committee.quorum
    lightest = min(authors, key=lambda one: committee.weights[one])
    assert committee.weigh(set(authors) - {lightest}) < committee.quorum


def test_a_single_validator_certifies_alone() -> None:
    history, certificate = certified(5, (1,))
    check(certificate, CHAIN, history.committee)
    assert len(certificate.signatures) == 1


def altered(history: History, certificate: Certificate) -> dict[str, Certificate]:
    """Each with one thing wrong, and what is wrong."""
    change = msgspec.structs.replace
    first, *others = certificate.signatures
    later = change(certificate.checkpoint, time_ms=certificate.checkpoint.time_ms + 1)
    turned = bytes([first.signature[0] ^ 1]) + first.signature[1:]
    outsider = sign_checkpoint(history.stranger, CHAIN, certificate.size, certificate.root)
    another = sign_checkpoint(history.keys[1], CHAIN, certificate.size, certificate.root)
    return {
        "another checkpoint": change(certificate, checkpoint=later),
        "another size": change(certificate, size=certificate.size + 1),
        "no size": change(certificate, size=0),
        "another root": change(certificate, root=Digest(bytes(32))),
        "a path too short": change(certificate, path=certificate.path[1:]),
        "one signature too few": change(certificate, signatures=tuple(others)),
        "a member twice": change(certificate, signatures=(first, first, *others)),
        "not in order": change(certificate, signatures=(*others, first)),
        "no such member": change(
            certificate, signatures=(*certificate.signatures, AuthorSignature(9, first.signature))
        ),
        "a negative member": change(
            certificate, signatures=(AuthorSignature(-1, first.signature), *certificate.signatures)
        ),
        "a turned bit": change(certificate, signatures=(AuthorSignature(0, turned), *others)),
        "a stranger": change(certificate, signatures=(AuthorSignature(0, outsider), *others)),
        "another member's": change(certificate, signatures=(AuthorSignature(0, another), *others)),
        "a short signature": change(certificate, signatures=(AuthorSignature(0, b""), *others)),
    }


@pytest.mark.parametrize("what", sorted(altered(*certified())))
def test_a_certificate_with_one_thing_wrong_is_refused(what: str) -> None:
    history, certificate = certified()
    with pytest.raises(PeerFault):
        check(altered(history, certificate)[what], CHAIN, history.committee)


def test_a_certificate_is_for_one_chain_and_one_epoch() -> None:
    history, certificate = certified()
    with pytest.raises(PeerFault, match="wrong"):
        check(certificate, ChainId(bytes(32)), history.committee)
    with pytest.raises(PeerFault, match="epoch"):
        check(certificate, CHAIN, replace(history.committee, epoch=history.committee.epoch + 1))


def test_the_keys_of_the_epoch_sign_and_not_the_accounts() -> None:
    history, certificate = certified()
    renewed = replace(history.committee, signers=(history.stranger.node_id,) * 4)
    with pytest.raises(PeerFault, match="wrong"):
        check(certificate, CHAIN, renewed)


def test_a_signature_holds_for_one_size_and_root() -> None:
    history, certificate = certified()
    [first, *_] = certificate.signatures
    signer, size, root = history.keys[first.author].node_id, certificate.size, certificate.root
    assert is_signed(CHAIN, signer, size, root, first.signature)
    assert not is_signed(CHAIN, signer, size + 1, root, first.signature)
    assert not is_signed(CHAIN, signer, size, merkle.EMPTY_ROOT, first.signature)

"""The error tree."""

import pytest

from dpin.base.errors import DpinError, Misuse, PeerFault, Unavailable


@pytest.mark.parametrize("kind", [PeerFault, Unavailable, Misuse])
def test_every_error_on_purpose_has_one_root(kind: type[DpinError]) -> None:
    with pytest.raises(DpinError, match="the reason"):
        raise kind("the reason")


def test_a_broken_invariant_is_not_an_error_on_purpose() -> None:
    assert not issubclass(AssertionError, DpinError)


def test_a_misuse_says_how_to_mend_it() -> None:
    assert Misuse("no network", "dpin net join INVITE").fix == "dpin net join INVITE"
    assert not Misuse("no network").fix

"""Ids and their short form."""

from dpin.base.ids import ID_BYTES, NO_BLOB, NO_DIGEST, NodeId, short


def test_the_ids_of_nothing_are_all_zeros() -> None:
    assert {bytes(NO_DIGEST), bytes(NO_BLOB)} == {bytes(ID_BYTES)}


def test_a_short_id_is_the_first_eight_digits() -> None:
    assert short(NodeId(bytes(range(32)))) == "00010203"

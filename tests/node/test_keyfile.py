"""Key files: plain and encrypted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse
from dpin.node.keyfile import (
    COST,
    KEY_CHARS_MAX,
    NONCE_BYTES,
    SALT_BYTES,
    Cost,
    Salts,
    account_of,
    decode_key,
    encode_key,
    is_sealed,
    seal_key,
)

SEED = bytes(range(32))
SALTS = Salts(bytes(SALT_BYTES), bytes(NONCE_BYTES))
CHEAP = Cost(1, 8_192)
SEALED = seal_key(SEED, "five words nobody would join", SALTS, CHEAP)


def nobody() -> str:
    raise AssertionError("nobody may be asked")


def test_a_plain_key_comes_back_without_asking() -> None:
    text = encode_key(SEED)
    assert not is_sealed(text)
    assert decode_key(text, nobody) == SEED
    assert account_of(text) == SigningKey(SEED).node_id


def test_an_encrypted_key_comes_back_by_its_passphrase_alone() -> None:
    assert is_sealed(SEALED)
    assert SEED.hex() not in SEALED
    assert decode_key(SEALED, lambda: "five words nobody would join") == SEED
    with pytest.raises(Misuse, match="that is not the passphrase of this key"):
        decode_key(SEALED, lambda: "five words nobody would joi")
    with pytest.raises(Misuse, match="nobody is there to give its passphrase"):
        decode_key(SEALED)


def test_an_encrypted_key_names_its_account_without_a_passphrase() -> None:
    assert account_of(SEALED) == SigningKey(SEED).node_id


def test_a_passphrase_is_the_same_however_its_letters_are_composed() -> None:
    sealed = seal_key(SEED, "caf\u00e9", SALTS, CHEAP)
    assert decode_key(sealed, lambda: "cafe\u0301") == SEED


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(Misuse, match="1 to"):
        seal_key(SEED, "", SALTS, CHEAP)


def test_the_cost_that_ships_is_argon2id_over_a_quarter_of_a_gibibyte() -> None:
    assert Cost(3, 256 << 20) == COST


def test_a_file_that_asks_for_too_much_memory_is_refused_before_any_work() -> None:
    greedy = SEALED.replace("argon2id 1 8192", "argon2id 1 2000000000")
    with pytest.raises(Misuse, match="more work"):
        decode_key(greedy, nobody)


def test_neither_the_work_nor_the_account_of_a_key_can_be_changed() -> None:
    cheaper = SEALED.replace("argon2id 1 8192", "argon2id 2 8192")
    renamed = SEALED.replace(SigningKey(SEED).node_id.hex(), "ab" * 32)
    for changed in (cheaper, renamed):
        with pytest.raises(Misuse, match="not the passphrase"):
            decode_key(changed, lambda: "five words nobody would join")


@given(st.integers(0, len(SEALED) - 2), st.characters(codec="ascii"))
def test_a_changed_letter_never_gives_another_key(at: int, letter: str) -> None:
    changed = SEALED[:at] + letter + SEALED[at + 1 :]
    try:
        assert decode_key(changed, lambda: "five words nobody would join") == SEED
    except Misuse:
        return
    assert changed.split() == SEALED.split()


@given(st.text(max_size=KEY_CHARS_MAX + 10))
def test_rubbish_is_no_key(text: str) -> None:
    for head in ("", "dpin key 1: keep secret, keep a copy\n", SEALED.splitlines()[0] + "\n"):
        with pytest.raises(Misuse):
            decode_key(head + text, lambda: "x")

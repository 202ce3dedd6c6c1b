"""Signed notes against the published examples, another library, and altered bytes."""

from base64 import b64decode, b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dpin.light.notes import (
    COSIGNATURE,
    ED25519,
    BadNote,
    Note,
    Signature,
    Verifier,
    cosigned_at,
    read_head,
    read_note,
    read_verifier,
    signed_by,
    write_note,
)

# golang.org/x/mod sumdb/note: keys, a text and what each key signed.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6K"
    "E6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "\u2014 EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5o"
    "vTG01oOTGwnWLox33W"
    "Wd1RvMc+QQ=\n"
)
SIGNED = f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}"

# The example of C2SP tlog-cosignature: a log's line and a witness's line. Its keys are not given.
CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOo"
    "RDe4URYN7u5/Zhcyv"
    "2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5O"
    "WXEhZCB9dlrDJsX3b2o"
    "yin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
# transparency-dev/formats: a witness key of type 0x04.
WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"


@pytest.mark.parametrize("text", [PETER, ENOCH, WITNESS])
def test_published_keys_have_the_ids_that_they_show(text: str) -> None:
    assert read_verifier(text).text == text


def test_the_published_note_is_signed_by_both_of_its_signers() -> None:
    note = read_note(SIGNED)
    assert note.text == TEXT
    assert signed_by(note, read_verifier(PETER))
    assert signed_by(note, read_verifier(ENOCH))
    assert write_note(note) == SIGNED


def test_a_note_without_a_known_line_is_signed_by_nobody() -> None:
    assert not signed_by(read_note(f"{TEXT}\n{ENOCH_LINE}"), read_verifier(PETER))


def test_a_known_key_with_a_wrong_signature_refuses_the_whole_note() -> None:
    note = read_note(SIGNED.replace("your problem is", "my problem is"))
    with pytest.raises(BadNote, match="PeterNeumann is wrong"):
        signed_by(note, read_verifier(PETER))


def test_the_published_checkpoint_is_read_as_published() -> None:
    note = read_note(CHECKPOINT)
    head = read_head(note.text)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert head.root == b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    log, witness = note.signatures
    assert (log.key_id, len(log.value)) == (bytes.fromhex("033de0ae"), 64)
    assert (witness.key_id, len(witness.value)) == (bytes.fromhex("8d66cf3f"), 72)
    assert int.from_bytes(witness.value[:8]) == 1_679_315_147
    assert write_note(note) == CHECKPOINT


@pytest.mark.parametrize(
    "bad",
    [
        TEXT,
        f"{TEXT}\n",
        SIGNED[:-1],
        f"\x01{SIGNED}",
        b"\xff" + SIGNED.encode(),
        f"{TEXT}\n\u2014 Bad Name x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAc=\n",
        f"{SIGNED}Unexpected line.\n",
        f"{TEXT}\n{PETER_LINE * 101}",
        f"{TEXT}\n\u2014 a+b AAAAAAAA\n",
        f"{TEXT}\n\u2014 name AAAA\n",
        f"{TEXT}\n\u2014 name AAAAAAB=\n",
        "x" * 70_000,
        "",
    ],
)
def test_what_is_no_note_is_refused(bad: str | bytes) -> None:
    with pytest.raises(BadNote):
        read_note(bad)


@pytest.mark.parametrize(
    "bad",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "",
        "+",
        "a+b",
    ],
)
def test_published_bad_keys_are_refused(bad: str) -> None:
    with pytest.raises(BadNote):
        read_verifier(bad)


def test_a_key_with_any_character_changed_or_cut_is_refused() -> None:
    changed = [
        f"{PETER[:at]}{chr(ord(PETER[at]) + 1)}{PETER[at + 1 :]}" for at in range(len(PETER))
    ]
    for bad in [*changed, *(PETER[:at] for at in range(len(PETER)))]:
        with pytest.raises(BadNote):
            read_verifier(bad)


@pytest.mark.parametrize(
    "text", ["a\n1\n", "a\n1\nAAAA\n", "a\n01\nx\n", "a\n-1\nx\n", "a\n1\n\nb\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        read_head(text)


# --- as another library does it, word by word from the C2SP pages -------------------------------

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
BODY = f"dpin/{'ab' * 32}\n7\n{b64encode(bytes(32)).decode()}\n"


def line_of(name: str, kind: int, value: bytes) -> str:
    identity = sha256(name.encode() + b"\x0a" + bytes([kind]) + PUBLIC).digest()[:4]
    return f"\u2014 {name} {b64encode(identity + value).decode()}\n"


def cosigned(name: str, seconds: int, said: int | None = None) -> str:
    message = f"cosignature/v1\ntime {seconds if said is None else said}\n{BODY}".encode()
    return line_of(name, 4, seconds.to_bytes(8, "big") + KEY.sign(message))


@given(st.integers(0, (1 << 63) - 1))
def test_a_witness_s_time_is_read_when_it_signed_just_that(seconds: int) -> None:
    log = line_of("dpin/log", 1, KEY.sign(BODY.encode()))
    note = read_note(f"{BODY}\n{log}{cosigned('witness.example/w', seconds)}")
    assert signed_by(note, Verifier("dpin/log", ED25519, PUBLIC))
    assert cosigned_at(note, Verifier("witness.example/w", COSIGNATURE, PUBLIC)) == seconds
    assert cosigned_at(note, Verifier("witness.example/x", COSIGNATURE, PUBLIC)) is None


def test_a_witness_s_time_that_it_did_not_sign_is_refused() -> None:
    note = read_note(f"{BODY}\n{cosigned('w', 8, said=9)}")
    with pytest.raises(BadNote, match="wrong"):
        cosigned_at(note, Verifier("w", COSIGNATURE, PUBLIC))


def test_a_time_beyond_all_times_is_refused() -> None:
    note = read_note(f"{BODY}\n{cosigned('w', 1 << 63)}")
    with pytest.raises(BadNote, match="no time"):
        cosigned_at(note, Verifier("w", COSIGNATURE, PUBLIC))


def test_a_log_s_key_does_not_pass_for_a_witness() -> None:
    note = read_note(f"{BODY}\n{line_of('w', 1, KEY.sign(BODY.encode()))}")
    assert cosigned_at(note, Verifier("w", COSIGNATURE, PUBLIC)) is None
    with pytest.raises(BadNote, match="another kind"):
        cosigned_at(note, Verifier("w", ED25519, PUBLIC))


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)
LINES = st.builds(
    Signature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)
)
TEXTS = st.text(st.sampled_from("ab\n é"), max_size=30).map(lambda text: f"{text}\n")


@given(TEXTS, st.lists(LINES, min_size=1, max_size=5))
def test_every_note_is_read_as_it_was_written(text: str, lines: list[Signature]) -> None:
    note = Note(text, tuple(lines))
    assert read_note(write_note(note)) == note


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_bytes_do_more_than_fail(data: bytes | str) -> None:
    try:
        note = read_note(data)
        read_head(note.text)
    except BadNote:
        return
    assert note.signatures

"""The certificate as a signed note: what any reader of transparency logs makes of it."""

from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dpin.ledger.prover import certificate_fact
from dpin.light import facts
from dpin.light.notes import read_head, read_note, signed_by
from tests.support.certified import CHAIN, History


def test_the_note_of_a_certificate_is_read_as_a_transparency_log_s() -> None:
    history = History()
    history.grow(20)
    certificate = certificate_fact(history.certify())
    note = read_note(facts.note_of(CHAIN, certificate, history.known))
    head = read_head(note.text)
    assert head.origin == f"dpin/{CHAIN.hex()}"
    assert (head.size, head.root) == (certificate.size, certificate.root)
    for author, _ in certificate.signatures:
        assert signed_by(note, facts.verifier_of(CHAIN, history.known.members[author]))


def test_another_library_makes_the_same_of_the_note() -> None:
    history = History()
    history.grow(20)
    certificate = certificate_fact(history.certify())
    body = f"dpin/{CHAIN.hex()}\n{certificate.size}\n{b64encode(certificate.root).decode()}\n"
    lines = []
    for author, signature in certificate.signatures:
        signer = history.keys[author].node_id
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, body.encode())
        name = f"dpin/{CHAIN.hex()}/{history.committee.members[author].hex()[:8]}"
        identity = sha256(name.encode() + b"\x0a\x01" + signer).digest()[:4]
        lines.append(f"\u2014 {name} {b64encode(identity + signature).decode()}\n")
    text = facts.note_of(CHAIN, certificate, history.known)
    assert text == f"{body}\n{''.join(lines)}"

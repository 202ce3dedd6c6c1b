"""What a proof is made of, as it is handed over: nothing of it is believed yet."""

from dataclasses import dataclass

from dpin.light.facts import (
    Certificate,
    Checkpoint,
    Committee,
    Part,
    Receipt,
    certified,
    note_of,
)
from dpin.light.notes import Note, read_note


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint, its place in the log and the signed note; of whom is not known yet."""

    checkpoint: Checkpoint
    path: tuple[bytes, ...]
    note: Note

    def under(self, chain: bytes, committee: Committee) -> Certificate:
        """The certificate that it is for this committee; raises BadNote, NotProven."""
        return certified(chain, self.checkpoint, self.path, self.note, committee)


@dataclass(frozen=True, slots=True)
class Crossing:
    """The end of an epoch, and who validates the next."""

    closing: SignedCheckpoint
    committee: Committee


@dataclass(frozen=True, slots=True)
class Continuation:
    """Shows that the log of so many leaves is how the certified one begins."""

    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PlacedReceipt:
    """A receipt, its index in the log, and its inclusion path in the certified log."""

    receipt: Receipt
    index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """A part of the certified state: its bucket and the path to the state root."""

    part: Part
    bucket: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """All that a file shows; `genesis` is empty where it is left out."""

    chain: bytes
    genesis: bytes
    crossings: tuple[Crossing, ...]
    certificate: SignedCheckpoint
    continuation: Continuation | None = None
    receipt: PlacedReceipt | None = None
    part: PlacedPart | None = None


def signed(chain: bytes, certificate: Certificate, committee: Committee) -> SignedCheckpoint:
    """A certificate as it is handed over."""
    note = read_note(note_of(chain, certificate, committee))
    return SignedCheckpoint(certificate.checkpoint, certificate.path, note)

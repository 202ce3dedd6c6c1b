"""Lines that people paste: an invite to a network, and a validator's card for a new one.

An invite holds the whole genesis, so that joining needs nobody and nobody can be led into another
network under the same name. Both end in a checksum: a line cut short in a chat window is noticed.
"""

import binascii
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import ID_BYTES, Digest, NodeId
from dpin.ledger.genesis import Genesis
from dpin.ledger.genesis import read as read_genesis

INVITE_PREFIX: Final = "dpin1:"
CARD_PREFIX: Final = "dpinv1:"
INVITE_CHARS_MAX: Final = 32_768
INVITE_BYTES_MAX: Final = 65_536  # unpacked
ADDRESSES_MAX: Final = 16
ADDRESS_CHARS_MAX: Final = 256

_CHECK_TAG: Final = "dpin/pasted/v1"
_CHECK_BYTES: Final = 4


class Invite(Wire, frozen=True):
    """All that a newcomer needs: a network's genesis and whom to dial first."""

    genesis: Genesis
    addresses: tuple[str, ...]  # multiaddresses ending in /p2p/ID


class Card(Wire, frozen=True):
    """What the founder of a network must know of a validator."""

    node: NodeId
    anchor: Digest  # the end of its hash chain of reveals


def write_invite(invite: Invite) -> str:
    """The line that `dpin net invite` prints."""
    return INVITE_PREFIX + _pasted(zlib.compress(encode(invite), level=9))


def read_invite(text: str) -> Invite:
    """Read and check an invite; raises Misuse."""
    packed = _unpasted(text, INVITE_PREFIX, "an invite", "dpin net invite")
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, INVITE_BYTES_MAX)
        if not unpacker.eof or unpacker.unused_data:
            raise Misuse("this invite is too large", fix="ask for a new one: dpin net invite")
        invite = decode(Invite, data, limit=INVITE_BYTES_MAX)
        read_genesis(encode(invite.genesis))
    except (zlib.error, PeerFault) as error:
        raise Misuse(f"this invite cannot be read: {error}", fix="use the same version") from None
    if len(invite.addresses) > ADDRESSES_MAX or any(
        len(address) > ADDRESS_CHARS_MAX or not address.isprintable()
        for address in invite.addresses
    ):
        raise Misuse("this invite names addresses that no node writes", fix="ask for a new one")
    return invite


def write_card(card: Card) -> str:
    """The line that `dpin init` prints for whoever founds a network."""
    return CARD_PREFIX + _pasted(encode(card))


def read_card(text: str) -> Card:
    """Read a validator's card; raises Misuse."""
    data = _unpasted(text, CARD_PREFIX, "a validator's card", "dpin init")
    try:
        card = decode(Card, data)
    except PeerFault as error:
        raise Misuse(f"this card cannot be read: {error}", fix="use the same version") from None
    if not len(card.node) == len(card.anchor) == ID_BYTES:
        raise Misuse("this card is damaged", fix="copy the whole line that `dpin init` printed")
    return card


def _pasted(body: bytes) -> str:
    check = digest(_CHECK_TAG, body)[:_CHECK_BYTES]
    return urlsafe_b64encode(body + check).decode().rstrip("=")


def _unpasted(text: str, prefix: str, what: str, printed_by: str) -> bytes:
    line = "".join(text.split())
    if len(line) > INVITE_CHARS_MAX or not line.startswith(prefix):
        raise Misuse(
            f"{line[:16]!r} does not begin {what}",
            fix=f"paste the whole line that `{printed_by}` printed; it begins with {prefix}",
        )
    coded = line.removeprefix(prefix)
    try:
        data = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
    except (binascii.Error, ValueError):
        data = b""
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not body or check != digest(_CHECK_TAG, body)[:_CHECK_BYTES]:
        raise Misuse(
            f"this is not the whole of {what}, or a letter of it is wrong",
            fix=f"copy the line again, to its end, as `{printed_by}` printed it",
        )
    return body

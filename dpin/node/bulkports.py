"""What the settings say about the bulk plane, as it wants to be told."""

from collections.abc import Sequence
from typing import Final

from dpin.net.budget import Rate
from dpin.net.bulk import BulkOptions
from dpin.node.fields import parse_size
from dpin.node.settings import NetworkSection

PORT_MAX: Final = 65_535


def bulk_options(network: NetworkSection, addresses: Sequence[str]) -> BulkOptions:
    """Listen where libp2p does, at the next port; `addresses` are those that it has."""
    taken = int(addresses[0].split("/")[4]) if addresses else PORT_MAX
    return BulkOptions(
        listen=tuple(sorted({address.split("/")[2] for address in network.listen})),
        port=network.bulk_port,
        near=taken + 1 if taken < PORT_MAX else 0,
        upload=_rate(network.upload),
        upload_each=_rate(network.upload_each),
        download=_rate(network.download),
        download_each=_rate(network.download_each),
    )


def _rate(text: str) -> Rate | None:
    """So many bytes a second, a quarter of it at once: more would look like a faster line."""
    size = parse_size(text)
    return Rate(burst=max(1, size // 4), per_second=size) if size else None

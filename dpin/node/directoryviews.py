"""What a running node knows of the directory of all nodes, and how far its own records got."""

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_MILLI
from dpin.net.records import blob_key, node_key
from dpin.node.netviews import CopyView, DirectoryView
from dpin.node.whereabouts import Whereabouts


def directory_view(whereabouts: Whereabouts, me: NodeId) -> DirectoryView:
    """The node's part of it, now."""
    keeper, care = whereabouts.directory.keeper, whereabouts.care
    names = {blob_key(blob): blob.hex() for blob in whereabouts.provided}
    names[node_key(me)] = "addresses"
    own = [
        CopyView(
            what=names[copy.key],
            by=copy.by.value,
            copies=copy.copies,
            at_ms=copy.at // MICROS_PER_MILLI,
        )
        for copy in care.copies
        if copy.key in names
    ]
    explored = care.explored_at
    return DirectoryView(
        nodes=len(keeper.table),
        buckets=keeper.table.sizes(),
        explored_ms=None if explored is None else explored // MICROS_PER_MILLI,
        kept=len(keeper.shelf),
        own=sorted(own, key=lambda copy: (copy.what != "addresses", copy.by, -copy.at_ms)),
    )

"""What a node does for Kad-DHT without being asked: it fills its table, and puts its own records.

Both are slow on purpose: one lookup at a time, and a pause after each, so that a node with hundreds
of blobs dials no more than its budget lets it.
"""

from collections import OrderedDict
from typing import Final

import structlog
import trio

from dpin.base.chance import Chance
from dpin.base.ids import BlobId
from dpin.base.units import Instant
from dpin.net.address import to_tell
from dpin.net.kad import ask_to_keep, ask_to_tell
from dpin.net.kadwire import Contact
from dpin.net.keeper import Keeper
from dpin.net.peers import ADDRESSES_PER_PEER_MAX
from dpin.net.records import address_name, blob_key, blob_name, write_addresses
from dpin.node.copies import By, Copies, Copy
from dpin.node.kaddoor import Bearings, KadDoor

EXPLORE_FIRST_SECONDS: Final = 20.0
EXPLORE_OFTEN_SECONDS: Final = 45.0  # until each depth has had its turn twice
EXPLORE_OFTEN_TURNS: Final = 24
EXPLORE_SECONDS: Final = 600.0
PUT_FIRST_SECONDS: Final = 90.0
PUT_PAUSE_SECONDS: Final = 30.0
PUT_EVERY_SECONDS: Final = 1200.0  # a third of a record's life: the pauses of all are in it
PUT_BLOBS_MAX: Final = 32  # the newest

log = structlog.get_logger()


class KadCare:
    """The table and the records of one node, kept up."""

    def __init__(self, bearings: Bearings, door: KadDoor, keeper: Keeper) -> None:
        self._by = bearings
        self._door = door
        self._table = keeper.table
        self._chance = Chance(b"kad" + bearings.key.node_id + bearings.now().to_bytes(8))
        self.copies = Copies()
        self.explored_at: Instant | None = None  # the last time that it had looked around
        self._blobs: OrderedDict[BlobId, None] = OrderedDict()  # the newest last

    def provide(self, blob: BlobId) -> None:
        """Tell of a blob too, from now on."""
        self._blobs[blob] = None
        self._blobs.move_to_end(blob)
        while len(self._blobs) > PUT_BLOBS_MAX:
            self._blobs.popitem(last=False)

    async def explore(self) -> None:
        """Look for nodes at every distance in turn, for ever; only where somebody is connected."""
        await trio.sleep(EXPLORE_FIRST_SECONDS)
        turns = 0
        while True:
            if self._by.host.peers():
                await self._door.explore(self._table.name_to_ask(self._chance))
                self.explored_at = self._by.now()
                turns += 1
            often = turns < EXPLORE_OFTEN_TURNS
            await trio.sleep(EXPLORE_OFTEN_SECONDS if often else EXPLORE_SECONDS)

    async def publish(self) -> None:
        """Put the own addresses, then the newest blobs, again before they end elsewhere."""
        await trio.sleep(PUT_FIRST_SECONDS)
        while True:
            until = trio.current_time() + PUT_EVERY_SECONDS
            await self.put_addresses()
            for blob in reversed(self._blobs.copy()):
                await trio.sleep(PUT_PAUSE_SECONDS)
                await self.put_blob(blob)
            await trio.sleep_until(until)

    def _mine(self) -> tuple[str, ...]:
        return to_tell(self._by.host.addresses, ADDRESSES_PER_PEER_MAX)

    async def put_addresses(self) -> int:
        """Have the nodes nearest to it keep where this node answers; how many do."""
        by, mine = self._by, self._mine()
        if not mine:
            return 0
        record = write_addresses(by.key, by.chain, mine, by.now())
        kept = await self._door.put(address_name(record.signer), ask_to_keep(record))
        self.copies.note(Copy(record.key, By.KAD, kept, by.now()))
        log.debug("put-addresses", copies=kept)
        return kept

    async def put_blob(self, blob: BlobId) -> int:
        """The same of a blob that this node has."""
        me = Contact(self._by.key.node_id, self._mine())
        kept = await self._door.put(blob_name(blob), ask_to_tell(me, blob))
        self.copies.note(Copy(blob_key(blob), By.KAD, kept, self._by.now()))
        log.debug("put-provider", copies=kept)
        return kept

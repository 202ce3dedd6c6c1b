"""Where the chunks of one fetch go, and what leaves a node is counted."""

from dpin.base.blob import BlobManifest, chunk_length
from dpin.base.errors import Unavailable
from dpin.net.bulkasked import Land
from dpin.net.bulkflow import Loan
from dpin.net.sharing import FEW
from dpin.storage.blobs import Download
from dpin.storage.wanted import Purpose


class Counted:
    """A loan whose bytes are counted when it is settled."""

    def __init__(self, loan: Loan, counts: dict[Purpose, int], purpose: Purpose) -> None:
        self._loan = loan
        self._counts = counts
        self._purpose = purpose
        self._length = 0

    def read(self, into: memoryview) -> int:
        """See `Loan`."""
        self._length = self._loan.read(into)
        return self._length

    async def settle(self) -> None:
        """See `Loan`."""
        self._counts[self._purpose] += self._length
        await self._loan.settle()


class Landing:
    """Where the chunks of one fetch go."""

    def __init__(self, manifest: BlobManifest, download: Download) -> None:
        self.refusal = ""  # of the disk: it ends the fetch
        self.many = len(manifest.chunks) > FEW
        self._manifest = manifest
        self._download = download

    def land(self, index: int) -> Land:
        """What to do with a chunk, in a thread."""

        def land(data: memoryview) -> None:
            try:
                self._download.land(index, data)
            except OSError as error:
                self.refusal = f"the disk refused: {error.strerror or error}"
                raise Unavailable(self.refusal) from error

        return land

    def landed(self, index: int) -> int:
        """It is there; its length."""
        self._download.landed(index)
        return chunk_length(self._manifest, index)

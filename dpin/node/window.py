"""What a running node shows of itself and its jobs."""

from collections.abc import AsyncIterator

from dpin.node.bulletin import Bulletin
from dpin.node.panorama import Panorama
from dpin.node.peer import Peer
from dpin.node.pictures import Gallery
from dpin.node.status import (
    Check,
    ExplainView,
    JobDetail,
    JobView,
    LogEntry,
    NodeView,
    PeerView,
)
from dpin.node.surroundings import Surroundings


class Window:
    """What a running node shows; see dpin.node.control.Pictures for what each method promises."""

    def __init__(self, peer: Peer, around: Surroundings, bulletin: Bulletin) -> None:
        self._peer = peer
        self._around = around
        self._bulletin = bulletin

    @property
    def _gallery(self) -> Gallery:
        return Gallery(self._peer, self._around.now())

    @property
    def _panorama(self) -> Panorama:
        return Panorama(self._peer, self._bulletin.seen, self._around)

    def node(self) -> NodeView:
        """The node itself."""
        return self._panorama.node(self._gallery.serving())

    def peers(self) -> list[PeerView]:
        """Everybody it knows."""
        return self._panorama.peers()

    def jobs(self) -> list[JobView]:
        """Own jobs and those served."""
        return self._gallery.jobs()

    def job(self, job: str) -> JobDetail:
        """One job."""
        return self._gallery.detail(job)

    def explain(self, job: str) -> ExplainView:
        """Why it stands where it stands."""
        gallery = self._gallery
        return gallery.portrait(gallery.own(job)).explain()

    def checks(self) -> list[Check]:
        """Health."""
        return self._panorama.checks()

    async def log(self, job: str, after: int) -> AsyncIterator[LogEntry]:
        """The story, as it goes on."""
        own = self._gallery.own(job)
        while True:
            entries = self._bulletin.log.after(own.local_id, after)
            for entry in entries:
                after = entry.number
                yield entry
            if own.stage.ended and not self._bulletin.log.after(own.local_id, after):
                return
            if not entries:
                await self._bulletin.change()

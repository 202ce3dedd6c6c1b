"""How much of the disk jobs have, and what does not fit, as `dpin doctor` says it."""

from typing import Final

from dpin.base.units import ceil_div
from dpin.market.messages import Reason
from dpin.node.peer import Peer
from dpin.node.status import Check
from dpin.node.words import counted

MIB: Final = 1 << 20
FIX: Final = "raise share.disk and start the node again, or: dpin blob unpin ID"


def room_check(peer: Peer) -> Check:
    """Whether there is room for the jobs that could be had."""
    room, state = peer.provider.room, peer.state
    left = room.left()
    if left is None:
        return Check(name="room", verdict="ok", detail="no limit", fix="")
    used = f"{room.claimed // MIB} MiB kept for jobs, {room.pinned_bytes // MIB} MiB pinned"
    if left < 0:
        return _short(f"share.disk is {-left // MIB} MiB too small: {used}")
    answered = peer.provider.answered.items()
    short = [job for job, said in answered if said.code == Reason.DISK]
    most = [state.jobs[job].propose.disk_bytes for job in short if job in state.jobs]
    if most:
        jobs = f"{counted(len(most), 'job')} not taken, for want of room: the largest needs"
        return _short(f"{jobs} {ceil_div(max(most), MIB)} MiB, and {left // MIB} MiB are left")
    return Check(name="room", verdict="ok", detail=f"{left // MIB} MiB left; {used}", fix="")


def _short(detail: str) -> Check:
    return Check(name="room", verdict="warn", detail=detail, fix=FIX)

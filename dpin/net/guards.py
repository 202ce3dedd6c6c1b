"""Work-arounds for what py-libp2p 0.8.1 lets a stranger do; one function a pitfall, one test each.

Those of yamux are in `muxing.py`, those of inbound connections in `inbound.py`; `host.py` applies
them. The numbers are those of the table in `docs/protocol/network.md`. When an upstream release
mends one, its test says so and the function goes.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import trio
from google.protobuf.message import DecodeError
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection import swarm_connection
from libp2p.network.swarm import Swarm
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import Service
from libp2p.transport.tcp.tcp import TCP, TCPListener

from dpin.base.errors import PeerFault, Unavailable
from dpin.net import inbound, muxing, swift
from dpin.net.budget import (
    CONNECTIONS_PER_PEER_MAX,
    STREAMS_PER_PEER_MAX,
)
from dpin.net.contained import Contained, Report, root_of

DIAL_SECONDS: Final = 10.0
UPGRADE_SECONDS: Final = 5.0

_LAYERS: Final = ("muxed_conn", "secured_conn", "conn", "read_writer", "stream")


def is_garbage(error: BaseException) -> bool:
    """Whether a peer's bytes, and nothing else, can have raised this."""
    return isinstance(root_of(error), ValueError | DecodeError | PeerFault)


def is_hangup(error: BaseException) -> bool:
    """Whether this is how connections end: nobody's fault, and not worth a line."""
    return isinstance(root_of(error), BaseLibp2pError | OSError | Unavailable)


def contain_tasks(service: Service, nursery: trio.Nursery, report: Report) -> None:
    """P1: an exception in any task of a libp2p service ends the service, and with it the process.

    A published message whose signing key cannot be parsed is enough. Here it ends its own task, in
    the nursery of the host. P37: libp2p keeps a record of several KiB beside each task, and the
    task that started one until that has ended; here what is not for the whole life is just a task.
    """
    plain = service.manager.run_task

    def run_task(
        function: Callable[..., Awaitable[object]],
        *arguments: object,
        daemon: bool = False,
        name: str | None = None,
    ) -> None:
        async def contained() -> None:
            with Contained(report):
                await function(*arguments)

        said = name or getattr(function, "__name__", None)
        if daemon:
            plain(contained, daemon=daemon, name=said)
        else:
            nursery.start_soon(contained, name=said)

    service.manager.run_task = run_task


def contain_streams(
    swarm: Swarm,
    admit: Callable[[INetStream], bool],
    report: Callable[[INetStream, BaseException], None],
) -> None:
    """P1: an exception out of a stream handler ends the process; six bytes of garbage raise one.

    Here it costs that stream, and is reported. Streams that `admit` does not let in, and those
    above STREAMS_PER_PEER_MAX, are reset unread.
    """
    plain = swarm.common_stream_handler
    being_served: Counter[bytes] = Counter()

    async def served(stream: INetStream) -> bool:
        peer = stream.muxed_conn.peer_id.to_bytes()
        if not admit(stream) or being_served[peer] >= STREAMS_PER_PEER_MAX:
            return False
        being_served[peer] += 1
        try:
            with Contained(lambda error: report(stream, error)):
                await plain(stream)
                return True
        finally:
            being_served[peer] -= 1
            if not being_served[peer]:
                del being_served[peer]
        return False

    async def handle(stream: INetStream) -> None:
        if not await served(stream):
            with Contained():
                await stream.reset()

    swarm.set_stream_handler(handle)


def quiet_logs() -> None:
    """A stranger must not fill a disk: libp2p logs what peers send at levels that are printed."""
    log = logging.getLogger("libp2p")
    if not log.handlers:  # LIBP2P_DEBUG gives it some: whoever debugs libp2p sees everything.
        log.setLevel(logging.CRITICAL + 1)
    swarm_connection.logging = log


def dial_nobody(swarm: Swarm) -> None:
    """P17: libp2p dials whomever it heard of, up to half its limit, whatever the settings say.

    Whom to dial is decided by `dpin.net.discovery` alone; a banned peer must stay away.
    """

    async def never() -> None:
        """Connect to nobody."""

    swarm.auto_connector.maybe_connect = never


def lift_resource_manager(host: IHost) -> None:
    """P15: libp2p refuses connections at 80 % of the memory, which a node with a model uses.

    Its other limits are replaced by `dpin.net.budget`.
    """
    host.get_network().set_resource_manager(None)


def secure_host(seed: bytes, connections_max: int) -> IHost:
    """TCP, noise and yamux, nothing else (P4: the default would take plaintext)."""
    key = create_new_key_pair(seed)
    noise = Noise(key, noise_privkey=create_noise_key_pair().private_key)
    libp2p = new_host(
        key_pair=key,
        sec_opt={NOISE: noise},
        muxer_opt={TProtocol(YAMUX): Yamux},
        transports=[TCP()],
        connection_config=ConnectionConfig(
            max_connections=connections_max,
            high_watermark=connections_max,
            min_connections=0,
            low_watermark=0,
            max_connections_per_peer=CONNECTIONS_PER_PEER_MAX,  # P5: 1 skips a wait of 250 ms.
            dial_timeout=DIAL_SECONDS,
            inbound_upgrade_timeout=UPGRADE_SECONDS,
            outbound_upgrade_timeout=UPGRADE_SECONDS,
        ),
        disable_identify_address_discovery=True,
    )
    libp2p.get_network().retry_config = RetryConfig(max_retries=0)
    dial_nobody(libp2p.get_network())
    lift_resource_manager(libp2p)
    return libp2p


def end_threads(pubsub: Pubsub) -> None:
    """P22: each Pubsub leaves a thread behind, which forgets seen messages, for as long as we run.

    Here it ends with its host.
    """
    pubsub.seen_messages._stop_event.set()


def close_listeners(swarm: Swarm) -> None:
    """P6: a listener that is still there lives in a system task, which no nursery of ours ends.

    Closing a host in order waits for its connections first, and is given up after a while. What it
    listens with (three tasks and a socket each) would stay, and keep the port.
    """
    left = [one for one in swarm.listeners.values() if isinstance(one, TCPListener)]
    swarm.listeners.clear()
    for listener in left:
        if listener._nursery is not None:
            listener._nursery.cancel_scope.cancel()  # First: a closed socket raises in it.
        for one in listener.listeners:
            one.socket.close()


async def close_sockets(connections: Iterable[object]) -> None:
    """P19: a host whose tasks were cancelled leaves the sockets of its connections open.

    Its peers would find out by their silence only; here the sockets under them are closed.
    """
    for connection in connections:
        layer: object = connection
        while layer is not None and not isinstance(layer, trio.SocketStream):
            layer = next((found for found in map(partial(_below, layer), _LAYERS) if found), None)
        if layer is not None:
            await trio.aclose_forcefully(layer)


def _below(layer: object, name: str) -> object:
    return getattr(layer, name, None)


def apply_once() -> None:
    """The guards that change libp2p itself; those of one host take that host."""
    muxing.patient_reads()
    muxing.paced_frames()
    muxing.bounded_buffers()
    muxing.bounded_windows()
    muxing.waking_resets()
    muxing.frugal_windows()
    muxing.tasks_for_all()
    swift.read_ahead()
    swift.whole_messages()
    swift.straight_writes()
    swift.straight_reads()
    swift.quick_locks()
    inbound.both_families()
    quiet_logs()

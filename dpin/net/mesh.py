"""Pubsub and GossipSub of py-libp2p 0.8.1 as a node uses them: leaner, and wary of its peers.

On the wire it is GossipSub 1.1. What is other than upstream, by the numbers of the table in
`docs/protocol/network.md`: G6 a message is checked once, in the task that reads it, and written
once for all who get it; G7 signed records of libp2p travel in the greeting only; G8 the cache of
messages goes by the same ids as all else; G9 lists of unknown topics and repeated questions are
not followed; G10 scores are looked at (`scores.py`); G12 who comes and goes is met by a few tasks.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamClosed, StreamReset
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlIHave, ControlIWant, ControlMessage, Message
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import DefaultMaxSubscriptionsPerRPC

from dpin.base.crypto import verify_bytes
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.net.address import node_of
from dpin.net.budget import GIVEN_AGAIN_MAX, IHAVE_IDS_MAX, MEETINGS_PER_PEER_MAX
from dpin.net.scores import Scores

MESHSUB: Final = TProtocol("/meshsub/1.1.0")
RPC_BYTES_MAX: Final = 256 << 10
READ_BYTES: Final = 64 << 10
TOPIC_BYTES_MAX: Final = 256  # a name that a peer subscribes to is remembered
LENGTH_BYTES_MAX: Final = 4  # of a varint that says how long an RPC is
DEGREE: Final = 6
DEGREE_LOW: Final = 4
DEGREE_HIGH: Final = 8
WINDOW: Final = 3  # heartbeats for which a message is spoken of
HISTORY: Final = 5  # heartbeats for which it is given to those who ask
REPLACE_EVERY: Final = 60  # heartbeats: the worst of a mesh makes room for a better one
SIGNED_WITH: Final = b"libp2p-pubsub:"


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told what goes on."""

    complain: Callable[[NodeId, str], None]
    wrote: Callable[[NodeId, int], None]  # so many bytes to a peer


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way to one peer, written out already."""

    id: bytes
    frame: bytes


def content_id(message: Message) -> bytes:
    """G4: a message is what its author says, not how often: a restart reuses no number."""
    topics = "\0".join(message.topicIDs).encode()
    parts = (message.from_id, topics, message.data)
    return sha256(b"".join(len(part).to_bytes(4) + part for part in parts)).digest()


def is_signed(message: Message) -> bool:
    """Whether a message's author, an Ed25519 key, has signed it."""
    author = node_of(message.from_id)
    if author is None:
        return False
    signed = Message(
        data=message.data,
        topicIDs=message.topicIDs,
        from_id=message.from_id,
        seqno=message.seqno,
    )
    return verify_bytes(author, SIGNED_WITH + signed.SerializeToString(), message.signature)


def framed(data: bytes) -> bytes:
    """With its length before it, as a varint."""
    length, head = len(data), bytearray()
    while length > 0x7F:  # noqa: PLR2004  (seven bits to a byte)
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + data


class Frames:
    """Bytes of a stream in, whole RPCs out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what is whole now; raises PeerFault at one above the limit."""
        self._buffer += data
        at = 0
        while (found := self._length(at)) is not None:
            start, length = found
            if length > RPC_BYTES_MAX:
                raise PeerFault(f"an RPC of {length} bytes, at most {RPC_BYTES_MAX} are taken")
            if len(self._buffer) - start < length:
                break
            yield bytes(self._buffer[start : start + length])
            at = start + length
        del self._buffer[:at]

    def _length(self, at: int) -> tuple[int, int] | None:
        """Where the next RPC begins, and how long it is; None where that cannot be told yet."""
        length = 0
        for index, byte in enumerate(self._buffer[at : at + LENGTH_BYTES_MAX]):
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:  # noqa: PLR2004
                return at + index + 1, length
        if len(self._buffer) - at >= LENGTH_BYTES_MAX:
            raise PeerFault("an RPC's length that does not end")
        return None


class _Cache(MessageCache):  # type: ignore[misc]  # libp2p has no types here.
    """G8: upstream keeps messages by author and number, and everybody asks for all again."""

    def put(self, message: Message) -> None:
        """Keep one."""
        key = content_id(message)
        if key not in self.msgs:
            self.msgs[key] = message
            self.history[0].append(CacheEntry(key, message.topicIDs))


class Mesh(GossipSub):  # type: ignore[misc]  # libp2p has no types here.
    """Who is given what."""

    def __init__(self) -> None:
        super().__init__(
            protocols=[MESHSUB],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=1,
            spam_protection_enabled=False,  # G1: it drops our own messages.
            adaptive_gossip_enabled=False,  # G2: it slows the heartbeat.
            eclipse_protection_enabled=False,
        )
        self.scorer = self.scores = Scores()
        self.mcache = _Cache(WINDOW, HISTORY)
        self.has: dict[ID, set[bytes]] = {}  # messages that came from each, this heartbeat
        self._given: Counter[tuple[ID, bytes]] = Counter()
        self._beats = 0

    def add_peer(self, peer: ID, protocol: TProtocol | None) -> None:
        """A peer can be written to."""
        super().add_peer(peer, protocol)
        connections = self.pubsub.host.get_network().get_connections(peer)
        for connection in connections[:1]:
            remote = connection.muxed_conn.get_remote_address()
            self.scores.at(peer, remote[0] if remote else "")

    async def publish(self, forwarder: ID, message: Message) -> None:
        """Hand on a message that is new and valid; its signature has cost a turn of the loop."""
        await trio.lowlevel.checkpoint()
        self.mcache.put(message)
        key, origin, topic = content_id(message), ID(message.from_id), message.topicIDs[0]
        members = self.mesh.get(topic)
        if members is None:  # Not subscribed: to those that libp2p draws by lot.
            members = set(self._get_peers_to_send([topic], forwarder, origin, key))
        self.scores.spread(topic, members)
        going = Outgoing(key, framed(RPC(publish=[message]).SerializeToString()))
        for peer in members:
            queue = self.pubsub.peer_queues.get(peer)
            wanted = peer not in {forwarder, origin} and peer not in self.scores.greylisted
            if wanted and queue is not None:
                queue.push(going)

    async def emit_control_message(self, control: ControlMessage, peer: ID) -> None:
        """G7: without the record of libp2p that upstream adds to everything."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.send_rpc(peer, RPC(control=control), priority=True)

    async def handle_rpc(self, rpc: RPC, sender: ID) -> None:
        """G9: what concerns topics that nobody here knows is not even remembered."""
        rpc.ClearField("senderRecord")
        for kind in ("graft", "prune", "ihave"):
            found = getattr(rpc.control, kind)
            known = [entry for entry in found if entry.topicID in self.mesh]
            if len(known) < len(found):
                rpc.control.ClearField(kind)
                getattr(rpc.control, kind).extend(known)
        await super().handle_rpc(rpc, sender)

    async def handle_ihave(self, found: ControlIHave, sender: ID) -> None:
        """Ask for what is new here, of a list that is not too long."""
        del found.messageIDs[IHAVE_IDS_MAX:]
        await super().handle_ihave(found, sender)

    async def handle_iwant(self, wanted: ControlIWant, sender: ID) -> None:
        """G9: each message once for each time it is asked for, and not for ever."""
        some = list(dict.fromkeys(wanted.messageIDs))
        del wanted.messageIDs[:]
        for key in some:
            if key in self.mcache.msgs and self._given[sender, key] < GIVEN_AGAIN_MAX:
                self._given[sender, key] += 1
                wanted.messageIDs.append(key)
        if wanted.messageIDs:
            await super().handle_iwant(wanted, sender)

    def mesh_heartbeat(self) -> tuple[dict[ID, list[str]], dict[ID, list[str]]]:
        """Once a second: whom to take into a mesh, and whom to leave out."""
        self._beats += 1
        self._tidy()
        to_graft, to_prune = super().mesh_heartbeat()
        for topic, members in self.mesh.items():
            for peer in self.scores.unwanted(topic, members, self.degree_low):
                members.discard(peer)
                self._add_back_off(peer, topic, False)  # noqa: FBT003  (upstream's)
                if topic in to_graft.get(peer, []):
                    to_graft[peer].remove(topic)
                to_prune[peer].append(topic)
        return to_graft, to_prune

    def _tidy(self) -> None:
        """What upstream keeps for ever."""
        self.scores.look(set(self.peer_protocol), list(self.mesh))
        self.has.clear()
        self.recent_message_deliveries.clear()
        if not self._beats % HISTORY:
            self._given.clear()
        for peers in self.back_off.values():
            for peer in [peer for peer in peers if peer not in self.peer_protocol]:
                del peers[peer]

    async def _emit_control_msgs(
        self,
        to_graft: dict[ID, list[str]],
        to_prune: dict[ID, list[str]],
        to_tell: dict[ID, dict[str, list[bytes]]],
    ) -> None:
        """To each peer what concerns it; upstream adds what the peers before it were told."""
        for peer in dict.fromkeys([*to_graft, *to_prune, *to_tell]):
            control = ControlMessage()
            for topic in to_graft.get(peer, []):
                control.graft.add(topicID=topic)
            for topic in to_prune.get(peer, []):
                control.prune.add(topicID=topic, backoff=self.prune_back_off)
            for topic, ids in to_tell.get(peer, {}).items():
                control.ihave.add(topicID=topic, messageIDs=ids)
            await self.emit_control_message(control, peer)

    def _perform_opportunistic_grafting(self, topic: str, to_graft: dict[ID, list[str]]) -> int:
        """Upstream takes two more at every heartbeat, until the mesh is everybody."""
        del topic, to_graft
        return 0

    async def _maintain_mesh_quality(self, topic: str) -> None:
        if not self._beats % REPLACE_EVERY:
            await super()._maintain_mesh_quality(topic)

    def _check_equivocation(self, message: Message) -> bool:
        """G4: two messages of one number are one author's that was started again."""
        del message
        return True


class Speaker(Pubsub):  # type: ignore[misc]  # libp2p has no types here.
    """What is read from peers, and what is written to them."""

    def __init__(self, host: IHost, mesh: Mesh, ears: Ears) -> None:
        super().__init__(
            host,
            mesh,
            strict_signing=True,
            msg_id_constructor=content_id,
            max_inbound_rpc_size=RPC_BYTES_MAX,
        )
        self.invalid = 0
        self.greylisted = 0
        self._mesh = mesh
        self._ears = ears
        self._meetings: Counter[ID] = Counter()

    async def _handle_new_peer_with_retry(
        self,
        peer: ID,
        timeout: float | None = None,  # noqa: ASYNC109  (upstream's)
    ) -> None:
        """G12: upstream has one more task for each connection, while the peer has any."""
        if self._meetings[peer] >= MEETINGS_PER_PEER_MAX:
            return
        self._meetings[peer] += 1
        try:
            await super()._handle_new_peer_with_retry(peer, timeout)
        finally:
            self._meetings[peer] -= 1
            if not self._meetings[peer]:
                del self._meetings[peer]

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """All that a peer says, one thing after the other; raises PeerFault at nonsense."""
        peer, frames = stream.muxed_conn.peer_id, Frames()
        while data := await stream.read(READ_BYTES):
            for raw in frames.feed(data):
                if peer in self._mesh.scores.greylisted:
                    self.greylisted += 1
                else:
                    await self._take(peer, RPC.FromString(raw))

    async def _take(self, peer: ID, rpc: RPC) -> None:
        for message in rpc.publish:
            if self._is_subscribed_to_msg(message):
                await self.push_msg(peer, message)
        if len(rpc.subscriptions) <= DefaultMaxSubscriptionsPerRPC:
            for change in rpc.subscriptions:  # libp2p counts topics, and not their bytes.
                if len(change.topicid.encode()) <= TOPIC_BYTES_MAX:
                    self.handle_subscription(peer, change)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer)

    async def push_msg(self, forwarder: ID, message: Message) -> None:
        """One message, of a peer or our own: new, valid and wanted, or nothing comes of it."""
        key, mine = content_id(message), self.my_id
        if forwarder != mine:
            topic = message.topicIDs[0]
            self._mesh.scores.brought(forwarder, topic)
            self._mesh.has.setdefault(forwarder, set()).add(key)
            if self.seen_messages.has(key) or message.from_id == mine.to_bytes():
                return
            if not self._is_valid(forwarder, message):
                await trio.lowlevel.checkpoint()
                return
            self._mesh.scores.on_first_delivery(forwarder, topic)
        elif self.seen_messages.has(key):
            return
        self.seen_messages.add(key)
        self.notify_subscriptions(message)
        await self.router.publish(forwarder, message)

    def _is_valid(self, forwarder: ID, message: Message) -> bool:
        """Whether to take a message; its bringer answers for it.

        Nobody else runs meanwhile, or a copy that comes from another peer would be taken as well.
        """
        scores, topic = self._mesh.scores, message.topicIDs[0]
        if forwarder in scores.greylisted or not scores.allow_publish(forwarder, [topic]):
            self.greylisted += 1
            return False
        if len(message.topicIDs) == 1 and is_signed(message):
            return True
        self.invalid += 1
        scores.faulted(forwarder, topic)
        node = node_of(forwarder.to_bytes())
        if node is not None:
            self._ears.complain(node, "brought an announcement that its author did not sign")
        return False

    async def write_msg(self, stream: INetStream, what: RPC | Outgoing) -> bool:
        """Write to a peer; not what has come from it meanwhile."""
        peer = stream.muxed_conn.peer_id
        if isinstance(what, Outgoing):
            if what.id in self._mesh.has.get(peer, ()):
                await trio.lowlevel.checkpoint_if_cancelled()
                return True
            frame = what.frame
        else:
            frame = framed(what.SerializeToString())
        node = node_of(peer.to_bytes())
        if node is not None:
            self._ears.wrote(node, len(frame))
        try:
            await stream.write(frame)
        except (StreamClosed, StreamReset):
            self._handle_dead_peer(peer)
            return False
        return True

"""py-libp2p as it comes: what our own figures are measured beside."""

from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux


def seed(number: int) -> bytes:
    """The key of a node of a benchmark."""
    return (1000 + number).to_bytes(32)


def stock_host(number: int) -> IHost:
    """A host with noise and yamux, as ours have them, and nothing else changed."""
    key = create_new_key_pair(seed(number))
    noise = Noise(key, noise_privkey=create_noise_key_pair().private_key)
    return new_host(key_pair=key, sec_opt={NOISE: noise}, muxer_opt={TProtocol(YAMUX): Yamux})

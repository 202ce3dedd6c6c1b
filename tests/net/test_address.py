"""Text to key and back, as libp2p writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID

from dpin.base.ids import NodeId
from dpin.net.address import PEER_ID_PREFIX, at_last_ports, node_in, peer_text

nodes = st.binary(min_size=32, max_size=32).map(NodeId)


@given(nodes)
def test_the_text_of_a_node_is_that_of_libp2p(node: NodeId) -> None:
    assert peer_text(node) == ID(PEER_ID_PREFIX + node).to_base58()


@given(nodes)
def test_the_node_in_an_address_is_found(node: NodeId) -> None:
    assert node_in(f"/ip4/127.0.0.1/tcp/4001/p2p/{peer_text(node)}") == node


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/tcp/1/p2p/",
        "/ip4/127.0.0.1/tcp/1/p2p/0OIl",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/127.0.0.1/udp/1/p2p/" + peer_text(NodeId(bytes(32))),
        "/ip4/127.0.0.1/tcp/1/p2p/1" + peer_text(NodeId(bytes(32))),
        "/ip4/127.0.0.1/tcp/1/p2p/" + "z" * 1000,
    ],
)
def test_what_is_no_address_of_a_node_has_none_in_it(address: str) -> None:
    assert node_in(address) is None


@given(st.text(max_size=80))
def test_no_text_raises(text: str) -> None:
    node_in(text)
    node_in(f"/ip4/1.2.3.4/tcp/1/p2p/{text}")


def test_a_free_port_is_the_one_of_last_time_for_its_family_and_a_chosen_one_stays() -> None:
    me = peer_text(NodeId(bytes(32)))
    last = (f"/ip4/127.0.0.1/tcp/4001/p2p/{me}", f"/ip6/::1/tcp/4002/p2p/{me}", "/ip4/rubbish")
    assert at_last_ports(("/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"), last) == (
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::/tcp/4002",
    )
    assert at_last_ports(("/ip4/127.0.0.1/tcp/9",), last) == ("/ip4/127.0.0.1/tcp/9",)
    twice = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.2/tcp/0")
    assert at_last_ports(twice, last) == ("/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.2/tcp/0")
    assert at_last_ports(twice, ()) == twice
